"""A thief of the model file looks for one unusual patient, for row ids and for exact counts, and finds nothing.

The patient has a value in every column that no other patient has. Each search is first shown to work: on the rows in
the formats that libraries save them in, and on a tree that was made without noise.
"""

import dataclasses
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import safetensors.numpy

import synthfed as sf
from synthfed.cohorts.sites import Cohort
from synthfed.generators.base import Layout
from synthfed.generators.marginal import MarginalModel
from synthfed.generators.marginal.model import marginal
from synthfed.run.comparing import KINDS
from synthfed.tables.transform import Transformer, public_transformer

PLANTED: Mapping[str, Any] = {
    "patient_id": "MRN-80417733",
    "age_years": 97.0,
    "sex": "female",
    "aml_type": "therapy_related",
    "wbc_10e9_l": 473.9,
    "class_fusion": "inv3_t3_3",
    "NPM1": 1,
    "FLT3_ITD": 1,
    "FLT3_ITD_allelic_ratio": 7.83,
    "TP53": 1,
    "induction_response": "ED",
    "os_days": 4877,
    "os_event": 1,
    "cause_of_death": "other",
}
NUMBERS = ("wbc_10e9_l", "FLT3_ITD_allelic_ratio", "os_days")  # told apart from public numbers by their digits
SHARED = ("sex", "NPM1", "FLT3_ITD", "TP53", "os_event")  # two levels: no value of theirs is one patient's alone
PATIENTS = 254
HOME, ROW = "site_2", 17
QUICK = ("marginal", "tvae-cold", "ctgan-cold")
TRAINED = (*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in QUICK))


@cache
def hospitals() -> Cohort:
    """Three simulated hospitals; nobody but the planted patient has one of the planted patient's values."""
    cohort = sf.load_cohort(
        "aml", sites=3, patients=PATIENTS, seed=11, columns=sf.Pipeline.load("smoke").cohort.columns
    )
    sites = {}
    for site, rows in cohort.sites.items():
        for name in set(PLANTED) - set(SHARED):
            usual = rows[name][rows[name].notna() & (rows[name] != PLANTED[name])].iloc[0]
            rows = rows.assign(**{name: rows[name].mask(rows[name] == PLANTED[name], usual)})
        if site == HOME:
            planted = pd.DataFrame([PLANTED])
            rows = pd.concat([rows.iloc[:ROW].astype(object), planted.astype(object), rows.iloc[ROW:].astype(object)])
        sites[site] = cohort.schema.cast(rows.reset_index(drop=True))
    return dataclasses.replace(cohort, sites=sites)


@dataclass(frozen=True)
class Stolen:
    """What a thief has: the bytes, the tensors and every number and text in the JSON entries."""

    content: bytes
    tensors: Mapping[str, npt.NDArray[np.float32]]
    numbers: frozenset[float]
    texts: frozenset[str]


@cache
def stolen(kind: str, epsilon: float = 10.0) -> Stolen:
    synth = sf.Synthesizer(
        "smoke", **KINDS[kind], privacy__epsilon=epsilon, privacy__expected_patients=200, federation__rounds=2
    )
    return read(saved(synth.fit(hospitals())))


def saved(synth: sf.Synthesizer) -> bytes:
    from synthfed.generators.model_file import model_bytes
    from synthfed.run.training import saved_model

    return model_bytes(saved_model(synth.trained))


def read(content: bytes) -> Stolen:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}  # bytes lie open
        entries = {name: archive.read(name) for name in archive.namelist()}
    tensors = safetensors.numpy.load(entries.pop("weights.safetensors"))
    leaves = [leaf for entry in entries.values() for leaf in _leaves(json.loads(entry))]
    return Stolen(
        content,
        tensors,
        frozenset(float(leaf) for leaf in leaves if isinstance(leaf, int | float)),
        frozenset(leaf for leaf in leaves if isinstance(leaf, str)),
    )


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield value


@cache
def encoder() -> Transformer:
    return public_transformer(hospitals().schema)


@cache
def codes() -> npt.NDArray[np.int32]:
    """All training rows as the generators see them, (rows, blocks)."""
    return np.concatenate([encoder().encode(rows) for rows in hospitals().sites.values()])


def needles() -> dict[str, bytes]:
    """The planted patient in every form in which a library might write a row."""
    found = {f"{name} as text": str(PLANTED[name]).encode() for name in ("patient_id",)}
    for name in NUMBERS:
        for dtype in ("<f4", "<f8", "<i4", "<i8"):
            if np.dtype(dtype).kind == "f" or float(PLANTED[name]).is_integer():
                found[f"{name} as {dtype}"] = np.asarray(PLANTED[name], dtype).tobytes()
    row = encoder().encode(hospitals().sites[HOME].iloc[[ROW]])[0]
    wide = np.concatenate([np.eye(width)[code] for width, code in zip(encoder().widths, row, strict=True)])
    for dtype in ("u1", "<i2", "<i4", "<i8", "<f4", "<f8"):
        found[f"codes as {dtype}"] = row.astype(dtype).tobytes()
        found[f"one-hot as {dtype}"] = wide.astype(dtype).tobytes()
    return found


def hits(content: bytes) -> set[str]:
    return {name for name, needle in needles().items() if needle in content}


