"""Cohorts: simulated or read, split into sites, with a hold-out that looks at one patient alone."""

from pathlib import Path

import pandas as pd
import pytest

from synthfed.cohorts.aml import simulate_aml
from synthfed.cohorts.holdout import is_held_out
from synthfed.cohorts.sites import load_cohort, read_cohort
from synthfed.errors import ConfigError, DataError, EmptySite, MissingColumn, UnknownColumn, UnreadableFile

KEY = bytes(range(32))
COLUMNS = ("patient_id", "age_years", "sex", "wbc_10e9_l", "NPM1", "FLT3_ITD", "FLT3_ITD_allelic_ratio", "os_days",
           "os_event", "cause_of_death")  # fmt: skip


def hospital(patients: int = 60, seed: int = 1) -> pd.DataFrame:
    """A table as a hospital would hand it over: texts, empty for missing."""
    table = simulate_aml(patients, seed=seed)[list(COLUMNS)]
    return table.astype("object").where(table.notna(), "").astype(str)


def test_a_simulated_cohort_says_so_and_has_its_sites() -> None:
    cohort = load_cohort("aml", sites=["lyon", "milano", "berlin"], patients=301, shares=[0.5, 0.3, 0.2], seed=3)
    assert cohort.simulated
    assert "no row stems from a patient" in cohort.origin
    assert cohort.site_names == ("lyon", "milano", "berlin")
    total = {site: cohort.counts[site] + len(cohort.holdouts[site]) for site in cohort.site_names}
    assert total == {"lyon": 151, "milano": 90, "berlin": 60}
    assert len(cohort.train) + len(cohort.holdout) == 301
    assert cohort.train["patient_id"].is_unique
    assert not set(cohort.train["patient_id"]) & set(cohort.holdout["patient_id"])


@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_a_simulated_cohort_follows_from_its_seed_and_keeps_the_rules(disease: str) -> None:
    one, two = (load_cohort(disease, patients=200, seed=5) for _ in range(2))
    pd.testing.assert_frame_equal(one.train, two.train)
    assert not one.rules.check(one.train)[[rule.id for rule in one.rules.hard]].any(axis=None)
    assert one.schema.names == tuple(one.train.columns)
    assert not load_cohort(disease, patients=200, seed=6).train.equals(one.train)


def test_skew_makes_hospitals_differ_and_zero_skew_does_not() -> None:
    def spread(skew: float) -> float:
        cohort = load_cohort("aml", patients=8000, skew=skew, seed=2)
        return float(pd.Series({s: t["ldh_u_l"].isna().mean() for s, t in cohort.sites.items()}).std())

    assert spread(1.0) > 3 * spread(0.0)


def test_columns_of_a_simulated_cohort_can_be_chosen() -> None:
    cohort = load_cohort("aml", patients=50, columns=["os_days", "os_event", "NPM1"])
    assert cohort.schema.names == ("NPM1", "os_days", "os_event")
    assert load_cohort("aml", patients=50, columns=["ecog", "efs_days"]).schema.names == ("ecog", "efs_days")
    assert set(load_cohort("scd", patients=50, columns="all").schema.names) > {"egfr", "trv_m_s", "mcv_fl"}
    with pytest.raises(MissingColumn, match="MYC"):
        load_cohort("aml", patients=50, columns=["NPM1", "MYC"])


def test_wrong_simulated_cohorts_are_refused() -> None:
    with pytest.raises(ConfigError, match="aml, scd"):
        load_cohort("gout")
    with pytest.raises(ConfigError, match="one positive number for each of 4 sites"):
        load_cohort("aml", shares=[0.5, 0.5])
    with pytest.raises(EmptySite, match="raise patients"):
        load_cohort("aml", patients=3)
    with pytest.raises(ConfigError, match="for 'aml' only"):
        load_cohort("scd", profile="trial")
    with pytest.raises(ConfigError, match="can be left out"):
        load_cohort("aml", patients=50, unrecorded=99)


