"""The SYNTHEMA AML table: its names and types are met exactly, and reading it back loses only what is said."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthfed.cohorts.sites import read_cohort
from synthfed.errors import ConfigError, DataError
from synthfed.tables.formats.registry import formats, writers
from synthfed.tables.formats.synthema import FILE, synthema_schema
from synthfed.tables.handover import draft_mappings, read_handover
from synthfed.tables.reading import type_table
from tests.tables.formats.simulated import dictionary, patients

AML = dictionary("aml")
KEY = bytes(32)
# what the registry has no column for, or cannot tell apart; everything else comes back cell for cell
NOWHERE = {
    *("aml_type", "prior_mds", "fab", "cause_of_death", "cr_achieved", "normal_karyotype", "monosomal_karyotype"),
    *("plus11", "del12p", "del20q", "FLT3_ITD_allelic_ratio", "IDH2_R140", "IDH2_R172", "TP53_vaf10", "SMC1A", "SMC3"),
    *("CSF3R", "CEBPA_bzip"),
}


def written(table: pd.DataFrame, name: str = "synthema") -> bytes:
    return writers()[name](table, AML)[FILE]


def read_back(content: bytes, folder: Path, columns: list[str]) -> pd.DataFrame:
    (folder / FILE).write_bytes(content)
    frame, _ = read_handover(folder / FILE, AML)
    return type_table(frame, AML, columns, origin=FILE)[0]


def test_the_names_are_the_registrys_in_order() -> None:
    frame = pd.read_csv(io.BytesIO(written(patients("aml", 30))))
    names = list(synthema_schema().types)
    assert list(frame.columns) == names
    assert (len(names), len(synthema_schema().groups["clinical"])) == (144, 37)
    assert {"monoY", "7other", "mono4_4q_abn(4q)", "anomaly chr x", "Intensive chemotherapy induction"} <= set(names)


@pytest.mark.parametrize("name", ["synthema", "synthema-semicolon"])
def test_what_was_written_is_read_back_but_for_what_the_losses_say(name: str, tmp_path: Path) -> None:
    table = patients("aml", 600)
    again = read_back(written(table, name), tmp_path, list(table.columns))
    losses = " ".join(formats()[name].losses(table, AML))
    for column in table.columns:
        if AML.schema[column].derived:
            continue
        ours, theirs = table[column].astype("object"), again[column].astype("object")
        if column in NOWHERE:
            assert theirs.isna().all()
            assert column in losses
        elif column == "class_fusion":
            told = ours.where(ours != "t_9_11", "kmt2a_other").where(ours != "other_adverse", np.nan)
            pd.testing.assert_series_equal(theirs, told)
            assert "t_9_11 and kmt2a_other are both MLL_REARRANGED" in losses
        elif column == "CEBPA":
            pd.testing.assert_series_equal(theirs, ours.where(ours != "mono", "wt"))
            assert "wt and mono are both 0" in losses
        else:
            pd.testing.assert_series_equal(again[column], table[column])


def test_types_are_those_of_the_schema_as_a_reader_infers_them() -> None:
    """As the registry's earlier validator does: a column is what pandas makes of it, empty cells aside."""
    table = patients("aml", 400)
    frame = pd.read_csv(io.BytesIO(written(table, "synthema-complete")))
    wanted = {"int": "i", "category": "i", "float": "f", "string": "O"}
    wrong = [
        name
        for name, kind in synthema_schema().types.items()
        if frame[name].notna().any() and frame[name].dtype.kind != wanted[kind]
    ]
    assert wrong == []
    assert 200 < len(frame) < 400
    dropped = 400 - len(frame)
    assert f"{dropped} synthetic patients" in " ".join(formats()["synthema-complete"].losses(table, AML))


def test_sex_flags_and_statuses_have_the_registrys_codes() -> None:
    table = patients("aml", 200)
    frame = pd.read_csv(io.BytesIO(written(table)))
    assert (frame["SEX"] == (table["sex"] == "male").astype(int)).all()
    assert set(frame["STATUS_OS"].dropna()) == {0, 1}
    assert set(frame["RESPONSE TO INDUCTION"].dropna()) <= {"CR", "CRi", "PR", "RD", "ED"}
    assert frame["KARYOTYPE"].isna().all()