# --- the patient ------------------------------------------------------------------------------------------------------


def test_the_planted_patient_is_alone_with_every_value() -> None:
    rows = hospitals().train
    for name in set(PLANTED) - set(SHARED):
        assert (rows[name] == PLANTED[name]).sum() == 1, name
    assert (codes() == encoder().encode(hospitals().sites[HOME].iloc[[ROW]])).all(axis=1).sum() == 1


def test_the_search_finds_the_patient_wherever_rows_are_kept() -> None:
    rows = hospitals().sites[HOME]
    wide = np.concatenate([np.eye(w, dtype=np.float32)[c] for w, c in zip(encoder().widths, codes().T, strict=True)], 1)
    assert "patient_id as text" in hits(rows.to_csv().encode())
    assert {"patient_id as text", "wbc_10e9_l as <f8"} <= hits(pickle.dumps(rows))
    assert "codes as <i4" in hits(pickle.dumps(codes()))
    assert {"os_days as <i8"} <= hits(pickle.dumps(rows["os_days"].to_numpy(np.int64)))
    assert "one-hot as <f4" in hits(safetensors.numpy.save({"rows": wide}))


@pytest.mark.parametrize("kind", TRAINED)
def test_no_form_of_the_patient_is_in_the_file(kind: str) -> None:
    assert hits(stolen(kind).content) == set()
    assert not stolen(kind).numbers & {float(PLANTED[name]) for name in NUMBERS}


@pytest.mark.parametrize("kind", TRAINED)
def test_no_patient_and_no_row_is_named_in_the_file(kind: str) -> None:
    ids = [name for rows in hospitals().sites.values() for name in rows["patient_id"]]
    assert len(set(ids)) == len(codes())
    assert not [name for name in ids if name.encode() in stolen(kind).content]
    assert not [text for text in stolen(kind).texts for name in ids if name in text]


@pytest.mark.parametrize("kind", TRAINED)
def test_no_tensor_lists_rows(kind: str) -> None:
    """Lists of row ids are whole numbers that go up to the number of rows; the only whole numbers here name blocks."""
    for name, tensor in stolen(kind).tensors.items():
        assert len(codes()) not in tensor.shape, name
        if tensor.any() and (tensor == np.round(tensor)).all():
            assert tensor.max() <= len(encoder().names), name


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TRAINED)
def test_no_number_of_patients_is_in_the_file(kind: str) -> None:
    """Neither of all training rows nor of a site's; the public guess is another number."""
    counts = {len(rows) for rows in hospitals().sites.values()} | {len(codes())}
    public = read(saved(_untrained())).numbers
    assert not counts & public  # else the test could not tell
    assert not counts & stolen(kind).numbers


def _untrained() -> sf.Synthesizer:
    from tests.run.models import untrained

    return untrained("tvae")


@pytest.mark.parametrize("kind", TRAINED)
def test_no_row_of_a_tensor_gives_exact_counts(kind: str) -> None:
    """Read as numbers, as shares or as logarithms of shares, no row of a tensor is that of a table of the patients."""
    assert exact_rows(stolen(kind)) == set()


def test_a_tree_without_noise_would_give_them() -> None:
    assert len(exact_rows(stolen("marginal", epsilon=float("inf")))) > 10


def exact_rows(file: Stolen) -> set[tuple[str, int]]:
    """Rows that are, after scaling, a row of an exact table with at least three filled cells."""
    wanted = _exact_shares()
    found = set()
    for name, table in _tables_of(file).items():
        for index, row in enumerate(np.atleast_2d(table).astype(np.float64)):
            for shares in (
                row / row.sum() if row.sum() else row,
                np.exp(row - row.max()) / np.exp(row - row.max()).sum(),
            ):
                known = wanted.get(len(shares))
                if known is not None and (np.abs(known - shares).max(axis=1) < 1e-4).any():
                    found.add((name, index))
    return found


def _tables_of(file: Stolen) -> dict[str, npt.NDArray[Any]]:
    """Every tensor, and every one- and two-way table that a tree implies: the thief can compute them."""
    tables: dict[str, npt.NDArray[Any]] = dict(file.tensors)
    if "tree.structure" in tables:
        layout = Layout(encoder().names, encoder().widths)
        tree = MarginalModel.from_weights(file.tensors, layout)
        blocks = range(len(layout.names))
        tables |= {f"{block}": marginal(tree, [block]) for block in blocks}
        tables |= {f"{pair}": marginal(tree, pair) for pair in permutations(blocks, 2)}
    return tables


@cache
def _exact_shares() -> dict[int, npt.NDArray[np.float64]]:
    """By length: every row of every one- and two-way table of the training rows, as shares."""
    rows: dict[int, list[npt.NDArray[np.float64]]] = {}
    widths = encoder().widths
    tables = [np.bincount(codes()[:, block], minlength=width)[None] for block, width in enumerate(widths)]
    for given, block in permutations(range(len(widths)), 2):
        cells = codes()[:, given] * widths[block] + codes()[:, block]
        tables.append(np.bincount(cells, minlength=widths[given] * widths[block]).reshape(widths[given], -1))
    for table in tables:
        for row in table:
            if (row > 0).sum() >= 3:
                rows.setdefault(len(row), []).append(row / row.sum())
    return {length: np.array(found) for length, found in rows.items()}
