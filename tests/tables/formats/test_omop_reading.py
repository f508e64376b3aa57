"""Hospitals' own OMOP tables: what they mean is taken from their source columns, and nothing is guessed."""

from pathlib import Path

import pandas as pd
import pytest

from synthfed.errors import DataError, UnreadableFile
from tests.tables.formats.hospital import DEATH, PERIOD, Hospital, notes


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    folder = tmp_path / "hospital"
    folder.mkdir()
    return Hospital(folder)


def test_each_value_is_converted_from_its_own_unit(hospital: Hospital) -> None:
    hospital.measurements = [
        (1, 0, "2015-03-10", 83, "Hemoglobin", "g/L"),
        (2, 0, "2015-03-10", 5.2, "Hemoglobin", "mmol/L"),
        (1, 0, "2015-03-10", 4500, "WBC", "/uL"),
        (2, 0, "2015-03-10", 22.1, "WBC", "Gpt/L"),
    ]
    table, findings = hospital.read()
    assert table["hb_g_dl"].tolist() == ["8.3", "8.4"]
    assert table["wbc_10e9_l"].tolist() == ["4.5", "22.1"]
    assert "converted from g/L to g/dL, x 0.1 (1)" in notes(findings, "hb_g_dl")
    assert "converted from mmol/L to g/dL, x 1.6114 (1)" in notes(findings, "hb_g_dl")
    assert "Gpt/L is 10^9/L (1)" in notes(findings, "wbc_10e9_l")


def test_a_unit_that_the_dictionary_lacks_is_asked_for(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "2015-03-10", 83, "HB", ""), (2, 0, "2015-03-10", 83, "HB", "furlong")]
    message = hospital.refusal()
    assert '1 without a unit and 1 in a unit that the dictionary does not know; write unit = "g/dL" or' in message
    assert "furlong" not in message  # fewer patients than may be named
    hospital.mapping = '[columns]\nHB = { column = "hb_g_dl", unit = "g/L" }\n'
    table, findings = hospital.read()
    assert table["hb_g_dl"].tolist() == ["8.3", "8.3"]
    assert "read in g/L, as the mapping says" in notes(findings, "hb_g_dl")


def test_a_unit_that_many_patients_have_is_named(hospital: Hospital) -> None:
    hospital.persons = [(i, 8507, "M", 1950, 6, 15) for i in range(1, 13)]
    hospital.conditions = []
    hospital.measurements = [(i, 0, "2015-03-10", 70 + i, "HB", "furlong") for i in range(1, 13)]
    assert "('furlong')" in hospital.refusal()


def test_the_sources_own_name_is_trusted_over_a_concept(hospital: Hospital) -> None:
    hospital.measurements = [(1, 3000963, "2015-03-10", 22.1, "WBC", "G/L")]  # the concept of haemoglobin
    table, findings = hospital.read()
    assert table["wbc_10e9_l"].tolist() == ["22.1", ""]
    assert "hb_g_dl" not in table
    assert "the source's own name counts" in notes(findings, "wbc_10e9_l")


def test_a_checked_concept_and_a_loinc_number_name_a_column(hospital: Hospital) -> None:
    hospital.measurements = [
        (1, 3000963, "2015-03-10", 8.3, "", "g/dL"),
        (1, 0, "2015-03-10", 43, "777-3", "10*9/L"),
        (1, 0, "2015-03-10", 300, "LOINC:14804-9", "U/L"),
    ]
    table, _ = hospital.read()
    assert table.loc[0, ["hb_g_dl", "platelets_10e9_l", "ldh_u_l"]].tolist() == ["8.3", "43", "300"]


def test_the_value_nearest_to_the_diagnosis_counts(hospital: Hospital) -> None:
    hospital.measurements = [
        (1, 0, "2015-03-01", 7.1, "HB", "g/dL"),
        (1, 0, "2015-03-09", 8.3, "HB", "g/dL"),
        (1, 0, "2015-03-11", 9.9, "HB", "g/dL"),  # as near, but after
        (1, 0, "2015-09-01", 12.0, "HB", "g/dL"),  # outside the window
        (2, 0, "2015-03-12", 10.5, "HB", "g/dL"),
    ]
    table, findings = hospital.read()
    assert table["hb_g_dl"].tolist() == ["8.3", "10.5"]
    said = notes(findings, "hb_g_dl")
    assert "window: outside -30 to 14 days around the diagnosis; left out (1)" in said
    assert "several: several values from -30 to 14 days around the diagnosis; the nearest counts (1)" in said


