"""A messy export loses nothing: its mapping makes it the clean table again, and no draft settles a thing wrongly."""

import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.cohorts.sites import load_cohort, read_cohort
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.handover import draft_mappings
from synthfed.tables.mapping import mapping_text
from synthfed.tables.messy_writing import MANNERS, Manner, write_messy
from synthfed.tables.units import find_conversion
from tests.cli.command import synthfed


def patients(disease: str, seed: int) -> pd.DataFrame:
    cohort = load_cohort(disease, sites=1, patients=40, seed=seed)
    return pd.concat([*cohort.sites.values(), *cohort.holdouts.values()], ignore_index=True)


@given(disease=st.sampled_from(["aml", "scd"]), manner=st.sampled_from(MANNERS), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_a_messy_export_reads_back_to_the_clean_table(disease: str, manner: Manner, seed: int) -> None:
    clean = patients(disease, seed)
    content, mapping = write_messy(clean, load_dictionary(disease), manner, seed=seed)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lyon.csv"
        path.write_bytes(content)
        path.with_suffix(".mapping.toml").write_text(mapping_text(mapping, title="answer"), encoding="utf-8")
        cohort = read_cohort(path, dictionary=disease, columns=list(clean.columns))
    read = pd.concat([cohort.train, cohort.holdout]).set_index("patient_id").loc[list(clean["patient_id"])]
    pd.testing.assert_frame_equal(read.reset_index()[list(clean.columns)], clean)


@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.encoding)
@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_what_a_draft_settles_by_itself_is_right(disease: str, manner: Manner, tmp_path: Path) -> None:
    clean, dictionary = patients(disease, 3), load_dictionary(disease)
    content, answer = write_messy(clean, dictionary, manner, seed=1)
    (tmp_path / "lyon.csv").write_bytes(content)
    (draft,) = draft_mappings(tmp_path / "lyon.csv", dictionary, wanted=list(clean.columns))
    settled = tomllib.loads(draft.read_text(encoding="utf-8"))
    assert settled.get("decimal", manner.decimal) == manner.decimal
    assert len(settled["columns"]) > len(answer.columns) / 2
    for header, line in settled["columns"].items():
        drafted = {"column": line} if isinstance(line, str) else line
        right = answer.columns[header]
        assert drafted["column"] == right.column
        if right.unit and drafted.get("unit"):
            column = dictionary.schema[right.column]
            proposed, wanted = (find_conversion(column, unit) for unit in (drafted["unit"], right.unit))
            assert proposed == wanted
        assert drafted.get("codes", dict(right.codes)) == dict(right.codes)


def test_a_rehearsal_is_written_with_its_answers(tmp_path: Path) -> None:
    words = ("cohort", "smoke", "--out", "rehearsal", "--patients", "150", "--sites", "3", "--messy")
    assert synthfed(*words, cwd=tmp_path).returncode == 0
    answers = tmp_path / "rehearsal" / "answers"
    for mapping in answers.glob("*.mapping.toml"):
        mapping.rename(answers.parent / mapping.name)
    read = read_cohort(answers.parent)
    clean = read_cohort({name: answers / f"{name}.csv" for name in read.site_names})
    for name in read.site_names:
        pair = [pd.concat([c.sites[name], c.holdouts[name]]).sort_values("patient_id") for c in (read, clean)]
        shared = [column for column in pair[0].columns if column in pair[1].columns]
        pd.testing.assert_frame_equal(*(part[shared].reset_index(drop=True) for part in pair))