def test_who_is_held_out_depends_on_one_patient_alone() -> None:
    table = hospital(80)
    whole = read_cohort({"lyon": table}, columns=COLUMNS, split_key=KEY)
    without = read_cohort({"lyon": table.iloc[1:]}, columns=COLUMNS, split_key=KEY)
    first = {str(table["patient_id"].iloc[0])}
    assert set(whole.holdout["patient_id"]) - first == set(without.holdout["patient_id"])
    assert all(is_held_out(p, key=KEY, site="lyon", fraction=0.2) for p in whole.holdout["patient_id"])


def test_the_hold_out_has_its_share_and_another_key_draws_another_one() -> None:
    held = [is_held_out(f"p{i}", key=KEY, site="lyon", fraction=0.2) for i in range(4000)]
    other = [is_held_out(f"p{i}", key=b"x" * 32, site="lyon", fraction=0.2) for i in range(4000)]
    elsewhere = [is_held_out(f"p{i}", key=KEY, site="milano", fraction=0.2) for i in range(4000)]
    assert sum(held) / 4000 == pytest.approx(0.2, abs=0.025)
    for another in (other, elsewhere):
        assert sum(a and b for a, b in zip(held, another, strict=True)) / 4000 == pytest.approx(0.04, abs=0.015)


def test_a_folder_has_one_site_per_file(tmp_path: Path) -> None:
    hospital(40, seed=1).to_csv(tmp_path / "lyon.csv", index=False)
    hospital(30, seed=2).to_csv(tmp_path / "milano.csv", index=False, sep=";")
    cohort = read_cohort(tmp_path, columns=COLUMNS, holdout_fraction=0.25, split_key=KEY)
    assert cohort.site_names == ("lyon", "milano")
    assert not cohort.simulated
    assert [cohort.counts[s] + len(cohort.holdouts[s]) for s in cohort.site_names] == [40, 30]
    assert [cohort.reports[s].rows for s in cohort.site_names] == [40, 30]


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="one file per site"):
        read_cohort(tmp_path)


def test_a_column_can_name_the_sites(tmp_path: Path) -> None:
    table = hospital(50).assign(clinic=["north", "south"] * 25)
    table.to_csv(tmp_path / "all.csv", index=False)
    cohort = read_cohort(tmp_path / "all.csv", columns=COLUMNS, site_column="clinic", split_key=KEY)
    assert set(cohort.site_names) == {"north", "south"}
    assert "clinic" not in cohort.train.columns
    with pytest.raises(DataError, match="empty in 1 rows"):
        read_cohort(table.assign(clinic=["", *["south"] * 49]), columns=COLUMNS, site_column="clinic")
    with pytest.raises(UnknownColumn, match="clinic"):
        read_cohort(table, columns=COLUMNS)


def test_one_table_is_one_site_and_its_columns_are_found() -> None:
    cohort = read_cohort(hospital(40), split_key=KEY)
    assert len(cohort.site_names) == 1
    assert set(cohort.schema.names) == set(COLUMNS)


@pytest.mark.parametrize(("rule", "sizes"), [("random", [20, 20, 20]), ("size", [33, 16, 11]), ("age", [20, 20, 20])])
def test_one_table_can_be_split_and_says_so(rule: str, sizes: list[int]) -> None:
    cohort = read_cohort(hospital(60), columns=COLUMNS, split_sites=3, split_rule=rule, split_key=KEY)  # type: ignore[arg-type]
    assert [cohort.counts[s] + len(cohort.holdouts[s]) for s in cohort.site_names] == sizes
    assert f"split by '{rule}' into 3 made-up sites" in cohort.origin
    if rule == "age":
        ages = [pd.concat([cohort.sites[s], cohort.holdouts[s]])["age_years"] for s in cohort.site_names]
        assert ages[0].max() <= ages[1].min()
        assert ages[1].max() <= ages[2].min()


def test_sites_are_named_one_way_only() -> None:
    with pytest.raises(ConfigError, match="not both"):
        read_cohort(hospital(), site_column="sex", split_sites=3)
    with pytest.raises(ConfigError, match="one per site already"):
        read_cohort({"a": hospital(), "b": hospital()}, split_sites=3)