def test_the_window_is_declared(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "2015-01-01", 7.1, "HB", "g/dL"), (2, 0, "2014-12-31", 9.1, "HB", "g/dL")]
    assert "all 2 values lie outside -30 to 14 days" in hospital.refusal()
    hospital.mapping = "[timing]\nwindow_days = [-90, 0]\n"
    table, _ = hospital.read()
    assert table["hb_g_dl"].tolist() == ["7.1", "9.1"]


def test_without_a_diagnosis_several_values_cannot_be_chosen_from(hospital: Hospital) -> None:
    hospital.conditions = []
    hospital.measurements = [(1, 0, "2015-01-01", 7.1, "HB", "g/dL"), (1, 0, "2015-02-01", 9.1, "HB", "g/dL")]
    assert "no date of diagnosis to choose by" in hospital.refusal()
    hospital.measurements[1] = (1, 0, "2015-02-01", 7.1, "HB", "g/dL")  # the same value twice leaves no choice
    table, _ = hospital.read()
    assert table["hb_g_dl"].tolist() == ["7.1", ""]


def test_one_undated_patient_does_not_stop_the_others(hospital: Hospital) -> None:
    hospital.conditions = hospital.conditions[:1]
    hospital.measurements = [
        (person, 0, day, value, "HB", "g/dL")
        for person in (1, 2)
        for day, value in (("2015-03-10", 7.1), ("2015-03-20", 9.1))
    ]
    table, findings = hospital.read()
    assert table["hb_g_dl"].tolist() == ["7.1", ""]
    assert "left missing (1)" in notes(findings, "hb_g_dl")


def test_which_condition_is_the_diagnosis_is_asked(hospital: Hospital) -> None:
    hospital.conditions.append((1, "2010-01-01", "I10"))
    hospital.measurements = [(1, 0, "2015-03-10", 7.1, "HB", "g/dL")]
    message = hospital.refusal()
    assert "diagnosis = [codes] under [timing]" in message
    assert "I10" not in message
    hospital.mapping = '[timing]\ndiagnosis = ["C92.0"]\n'
    table, _ = hospital.read()
    assert table["hb_g_dl"].tolist() == ["7.1", ""]


def test_a_star_stands_for_every_code_that_begins_so(hospital: Hospital) -> None:
    hospital.conditions = [(1, "2015-03-10", "C92.00"), (2, "2015-03-10", "C92.01"), (2, "2010-01-01", "I10")]
    hospital.measurements = [(i, 0, f"2015-03-{9 + i}", 7.1 + i, "HB", "g/dL") for i in (1, 2)]
    hospital.mapping = '[timing]\ndiagnosis = ["C92.0*"]\nwindow_days = [0, 1]\n'
    table, _ = hospital.read()
    assert table["hb_g_dl"].tolist() == ["8.1", "9.1"]


def test_two_names_that_say_the_same_agree(hospital: Hospital) -> None:
    hospital.conditions = []  # so that different values could not be chosen from
    hospital.measurements = [
        (1, 0, "2015-03-10", 8.3, "HB", "g/dL"),
        (1, 0, "2015-03-11", 83, "Hb 2", "g/L"),
    ]
    hospital.observations = [(1, "2015-03-10", "NPM1", "positive"), (1, "2015-03-10", "Nucleophosmin", "m")]
    hospital.mapping = (
        '[columns]\n"Hb 2" = "hb_g_dl"\nHB = "hb_g_dl"\nNucleophosmin = { column = "NPM1", codes = { m = "1" } }\n'
    )
    table, _ = hospital.read()
    assert table["hb_g_dl"].tolist() == ["8.3", ""]
    assert table["NPM1"].tolist() == ["1", ""]