def test_rows_without_ids_say_that_they_are_synthetic() -> None:
    frame = pd.read_csv(io.BytesIO(written(patients("aml", 3).drop(columns="patient_id"))))
    assert list(frame["ID"]) == ["SYNTHETIC-1", "SYNTHETIC-2", "SYNTHETIC-3"]


def test_anomalies_follow_the_lesions_and_are_open_where_no_karyotype_is_known() -> None:
    table = patients("aml", 600)
    frame = pd.read_csv(io.BytesIO(written(table)))
    unknown = table["karyotype_known"] == 0
    assert frame.loc[(table["class_fusion"] == "t_8_21"), ["anomaly chr 8", "anomaly chr 21"]].eq(1).all(axis=None)
    assert frame.loc[(table["mono7"] == 1).fillna(False), "anomaly chr 7"].eq(1).all()
    assert frame.loc[unknown & table["class_fusion"].isna(), "anomaly chr 7"].isna().all()


def test_the_registrys_table_makes_a_cohort_and_its_recognition_is_said(tmp_path: Path) -> None:
    (tmp_path / "lyon.csv").write_bytes(written(patients("aml", 300)))
    cohort = read_cohort(tmp_path, split_key=KEY)
    findings = cohort.reports["lyon"].findings
    assert ("format", "SYNTHEMA AML") in {(f.kind, f.column) for f in findings}
    assert "eln2022" in cohort.train
    assert "IDH2_R140" not in cohort.train  # not recorded there
    assert cohort.train["karyotype_known"].isin([0, 1]).all()


def test_cells_that_the_schema_does_not_know_are_refused(tmp_path: Path) -> None:
    text = written(patients("aml", 5)).decode().splitlines()
    place = text[0].split(",").index("SEX")
    rows = [line.split(",") for line in text]
    rows[1][place] = "2"
    (tmp_path / "lyon.csv").write_text("\n".join(",".join(row) for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)--suggest-mapping.*column 'SEX' \(sex\).*without meaning"):
        read_handover(tmp_path / "lyon.csv", AML)


def test_labels_of_a_hospitals_own_classification_are_left_out(tmp_path: Path) -> None:
    table = patients("aml", 5)
    frame = pd.read_csv(io.BytesIO(written(table)), dtype=str).apply(lambda cells: cells.str.replace(".", ","))
    frame = frame.assign(**{"WHO 2016 label": "AML with something", "KARYOTYPE": "~46,XX[20]", "HB": "8,1"})
    frame.to_csv(tmp_path / "lyon.csv", sep=";", index=False)
    recoded, findings = read_handover(tmp_path / "lyon.csv", AML)
    assert "who_2016" not in {f.column for f in findings if f.kind == "renamed"}
    assert set(recoded["karyotype_known"]) == {"1"}
    assert list(recoded["hb_g_dl"]) == ["8.1"] * 5


def test_a_drafted_mapping_says_what_recognition_would_do(tmp_path: Path) -> None:
    (tmp_path / "lyon.csv").write_bytes(written(patients("aml", 40), "synthema-semicolon"))
    before, _ = read_handover(tmp_path / "lyon.csv", AML)
    assert [file.name for file in draft_mappings(tmp_path, AML)] == ["lyon.mapping.toml"]
    after, findings = read_handover(tmp_path / "lyon.csv", AML)
    pd.testing.assert_frame_equal(after, before)
    assert "format" not in {f.kind for f in findings}


def test_other_tables_are_not_taken_for_the_registrys(tmp_path: Path) -> None:
    (tmp_path / "lyon.csv").write_bytes(writers()["csv"](patients("aml", 5), AML)["synthetic.csv"])
    assert not [f for f in read_handover(tmp_path / "lyon.csv", AML)[1] if f.kind == "format"]
    with pytest.raises(ConfigError, match="registry's AML table"):
        writers()["synthema"](patients("scd", 5), dictionary("scd"))
