"""Whatever stands wherever in a source: no message, finding or cause repeats it; and the order of rows is moot."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthfed.errors import SynthfedError
from synthfed.tables.formats.registry import writers
from synthfed.tables.handover import read_handover
from synthfed.tables.reading import type_table
from tests.tables.formats.simulated import dictionary, patients

SECRETS = ["Meier", *(pytest.param(s, marks=pytest.mark.slow) for s in ("Geheim17", "1899-13-45", "-4711.17"))]
COLUMNS = ["patient_id", "age_years", "sex", "aml_type", "hb_g_dl", "NPM1", "FLT3_ITD_allelic_ratio"]
COLUMNS += ["induction_response", "os_days", "os_event"]


def few() -> pd.DataFrame:
    """Fewer patients than may be named."""
    return patients("aml", 4)[COLUMNS]


def said(path: Path) -> str:
    """Everything that reading and typing says."""
    known = dictionary("aml")
    try:
        texts, findings = read_handover(path, known)
        _, report = type_table(texts, known, list(texts.columns), origin="t")
        return repr((findings, report.findings))
    except SynthfedError as error:
        return repr((error, error.__cause__, str(error.__cause__)))


def cells(files: Mapping[str, bytes]) -> Iterator[tuple[str, int, int]]:
    """A cell of every column of every table that is read."""
    for name in files:
        if name not in ("cdm_source.csv", "source_to_concept_map.csv"):
            header = files[name].decode().splitlines()[0]
            yield from ((name, 1, place) for place in range(header.count(",") + 1))


@pytest.mark.parametrize("secret", SECRETS)
def test_no_cell_of_an_omop_table_is_repeated(tmp_path: Path, secret: str) -> None:
    files = writers()["omop"](few(), dictionary("aml"))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name, row, place in cells(files):
        rows = list(csv.reader(io.StringIO(files[name].decode())))
        if len(rows) <= row:
            continue
        rows[row][place] = secret
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        (tmp_path / name).write_text(buffer.getvalue())
        assert secret not in said(tmp_path), (name, rows[0][place])
        (tmp_path / name).write_bytes(files[name])


def leaves(thing: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every text, number and boolean of a resource."""
    if isinstance(thing, dict | list):
        for key, inner in thing.items() if isinstance(thing, dict) else enumerate(thing):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def replaced(thing: Any, path: tuple[Any, ...], secret: str) -> Any:
    copy = json.loads(json.dumps(thing))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = secret
    return copy


@pytest.mark.parametrize("secret", SECRETS)
def test_no_leaf_of_a_fhir_resource_is_repeated(tmp_path: Path, secret: str) -> None:
    files = writers()["fhir-ndjson"](few(), dictionary("aml"))
    resources = [json.loads(line) for content in files.values() for line in content.splitlines()]
    seen: set[tuple[Any, ...]] = set()
    for number, resource in enumerate(resources):
        for path in leaves(resource):
            if path[0] == "meta" or (resource["resourceType"], *path) in seen:
                continue
            seen.add((resource["resourceType"], *path))
            changed = [*resources[:number], replaced(resource, path, secret), *resources[number + 1 :]]
            (tmp_path / "lyon.ndjson").write_text("\n".join(map(json.dumps, changed)))
            assert secret not in said(tmp_path / "lyon.ndjson"), (resource["resourceType"], path)


@pytest.mark.parametrize("name", ["omop", "fhir-ndjson"])
def test_the_order_of_rows_does_not_matter(tmp_path: Path, name: str) -> None:
    files = writers()[name](patients("aml", 20)[COLUMNS], dictionary("aml"))
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    expected, _ = read_handover(tmp_path, dictionary("aml"))
    rng = np.random.default_rng(3)
    for file, content in files.items():
        header, *rows = content.decode().splitlines()
        if name != "omop":
            header, rows = "", [header, *rows]
        shuffled = [rows[i] for i in rng.permutation(len(rows))]
        (tmp_path / file).write_text("\n".join([header, *shuffled]) + "\n")
    again, _ = read_handover(tmp_path, dictionary("aml"))
    order = [frame.sort_values("patient_id").reset_index(drop=True) for frame in (expected, again)]
    pd.testing.assert_frame_equal(order[1], order[0])