def test_values_without_a_day_cannot_be_chosen_from(hospital: Hospital) -> None:
    hospital.measurements = [
        (1, 0, "", 8.3, "HB", "g/dL"),
        (1, 0, "", 9.3, "HB", "g/dL"),
        (2, 0, "", 9.3, "HB", "g/dL"),
        (2, 0, "2015-03-10", 7.3, "HB", "g/dL"),  # the only one that is known to lie in the window
    ]
    table, findings = hospital.read()
    assert table["hb_g_dl"].tolist() == ["", "7.3"]
    assert "left missing (1)" in notes(findings, "hb_g_dl")


def test_parquet_tables_give_the_same(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "2015-03-10", 8.0, "HB", "g/dL"), (2, 0, "2015-03-10", 7.25, "HB", "g/dL")]
    expected, _ = hospital.read()
    for file in hospital.folder.glob("*.csv"):
        frame = pd.read_csv(file)
        for name in frame.columns[frame.columns.str.endswith("_date")]:
            frame[name] = pd.to_datetime(frame[name])
        frame.to_parquet(file.with_suffix(".parquet"))
        file.unlink()
    table, _ = hospital.read_again()
    pd.testing.assert_frame_equal(table, expected)


def test_age_and_sex_come_from_the_person(hospital: Hospital) -> None:
    hospital.persons = [(1, 8507, "1", 1950, 3, 10), (2, 8532, "f", 1960, 3, 11), (3, 0, "weiblich", 1970, "", "")]
    hospital.conditions.append((3, "2015-03-10", "C92.0"))
    table, findings = hospital.read()
    assert table["age_years"].tolist() == ["65", "54", "45"]  # on the birthday, the day before, the year alone
    assert table["sex"].tolist() == ["male", "f", "weiblich"]
    assert "only the year of birth is known; up to a year too high (1)" in notes(findings, "age_years")


def test_contradicting_sexes_are_refused(hospital: Hospital) -> None:
    hospital.persons[0] = (1, 8532, "male", 1950, 6, 15)
    assert "contradict each other for 1 persons" in hospital.refusal()


def test_survival_comes_from_death_and_last_contact(hospital: Hospital) -> None:
    hospital.add("death", DEATH, [(1, "2015-04-10")])
    hospital.add("observation_period", PERIOD, [(1, "2020-01-01"), (2, "2016-03-10"), (2, "2016-03-09")])
    table, findings = hospital.read()
    assert table["os_days"].tolist() == ["31", "366"]
    assert table["os_event"].tolist() == ["1", "0"]
    assert "to the date of death, else to the last contact (2)" in notes(findings, "os_days")


def test_a_death_before_the_diagnosis_is_refused(hospital: Hospital) -> None:
    hospital.add("death", DEATH, [(1, "2014-04-10")])
    assert "1 patients died or were last seen before their diagnosis" in hospital.refusal()


def test_a_death_of_somebody_alive_is_refused(hospital: Hospital) -> None:
    hospital.add("death", DEATH, [(1, "2016-04-10")])
    hospital.observations = [(1, "2016-01-01", "os_event", "0"), (1, "2016-01-01", "os_days", "300")]
    assert "1 patients have a date of death while 'os_event' says that they live" in hospital.refusal()


def test_two_dates_of_death_are_refused(hospital: Hospital) -> None:
    hospital.add("death", DEATH, [(1, "2016-04-10"), (1, "2016-04-11")])
    assert "1 persons have several dates of death" in hospital.refusal()


def test_identical_persons_are_merged_and_contradicting_ones_refused(hospital: Hospital) -> None:
    hospital.persons.append(hospital.persons[0])
    table, findings = hospital.read()
    assert len(table) == 2
    assert "identical rows of the person table were merged (1)" in notes(findings, "person")
    hospital.persons[2] = (1, 8507, "M", 1951, 6, 15)
    message = hospital.refusal()
    assert "2 rows (1, 3) share a person_id and differ" in message
    assert "1951" not in message


def test_values_of_unknown_persons_and_persons_without_values_are_counted(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "2015-03-10", 7.1, "HB", "g/dL"), (9, 0, "2015-03-10", 7.1, "HB", "g/dL")]
    _, findings = hospital.read()
    assert "persons whom the person table lacks; left out (1)" in notes(findings, "measurement")
    assert "persons without any value of the dictionary's columns (1)" in notes(findings, "patients")