def test_identical_rows_of_a_patient_are_merged_and_contradictions_refused_without_values() -> None:
    table = hospital(30)
    doubled = pd.concat([table, table.iloc[[4]]], ignore_index=True)
    cohort = read_cohort({"lyon": doubled}, columns=COLUMNS, split_key=KEY)
    assert len(cohort.train) + len(cohort.holdout) == 30
    assert [(f.kind, f.count) for f in cohort.reports["lyon"].findings if f.kind == "duplicate"] == [("duplicate", 1)]
    doubled.loc[30, "age_years"] = "77" if doubled.loc[30, "age_years"] != "77" else "78"
    with pytest.raises(DataError, match=r"rows \[5, 31\] share a 'patient_id' and contradict") as error:
        read_cohort({"lyon": doubled}, columns=COLUMNS)
    assert str(doubled.loc[4, "patient_id"]) not in str(error.value)


def test_too_few_training_rows_are_refused() -> None:
    with pytest.raises(EmptySite, match=r"site 'lyon' has \d+ training rows .* needs at least 50 \(cohort.min_rows\)"):
        read_cohort({"lyon": hospital(40)}, columns=COLUMNS, min_rows=50, split_key=KEY)


def test_without_an_id_column_rows_stand_for_patients() -> None:
    table = hospital(40).drop(columns="patient_id")
    cohort = read_cohort({"lyon": table}, columns=COLUMNS, split_key=KEY)
    assert cohort.train["patient_id"].is_unique
    assert 0 < len(cohort.holdout) < 20


def test_cells_that_break_rules_become_missing_are_kept_or_drop_the_row() -> None:
    table = hospital(40)
    settled = {"missing": "read as missing", "keep": "kept", "drop": "left out"}
    table.loc[:2, "FLT3_ITD"], table.loc[:2, "FLT3_ITD_allelic_ratio"] = "0", "0.5"

    def read(how: str) -> pd.DataFrame:
        cohort = read_cohort({"lyon": table}, columns=COLUMNS, on_violation=how, split_key=KEY)  # type: ignore[arg-type]
        (broken,) = (f for f in cohort.reports["lyon"].findings if f.kind == "rule")
        assert (broken.column, broken.count) == ("H28", 3)
        assert broken.note.startswith("An allelic ratio exists only where FLT3-ITD was found. Broken in rows 1, 2, 3;")
        assert broken.note.endswith(settled[how])
        return pd.concat([cohort.train, cohort.holdout])

    wrong = "FLT3_ITD == 0 and FLT3_ITD_allelic_ratio.notna()"
    assert len(read("missing").query(wrong)) == 0
    assert len(read("missing")) == 40
    assert len(read("keep").query(wrong)) == 3
    assert len(read("drop")) == 37


def test_splitting_does_not_move_a_patient_between_training_and_hold_out() -> None:
    table = hospital(60)
    whole = read_cohort(table, columns=COLUMNS, split_key=KEY)
    for rule in ("random", "age"):
        parts = read_cohort(table, columns=COLUMNS, split_sites=3, split_rule=rule, split_key=KEY)  # type: ignore[arg-type]
        assert set(parts.holdout["patient_id"]) == set(whole.holdout["patient_id"])


def test_a_typed_table_reads_back_as_it_is() -> None:
    simulated = load_cohort("aml", sites=3, patients=90, seed=4)
    again = read_cohort(simulated.sites, columns=simulated.schema.names, holdout_fraction=1e-9, split_key=KEY)
    pd.testing.assert_frame_equal(again.train, simulated.train)


def test_selected_columns_keep_their_patients_and_rules() -> None:
    cohort = load_cohort("aml", sites=3, patients=120, seed=2)
    few = cohort.select(["age_years", "sex", "os_days", "os_event", "cause_of_death"])
    assert few.schema.names == ("age_years", "sex", "os_days", "os_event", "cause_of_death")
    assert few.counts == cohort.counts
    assert few.schema.primary_survival is not None
    assert set(few.rules.check(few.train).columns) < set(cohort.rules.check(cohort.train).columns)


def test_a_missing_column_is_named() -> None:
    cohort = load_cohort("aml", sites=3, patients=120, seed=2).select(["age_years", "sex"])
    with pytest.raises(MissingColumn, match="NPM1"):
        cohort.select(["age_years", "NPM1"])
