"""What the simulator draws beyond the shipped pipeline: rarer findings, labels, and the path inside survival."""

import functools
import time

import numpy as np
import pandas as pd
import pytest

from synthfed.cohorts.aml import Profile, simulate_aml
from synthfed.cohorts.drawing import load_prior
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.rules import RuleSet

PRIOR = load_prior("aml")
MONTH = 30.4375


@functools.cache
def cohort(profile: Profile = "beat") -> pd.DataFrame:
    return simulate_aml(20_000, seed=11, profile=profile, columns="all")


def curve(days: pd.Series, events: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Times and Kaplan-Meier survival just after them, of the rows that know both."""
    known = days.notna() & events.notna()
    order = np.argsort(days[known].to_numpy(dtype=float), kind="stable")
    times, died = days[known].to_numpy(dtype=float)[order], events[known].to_numpy(dtype=float)[order]
    return times, np.cumprod(1 - died / np.arange(len(times), 0, -1))


def surviving(days: pd.Series, events: pd.Series, months: float) -> float:
    times, shares = curve(days, events)
    return float(shares[np.searchsorted(times, months * MONTH, side="right") - 1])


def median(days: pd.Series, events: pd.Series) -> float:
    times, shares = curve(days, events)
    return float(times[np.flatnonzero(shares <= 0.5)[0]] / MONTH)


def incidence(days: pd.Series, cause: np.ndarray, at: float, of: int = 1) -> float:
    """Cumulative incidence of cause `of` among competing ones; 0 is censored."""
    order = np.argsort(days.to_numpy(dtype=float), kind="stable")
    times, cause = days.to_numpy(dtype=float)[order], cause[order]
    risk = np.arange(len(times), 0, -1)
    free = np.concatenate([[1.0], np.cumprod(1 - (cause > 0) / risk)[:-1]])
    return float(np.sum((free * (cause == of) / risk)[times <= at]))


@pytest.mark.parametrize("profile", ["beat", "trial"])
def test_no_hard_rule_needs_a_repair(profile: Profile) -> None:
    dictionary = load_dictionary("aml")
    rules = RuleSet.load(dictionary.folder, dictionary.schema).restrict(cohort(profile).columns)
    assert len(rules.hard) >= 50
    assert not rules.check(cohort(profile))[[rule.id for rule in rules.hard]].any(axis=None)


def test_the_columns_of_the_pipeline_do_not_move_when_more_are_drawn() -> None:
    few = simulate_aml(300, seed=4)
    pd.testing.assert_frame_equal(simulate_aml(300, seed=4, columns="all")[list(few.columns)], few)
    chosen = simulate_aml(300, seed=4, columns=["efs_days", "NPM1"])
    assert list(chosen.columns) == ["patient_id", "NPM1", "efs_days"]


def test_every_column_has_its_type_and_lies_within_its_bounds() -> None:
    schema = load_dictionary("aml").schema
    for name in cohort().columns:
        assert cohort()[name].dtype == schema.dtype(name)
        if schema[name].is_number:
            values = cohort()[name].dropna().astype(float)
            assert values.between(schema[name].lower, schema[name].upper).all(), name


@pytest.mark.parametrize(("column", "percent"), PRIOR["further_lesions"]["percent"].items())
def test_rarer_lesions_are_as_frequent_as_declared(column: str, percent: float) -> None:
    assert 100 * cohort()[column].mean() == pytest.approx(percent, abs=0.5)


@pytest.mark.parametrize("gene", PRIOR["further_genes"]["percent"])
def test_rarer_genes_stay_within_the_published_range(gene: str) -> None:
    assert 0.2 <= 100 * cohort()[gene].mean() <= 3.9  # 1 to 19 carriers of 504


def test_idh2_and_tp53_are_told_more_closely() -> None:
    assert 100 * cohort()["TP53_vaf10"].mean() == pytest.approx(10.5, abs=1.0)
    idh2 = cohort()[cohort()["IDH2"] == 1]
    assert ((idh2["IDH2_R140"] == 1) | (idh2["IDH2_R172"] == 1)).mean() == pytest.approx(0.984, abs=0.01)


@pytest.mark.parametrize(
    ("label", "percent"),
    [("npm1", 26.7), ("nos", 23.2), ("mrc", 22.4), ("therapy_related", 7.7), ("cbfb_myh11", 6.6), ("pml_rara", 4.0)],
)
def test_who_classes_are_as_frequent_as_published(label: str, percent: float) -> None:
    assert 100 * (cohort()["who_2016"].dropna() == label).mean() == pytest.approx(percent, abs=2.0)


@pytest.mark.parametrize(
    ("label", "percent"), [("M2", 25.8), ("M1", 20.8), ("M5", 19.3), ("M4", 18.0), ("M0", 7.1), ("M3", 6.5)]
)
def test_fab_classes_are_as_frequent_as_published(label: str, percent: float) -> None:
    assert 100 * (cohort()["fab"].dropna() == label).mean() == pytest.approx(percent, abs=3.0)


def test_fab_is_missing_and_m4_of_inv16_as_published() -> None:
    assert 100 * cohort()["fab"].isna().mean() == pytest.approx(39.5, abs=2.0)
    both = cohort()[["fab", "hb_g_dl"]].isna().astype(float).corr().iloc[0, 1]
    assert both == pytest.approx(0.41, abs=0.05)
    inv16 = cohort()[(cohort()["class_fusion"] == "inv16_t16_16") & cohort()["fab"].notna()]
    assert (inv16["fab"] == "M4").mean() == pytest.approx(0.59, abs=0.05)


@pytest.mark.parametrize(("group", "percent"), [("adverse", 43.0), ("favorable", 35.6), ("intermediate", 21.4)])
def test_eln_2017_groups_lie_near_the_published_ones(group: str, percent: float) -> None:
    # the published labels count t(15;17) as favorable, and know groups where the ratio is not recorded
    groups = cohort()["eln2017"].dropna().astype("object").replace("apl", "favorable")
    assert 100 * (groups == group).mean() == pytest.approx(percent, abs=3.0)


def test_eln_2017_is_missing_as_often_as_its_rule_leaves_it_in_real_patients() -> None:
    # The published labels are missing in 5.1 %: whoever gave them saw karyotype reports and ratios that the published
    # table lacks. A table derives the group (H30b), and of the same 532 patients the rule leaves 12.2 % without one.
    assert 100 * cohort()["eln2017"].isna().mean() == pytest.approx(12.2, abs=1.5)


def test_performance_status_and_spleen_are_as_published() -> None:
    status = cohort()["ecog"].dropna().astype(int)
    assert (status >= 2).mean() == pytest.approx(0.265, abs=0.03)  # PMC10020242
    trial = cohort("trial")["ecog"].dropna().astype(int)
    for level, share in {0: 0.35, 1: 0.50}.items():  # Slovak 2000
        assert (trial == level).mean() == pytest.approx(share, abs=0.02)
    assert cohort("trial")["splenomegaly"].mean() == pytest.approx(0.094, abs=0.01)


@pytest.mark.parametrize("profile", ["beat", "trial"])
def test_remission_takes_about_five_weeks(profile: Profile) -> None:
    induced = cohort(profile)[cohort(profile)["induction_response"].isin(["CR", "CRi"])]
    assert induced["days_to_cr"].median() == pytest.approx(35, abs=3)
    assert 25 < induced["days_to_cr"].quantile(0.25) < 32


@pytest.mark.parametrize("profile", ["beat", "trial"])
def test_remissions_relapse_as_published(profile: Profile) -> None:
    table = cohort(profile)[(cohort(profile)["cr_achieved"] == 1) & cohort(profile)["rfs_days"].notna()]
    relapsed, dead = table["days_to_relapse"].notna(), table["os_event"] == 1
    cause = np.where(relapsed, 1, np.where(dead, 2, 0))
    # 56-59 % relapse (ECOG-ACRIN, ALFA-9000), most within five years
    assert incidence(table["rfs_days"], cause, 3000) == pytest.approx(0.575, abs=0.045)
    # 80 % of deaths after a remission come after a relapse (MD Anderson); fewer where many are transplanted
    assert relapsed[dead].mean() == pytest.approx(0.80, abs=0.02 if profile == "beat" else 0.07)
    again = table[relapsed]
    after = again["os_days"] - again["days_to_relapse"]
    assert median(after, again["os_event"]) == pytest.approx(6, abs=1)
    assert surviving(after, again["os_event"], 60) == pytest.approx(0.10, abs=0.06)


def test_events_follow_one_another() -> None:
    table = cohort()
    known = table[table["os_days"].notna()]
    assert (known["efs_days"] <= known["os_days"]).all()
    assert (known["days_to_cr"] < known["days_to_relapse"]).where(known["days_to_relapse"].notna()).dropna().all()
    assert table.loc[table["efs_event_type"] == "relapse", "days_to_relapse"].notna().all()
    assert set(table["efs_event_type"].dropna().unique()) == {"refractory", "relapse", "death_induction", "death_cr"}


def test_a_trial_has_the_published_remissions_and_early_deaths() -> None:
    table = cohort("trial")
    assert table["age_years"].max() <= 65
    assert (table["intensive_induction"] == 1).all()
    response = table["induction_response"].dropna()
    assert 0.73 <= response.isin(["CR", "CRi"]).mean() <= 0.84  # Kern 2003, Castaigne 2004, Bassan 2019
    assert (response == "ED").mean() == pytest.approx(0.098, abs=0.03)  # Kern 2003


@pytest.mark.parametrize(
    ("endpoint", "months", "lowest", "highest"),
    [
        # five years: AMLCG 28.4, 21.6, 30.1 % (Kern 2003); NILG overall 39-49, relapse-free 36-48 % (Bassan 2019)
        ("os", 60, 0.284, 0.49),
        ("efs", 60, 0.206, 0.40),
        ("rfs", 60, 0.291, 0.48),
    ],
)
def test_a_trial_lives_as_long_as_published_ones(endpoint: str, months: int, lowest: float, highest: float) -> None:
    days, events = (cohort("trial")[f"{endpoint}_{part}"] for part in ("days", "event"))
    assert lowest <= surviving(days, events, months) <= highest


def test_median_survivals_of_a_trial_lie_near_the_published_ones() -> None:
    table = cohort("trial")
    for endpoint, months in {"os": 18, "efs": 9, "rfs": 15}.items():  # Kern 2003
        found = median(table[f"{endpoint}_days"], table[f"{endpoint}_event"])
        assert found == pytest.approx(months, rel=0.25), endpoint


def test_transplants_are_done_as_published() -> None:
    table = cohort("trial")
    first = table[(table["hsct_phase"] == "CR1") & (table["hsct_allogeneic"] == 1) & table["os_days"].notna()]
    # PMC10697699: 15 / 33 / 51 % of the transplanted are favorable / intermediate / adverse; done in 76 % of planned
    groups = first["eln2022"].value_counts(normalize=True)
    for group, share in {"favorable": 0.15, "intermediate": 0.33, "adverse": 0.51}.items():
        assert groups[group] == pytest.approx(share, abs=0.05)
    planned = table[(table["eln2022"] == "adverse") & table["induction_response"].isin(["CR", "CRi"])]
    assert (planned["hsct_phase"] == "CR1").mean() == pytest.approx(0.76, abs=0.08)
    assert first["hsct_family_donor"].mean() == pytest.approx(0.565, abs=0.03)  # Versluis 2017
    # death without relapse in the year after: 12.2 to 14.8 % (Penack 2020); alive after two years: 44 to 59 %
    days = first[["days_to_relapse", "os_days"]].astype(float).min(axis=1) - first["days_to_hsct"]
    cause = np.where(first["days_to_relapse"].notna(), 1, np.where(first["os_event"] == 1, 2, 0))
    assert 0.115 <= incidence(days, cause, 365, of=2) <= 0.155
    assert 0.44 <= surviving(first["os_days"] - first["days_to_hsct"], first["os_event"], 24) <= 0.60
    assert (table["days_cr1_to_hsct"].dropna() >= 0).all()


def test_without_missing_values_only_structural_blanks_are_left() -> None:
    schema = load_dictionary("aml").schema
    table = simulate_aml(1500, seed=2, missing=0, columns="all")
    blank = {name for name in table.columns if table[name].isna().any()}
    assert blank <= {name for name in table.columns if schema[name].missing == "structural"} | {"cause_of_death"}
    twice, once = (simulate_aml(10_000, seed=2, missing=factor)["wbc_10e9_l"].isna().mean() for factor in (2, 1))
    assert twice == pytest.approx(2 * once, abs=0.02)


@pytest.mark.benchmarks
def test_a_hundred_thousand_patients_take_less_than_ten_seconds() -> None:
    simulate_aml(10, seed=1, columns="all")
    started = time.perf_counter()
    simulate_aml(100_000, seed=1, columns="all")
    seconds = time.perf_counter() - started
    print(f"100,000 AML patients with all columns: {seconds:.1f} s")
    assert seconds < 10