def test_what_the_dictionary_does_not_know_is_left_out_and_named_only_when_many_have_it(hospital: Hospital) -> None:
    hospital.persons = [(i, 8507, "M", 1950, 6, 15) for i in range(1, 13)]
    hospital.conditions = []
    hospital.measurements = [(i, 0, "2015-03-10", 1, "Sodium", "mmol/L") for i in range(1, 13)]
    hospital.measurements += [(1, 0, "2015-03-10", 1, "Anna's own test", ""), (1, 0, "2015-03-10", 7, "HB", "g/dL")]
    _, findings = hospital.read()
    said = notes(findings, "other values")
    assert "left out: 'Sodium', 1 more (13)" in said
    assert "Anna" not in said


def test_a_source_that_speaks_of_nothing_known_is_refused(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "2015-03-10", 1, "Sodium", "mmol/L")]
    assert "none of the 1 kinds of values is in the 'aml' dictionary" in hospital.refusal()


def test_limits_nulls_and_words_for_missing_are_read(hospital: Hospital) -> None:
    hospital.write()
    header = "person_id,measurement_date,operator_concept_id,value_as_number,value_source_value,"
    (hospital.folder / "measurement.csv").write_text(
        header + "measurement_source_value,unit_source_value\n"
        "1,2015-03-10,4171756,0.5,,WBC,G/L\n"
        "2,2015-03-10,(null),(null),unknown,WBC,G/L\n"
        '1,20150310,(null),(null),"8,3",HB,g/dL\n'
        "2,2015-03-10 00:00:00,NULL,(null),<9.1,HB,g/dL\n",
        encoding="utf-8",
    )
    with pytest.raises(DataError, match="are no numbers with the decimal mark"):
        hospital.read_again()
    hospital.mapping = '[columns]\nHB = { column = "hb_g_dl", decimal = "," }\n'
    text = (hospital.folder / "measurement.csv").read_text(encoding="utf-8").replace("<9.1", '"<9,1"')
    (hospital.folder / "measurement.csv").write_text(text, encoding="utf-8")
    table, findings = hospital.read_again()
    assert table["wbc_10e9_l"].tolist() == ["0.5", ""]
    assert table["hb_g_dl"].tolist() == ["8.3", "9.1"]
    assert "the limit is taken as the value (1)" in notes(findings, "wbc_10e9_l")


def test_answers_are_read_from_words_before_concepts(hospital: Hospital) -> None:
    hospital.observations = [(1, "2015-03-10", "NPM1", "positive"), (2, "2015-03-10", "NPM1", "neg")]
    hospital.write()
    (hospital.folder / "measurement.csv").write_text(
        "person_id,measurement_date,value_as_concept_id,measurement_source_value\n"
        "1,2015-03-10,9191,FLT3_ITD\n2,2015-03-10,4188540,FLT3_ITD\n",
        encoding="utf-8",
    )
    table, _ = hospital.read_again()
    assert table["NPM1"].tolist() == table["FLT3_ITD"].tolist() == ["1", "0"]


def test_own_codes_and_several_names_of_one_column_are_mapped(hospital: Hospital) -> None:
    hospital.observations = [(1, "2015-03-10", "Typ", "3"), (2, "2015-03-10", "Art", "x")]
    hospital.mapping = (
        '[columns]\nTyp = { column = "aml_type", codes = { 3 = "secondary" } }\n'
        'Art = { column = "aml_type", codes = { x = "de_novo" } }\n'
    )
    table, _ = hospital.read()
    assert table["aml_type"].tolist() == ["secondary", "de_novo"]


def test_codes_are_never_taken_as_they_stand(hospital: Hospital) -> None:
    hospital.observations = [(1, "2015-03-10", "AML TYPE", "3")]
    assert "1 values are codes; write codes = { CODE =" in hospital.refusal()


def test_columns_are_composed_and_left_blank_as_the_mapping_says(hospital: Hospital) -> None:
    hospital.observations = [(1, "2015-03-10", "Karyotype", "done"), (2, "2015-03-10", "NPM1", "0")]
    hospital.mapping = 'not_recorded = ["ecog"]\n[compose]\nkaryotype_known = { known = ["Karyotype"] }\n'
    table, findings = hospital.read()
    assert table["karyotype_known"].tolist() == ["1", "0"]
    assert table["ecog"].tolist() == ["", ""]
    assert "Karyotype" not in notes(findings, "other values")


@pytest.mark.parametrize(
    ("delimiter", "encoding"), [("\t", "utf-8"), (";", "cp1252"), (",", "utf-8-sig"), (",", "utf-16")]
)
def test_delimiters_encodings_and_headers_in_capitals_are_read(
    hospital: Hospital, delimiter: str, encoding: str
) -> None:
    hospital.persons[0] = (1, 0, "männlich", 1950, 6, 15)
    hospital.measurements = [(1, 0, "2015-03-10", 7.1, "HB", "g/dL")]
    hospital.write()
    for file in hospital.folder.glob("*.csv"):
        header, _, rows = file.read_text(encoding="utf-8").partition("\n")
        text = f"{header.upper()}\r\n{rows}".replace(",", delimiter)
        file.with_suffix(".CSV").write_bytes(text.encode(encoding))
        if file.suffix != ".CSV":
            file.unlink()
    table, _ = hospital.read_again()
    assert table["hb_g_dl"].tolist() == ["7.1", ""]
    assert table["sex"].tolist() == ["männlich", "F"]


def test_decimal_commas_are_proven_or_asked_for(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "2015-03-10", '"8,3"', "HB", "g/dL"), (2, 0, "2015-03-10", '"10,1"', "HB", "g/dL")]
    table, _ = hospital.read()
    assert table["hb_g_dl"].tolist() == ["8.3", "10.1"]
    hospital.measurements = [(1, 0, "2015-03-10", '"1,151"', "LDH", "U/L")]
    assert "one or one thousand" in hospital.refusal()
    hospital.mapping = '[columns]\nLDH = { column = "ldh_u_l", decimal = "." }\n'
    table, _ = hospital.read()
    assert table["ldh_u_l"].tolist() == ["1151", ""]


def test_a_made_up_date_can_be_declared_missing(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "1800-01-01", 8.3, "HB", "g/dL"), (2, 0, "1800-01-01", 9.3, "HB", "g/dL")]
    assert "2 rows hold no date in this order" in hospital.refusal()
    hospital.mapping = '[dates]\nmeasurement_date = { missing = ["1800-01-01"] }\n'
    table, _ = hospital.read()
    assert table["hb_g_dl"].tolist() == ["8.3", "9.3"]


def test_a_date_that_could_be_two_days_is_asked_for(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "03/10/2015", 7.1, "HB", "g/dL")]
    assert 'order = "dmy"' in hospital.refusal()
    hospital.mapping = '[dates]\nmeasurement_date = { order = "mdy" }\n'
    table, _ = hospital.read()
    assert table["hb_g_dl"].tolist() == ["7.1", ""]


def test_a_site_column_of_the_person_table_is_kept(hospital: Hospital) -> None:
    hospital.measurements = [(1, 0, "2015-03-10", 7.1, "HB", "g/dL")]
    hospital.write()
    hospital.add("person", "person_id,gender_source_value,care_site_id", [(1, "m", 7), (2, "f", 8)])
    table, _ = hospital.read_again(extra=["care_site_id"])
    assert table["care_site_id"].tolist() == ["7", "8"]


def test_a_ragged_table_is_refused_without_a_word_of_its_content(hospital: Hospital) -> None:
    hospital.write()
    with (hospital.folder / "measurement.csv").open("a") as stream:
        stream.write("1,0,2015-03-10,Meier,Anna\n")
    with pytest.raises(UnreadableFile, match=r"measurement\.csv cannot be read as a table") as caught:
        hospital.read_again()
    assert "Meier" not in f"{caught.value}{caught.value.__cause__}"


def test_a_table_without_its_key_is_refused(hospital: Hospital) -> None:
    hospital.write()
    hospital.add("person", "id,gender", [(1, "m")])
    with pytest.raises(UnreadableFile, match="lacks the column person_id"):
        hospital.read_again()
