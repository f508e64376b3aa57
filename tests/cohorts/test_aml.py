"""The simulated AML cohort agrees with the published facts it claims to be built from."""

import functools

import numpy as np
import pandas as pd
import pytest

from synthfed.cohorts.aml import simulate_aml
from synthfed.cohorts.drawing import SiteEffects, load_prior
from synthfed.pipeline import Pipeline
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.rules import RuleSet

PATIENTS = 20_000
MONTH = 30.4375
PRIOR = load_prior("aml")


@functools.cache
def cohort() -> pd.DataFrame:
    return simulate_aml(PATIENTS, seed=11)


def surviving(rows: "pd.Series[bool]", months: float, *, event: int = 1) -> float:
    """Kaplan-Meier survival by hand: the product over deaths of 1 - 1/at risk; with `event` 0 the share followed."""
    table = cohort()[rows.fillna(False).astype(bool) & cohort()["os_days"].notna()]
    order = np.argsort(table["os_days"].to_numpy(dtype=float), kind="stable")
    days = table["os_days"].to_numpy(dtype=float)[order]
    died = (table["os_event"] == event).to_numpy(dtype=float)[order]
    steps = 1.0 - died / np.arange(len(days), 0, -1)
    return float(np.prod(steps[days <= months * MONTH]))


def log_odds_ratio(a: str, b: str) -> float:
    table = cohort()[cohort()["class_fusion"] != "t_15_17"]
    table = table.assign(inv16_t16_16=(table["class_fusion"] == "inv16_t16_16").where(table["class_fusion"].notna()))
    known = table[[a, b]].dropna().astype(int)
    counts = pd.crosstab(known[a], known[b]).to_numpy() + 0.5
    return float(np.log(counts[1, 1] * counts[0, 0] / counts[0, 1] / counts[1, 0]))


def test_it_draws_the_pipelines_columns_with_their_types() -> None:
    schema = load_dictionary("aml").schema
    assert set(cohort().columns) == set(Pipeline.load("aml").cohort.columns)
    assert list(cohort().columns) == [name for name in schema.names if name in cohort().columns]
    assert all(cohort()[name].dtype == schema.dtype(name) for name in cohort().columns)


def test_no_hard_rule_needs_a_repair() -> None:
    dictionary = load_dictionary("aml")
    rules = RuleSet.load(dictionary.folder, dictionary.schema).restrict(cohort().columns)
    assert not rules.check(cohort())[[rule.id for rule in rules.hard]].any(axis=None)
    before = cohort().drop(columns="eln2022")
    after = rules.enforce(before)
    pd.testing.assert_frame_equal(after.drop(columns="eln2022"), before)


def test_the_same_seed_draws_the_same_patients() -> None:
    pd.testing.assert_frame_equal(simulate_aml(50, seed=3), simulate_aml(50, seed=3))
    assert not simulate_aml(50, seed=3).equals(simulate_aml(50, seed=4))


@pytest.mark.parametrize(("column", "percent"), PRIOR["prevalence"].items())
def test_prevalences_lie_within_one_point(column: str, percent: float) -> None:
    assert 100 * cohort()[column].mean() == pytest.approx(percent, abs=1.0)


@pytest.mark.parametrize(("group", "percent"), PRIOR["eln2022"].items())
def test_risk_groups_lie_within_three_points(group: str, percent: float) -> None:
    shares = cohort()["eln2022"].value_counts(normalize=True)
    assert 100 * shares[group] == pytest.approx(percent, abs=3.0)


@pytest.mark.parametrize(
    ("column", "quantiles"),
    [
        # 5, 25, 50, 75, 95 % of Beat AML 2.0 (Bottomly et al. 2022)
        *PRIOR["quantiles"]["values"].items(),
        ("FLT3_ITD_allelic_ratio", [0.11, 0.43, 0.79, 1.0, 7.0]),
    ],
)
def test_quantiles_lie_within_a_tenth_of_the_published_ones(column: str, quantiles: list[float]) -> None:
    found = cohort()[column].astype(float).quantile([0.05, 0.25, 0.5, 0.75, 0.95]).to_numpy()
    step = 10.0 ** -load_dictionary("aml").schema[column].decimals
    assert found == pytest.approx(np.array(quantiles), rel=0.10, abs=step)


@pytest.mark.parametrize(
    ("a", "b", "rank_correlation"),
    [
        ("wbc_10e9_l", "hb_g_dl", -0.17),
        ("wbc_10e9_l", "platelets_10e9_l", -0.05),
        ("wbc_10e9_l", "ldh_u_l", 0.57),
        ("wbc_10e9_l", "bm_blasts_pct", 0.38),
        ("wbc_10e9_l", "pb_blasts_pct", 0.61),
        ("hb_g_dl", "platelets_10e9_l", 0.24),
        ("hb_g_dl", "ldh_u_l", -0.16),
        ("hb_g_dl", "bm_blasts_pct", -0.13),
        ("hb_g_dl", "pb_blasts_pct", -0.2),
        ("platelets_10e9_l", "ldh_u_l", -0.13),
        ("platelets_10e9_l", "bm_blasts_pct", -0.13),
        ("platelets_10e9_l", "pb_blasts_pct", -0.16),
        ("ldh_u_l", "bm_blasts_pct", 0.35),
        ("ldh_u_l", "pb_blasts_pct", 0.48),
        ("bm_blasts_pct", "pb_blasts_pct", 0.72),
    ],
)
def test_laboratory_values_rank_together_as_published(a: str, b: str, rank_correlation: float) -> None:
    found = cohort()[a].astype(float).corr(cohort()[b].astype(float), method="spearman")
    assert found == pytest.approx(rank_correlation, abs=0.05)


def test_older_patients_live_shorter() -> None:
    ages, days = cohort()["age_years"].astype(float), cohort()["os_days"].astype(float)
    assert ages.corr(days, method="spearman") == pytest.approx(-0.39, abs=0.07)


def test_itd_raises_the_white_count() -> None:
    medians = cohort().groupby("FLT3_ITD")["wbc_10e9_l"].median()
    assert 2.2 < medians[1] / medians[0] < 5.0


@pytest.mark.parametrize(
    ("a", "b", "odds_ratio"),
    [
        # Beat AML 2.0, non-APL pairs with p < 1e-4, odds ratios clipped to 0.05-30
        ("complex_karyotype", "minus5_5q", 30.0),
        ("TP53", "minus5_5q", 30.0),
        ("NPM1", "normal_karyotype", 18.0),
        ("TP53", "complex_karyotype", 30.0),
        ("minus5_5q", "mono17_17p_abn17p", 30.0),
        ("complex_karyotype", "mono17_17p_abn17p", 30.0),
        ("complex_karyotype", "normal_karyotype", 0.05),
        ("TP53", "mono17_17p_abn17p", 25.0),
        ("normal_karyotype", "plus8_8q", 0.05),
        ("normal_karyotype", "minus5_5q", 0.05),
        ("NPM1", "FLT3_ITD", 5.3),
        ("NPM1", "RUNX1", 0.05),
        ("FLT3_ITD", "normal_karyotype", 5.5),
        ("normal_karyotype", "mono17_17p_abn17p", 0.05),
        ("NPM1", "DNMT3A", 4.6),
        ("DNMT3A", "normal_karyotype", 4.8),
        ("TP53", "normal_karyotype", 0.07),
        ("normal_karyotype", "inv16_t16_16", 0.05),
        ("SRSF2", "STAG2", 8.0),
        ("normal_karyotype", "del7q", 0.05),
        ("NPM1", "complex_karyotype", 0.1),
        ("minus5_5q", "del7q", 10.0),
        ("RUNX1", "SRSF2", 5.2),
        ("complex_karyotype", "mono7", 10.0),
        ("complex_karyotype", "del7q", 9.0),
        ("NPM1", "TP53", 0.09),
        ("TP53", "del7q", 9.0),
        ("normal_karyotype", "mono7", 0.05),
        ("NPM1", "minus5_5q", 0.1),
        ("FLT3_ITD", "NRAS", 0.1),
        ("ASXL1", "STAG2", 6.0),
        ("ASXL1", "SRSF2", 4.8),
        ("FLT3_ITD", "DNMT3A", 2.9),
        ("DNMT3A", "SRSF2", 0.1),
        ("minus5_5q", "mono7", 8.0),
        ("DNMT3A", "TP53", 0.09),
        ("RUNX1", "ASXL1", 4.1),
        ("NPM1", "ASXL1", 0.2),
        ("mono7", "mono17_17p_abn17p", 9.0),
        ("NPM1", "inv16_t16_16", 0.09),
        ("DNMT3A", "complex_karyotype", 0.2),
        ("IDH2_R140", "SRSF2", 4.0),
    ],
)
def test_genes_meet_and_avoid_each_other_as_published(a: str, b: str, odds_ratio: float) -> None:
    found, wanted = np.clip(log_odds_ratio(a, b), *np.log([0.05, 30.0])), np.log(odds_ratio)
    assert found * wanted > 0
    assert abs(found - wanted) <= 0.7


@pytest.mark.parametrize(
    ("column", "below", "above"),
    [
        # percent below and from 60 years on, Beat AML 2.0
        ("normal_karyotype", 41.0, 44.0),
        ("complex_karyotype", 10.0, 17.0),
        ("plus8_8q", 10.0, 14.0),
        ("NPM1", 33.0, 25.0),
        ("FLT3_ITD", 28.0, 20.0),
        ("DNMT3A", 22.0, 22.0),
        ("NRAS", 17.0, 13.0),
        ("TP53", 5.0, 13.0),
        ("TET2", 5.0, 22.0),
        ("ASXL1", 5.0, 17.0),
        ("SRSF2", 5.0, 18.0),
        ("STAG2", 5.0, 12.0),
        ("RUNX1", 10.0, 17.0),
        ("minus5_5q", 10.0, 14.0),
    ],
)
def test_prevalences_move_with_age_as_published(column: str, below: float, above: float) -> None:
    old = cohort()["age_years"] >= 60
    # two standard errors of 200 to 300 patients
    assert 100 * cohort()[~old][column].mean() == pytest.approx(below, abs=4.5)
    assert 100 * cohort()[old][column].mean() == pytest.approx(above, abs=4.5)


def test_survival_of_everybody_is_as_published() -> None:
    everybody = cohort()["os_days"].notna()
    for months, wanted in {6: 0.707, 12: 0.541, 24: 0.411, 36: 0.357, 60: 0.306}.items():
        assert surviving(everybody, months) == pytest.approx(wanted, abs=0.02)


def test_patients_are_followed_as_long_as_published() -> None:
    # shares still followed, reverse Kaplan-Meier: Beat AML 2.0, n 526; 301 of the 526 died
    everybody = cohort()["os_days"].notna()
    for months, wanted in {3: 0.926, 12: 0.819, 24: 0.666, 36: 0.50, 48: 0.375, 72: 0.124}.items():
        assert surviving(everybody, months, event=0) == pytest.approx(wanted, abs=0.02)
    assert 100 * cohort()["os_event"].mean() == pytest.approx(57.2, abs=1.5)


@pytest.mark.parametrize("group", ["favorable", "intermediate", "adverse"])
def test_survival_of_a_risk_group_keeps_the_published_shares(group: str) -> None:
    rows = cohort()["eln2022"] == group
    for months, wanted in zip(PRIOR["survival"]["months"], PRIOR["survival"][group], strict=True):
        assert surviving(rows, months) == pytest.approx(wanted, abs=0.04)


def test_median_survival_is_as_published() -> None:
    # months: not reached within five years, 12.2, 8.6
    assert surviving(cohort()["eln2022"] == "favorable", 60) > 0.5
    assert (
        surviving(cohort()["eln2022"] == "intermediate", 10.2)
        > 0.5
        > surviving(cohort()["eln2022"] == "intermediate", 14.2)
    )
    assert surviving(cohort()["eln2022"] == "adverse", 7.1) > 0.5 > surviving(cohort()["eln2022"] == "adverse", 10.1)


@pytest.mark.parametrize(
    ("column", "level", "at_12_months"),
    [
        # Kaplan-Meier in Beat AML 2.0
        ("aml_type", "other", 0.567),
        ("TP53", 0, 0.577),
        ("age_years", (18, 39), 0.852),
        ("age_years", (40, 49), 0.727),
        ("age_years", (50, 59), 0.584),
        ("age_years", (60, 69), 0.534),
        ("age_years", (70, 99), 0.291),
    ],
)
def test_survival_of_other_groups_lies_near_the_published_one(column: str, level: object, at_12_months: float) -> None:
    values = cohort()[column]
    rows = values.between(*level) if isinstance(level, tuple) else values == level
    assert surviving(rows, 12) == pytest.approx(at_12_months, abs=0.06)


@pytest.mark.parametrize(
    ("aml_type", "months", "published", "tolerance"),
    [
        # Kaplan-Meier in Beat AML 2.0, two standard errors: 363 de novo, 76 secondary, 40 therapy-related
        *[("de_novo", m, s, 0.05) for m, s in {6: 0.793, 12: 0.634, 24: 0.491, 36: 0.431, 60: 0.369}.items()],
        ("secondary", 6, 0.441, 0.11),
        ("secondary", 4.1, 0.5, 0.115),  # median
        ("therapy_related", 4.9, 0.5, 0.16),  # median
    ],
)
def test_secondary_leukaemia_is_deadlier_as_published(
    aml_type: str, months: float, published: float, tolerance: float
) -> None:
    assert surviving(cohort()["aml_type"] == aml_type, months) == pytest.approx(published, abs=tolerance)


def test_types_differ_in_age_as_published() -> None:
    # medians in Beat AML 2.0, two standard errors of 76 and 40 patients
    medians = cohort().groupby("aml_type", observed=True)["age_years"].median()
    for aml_type, (wanted, tolerance) in {"de_novo": (60, 2), "secondary": (68, 3), "therapy_related": (67, 5)}.items():
        assert medians[aml_type] == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize(
    ("gene", "column", "mutated", "wild_type"),
    [
        # medians with and without, Beat AML 2.0
        ("FLT3_ITD", "wbc_10e9_l", 55.4, 16.6),
        ("FLT3_ITD", "ldh_u_l", 574.0, 437.5),
        ("FLT3_ITD", "bm_blasts_pct", 81.0, 61.5),
        ("FLT3_ITD", "pb_blasts_pct", 72.0, 44.4),
        ("NPM1", "wbc_10e9_l", 52.1, 14.0),
        ("NPM1", "platelets_10e9_l", 54.0, 40.0),
        ("NPM1", "ldh_u_l", 503.5, 440.0),
        ("NPM1", "bm_blasts_pct", 80.0, 61.5),
        ("NPM1", "pb_blasts_pct", 64.0, 47.0),
        ("TP53", "wbc_10e9_l", 8.9, 25.0),
        ("TP53", "platelets_10e9_l", 31.5, 45.0),
        ("TP53", "pb_blasts_pct", 25.0, 54.0),
        ("NRAS", "bm_blasts_pct", 51.8, 70.3),
    ],
)
def test_a_gene_shifts_the_laboratory_as_published(gene: str, column: str, mutated: float, wild_type: float) -> None:
    found = cohort().groupby(gene)[column].median()
    assert found[1] == pytest.approx(mutated, rel=0.20)
    assert found[0] == pytest.approx(wild_type, rel=0.20)


def test_npm1_is_good_only_without_itd() -> None:
    npm1, itd = cohort()["NPM1"] == 1, cohort()["FLT3_ITD"] == 1
    # medians in months: NPM1 alone 56, ITD alone 19, neither 12, both 10.5
    assert surviving(npm1 & ~itd, 40) > 0.5 > surviving(npm1 & ~itd, 75)
    assert surviving(~npm1 & itd, 13) > 0.5 > surviving(~npm1 & itd, 25)
    assert surviving(~npm1 & ~itd, 9) > 0.5 > surviving(~npm1 & ~itd, 15)
    assert surviving(npm1 & itd, 7) > 0.5 > surviving(npm1 & itd, 14)
    assert surviving(cohort()["TP53"] == 1, 6) == pytest.approx(0.446, abs=0.08)


def test_early_deaths_and_remissions_are_as_published() -> None:
    early = ((cohort()["os_event"] == 1) & (cohort()["os_days"] <= 30)).mean()
    assert early == pytest.approx(0.119, abs=0.02)
    response = cohort()["induction_response"]
    remission = response.isin(["CR", "CRi"])[response.notna()]
    for group, wanted in {"favorable": 0.91, "intermediate": 0.61, "adverse": 0.46}.items():
        assert remission[cohort()["eln2022"] == group].mean() == pytest.approx(wanted, abs=0.04)
    for (low, high), wanted in {(18, 39): 0.74, (40, 49): 0.80, (50, 59): 0.73, (60, 69): 0.67, (70, 99): 0.43}.items():
        assert remission[cohort()["age_years"].between(low, high)].mean() == pytest.approx(wanted, abs=0.08)
    by_day_60 = ((cohort()["os_event"] == 1) & (cohort()["os_days"] <= 60)).mean()
    assert by_day_60 == pytest.approx(0.162, abs=0.02)
    assert set(response.dropna().unique()) == {"CR", "CRi", "refractory"}


def test_missing_values_are_as_frequent_and_as_telling_as_published() -> None:
    wanted = {
        "wbc_10e9_l": 14.1, "hb_g_dl": 33.8, "platelets_10e9_l": 25.9, "ldh_u_l": 53.2, "bm_blasts_pct": 10.7,
        "pb_blasts_pct": 31.0, "normal_karyotype": 8.6, "class_fusion": 7.7, "TET2": 5.3, "eln2022": 9.0,
        "induction_response": 26.9, "os_days": 1.1, "FLT3_ITD_allelic_ratio": 82.5, "cause_of_death": 43.4,
    }  # fmt: skip
    for column, percent in wanted.items():
        assert 100 * cohort()[column].isna().mean() == pytest.approx(percent, abs=2.0), column
    blank = cohort()["induction_response"].isna()
    assert blank[cohort()["age_years"] >= 60].mean() > 2 * blank[cohort()["age_years"] < 60].mean()
    assert surviving(blank, 12) < surviving(~blank, 12) - 0.25


@pytest.mark.parametrize(
    ("a", "b", "correlation"),
    [
        # correlation of being missing, Beat AML 2.0
        ("wbc_10e9_l", "hb_g_dl", 0.54),
        ("wbc_10e9_l", "platelets_10e9_l", 0.65),
        ("wbc_10e9_l", "ldh_u_l", 0.36),
        ("wbc_10e9_l", "bm_blasts_pct", 0.21),
        ("wbc_10e9_l", "pb_blasts_pct", 0.45),
        ("hb_g_dl", "platelets_10e9_l", 0.82),
        ("hb_g_dl", "ldh_u_l", 0.65),
        ("hb_g_dl", "bm_blasts_pct", 0.11),
        ("hb_g_dl", "pb_blasts_pct", 0.22),
        ("platelets_10e9_l", "ldh_u_l", 0.52),
        ("platelets_10e9_l", "bm_blasts_pct", 0.14),
        ("platelets_10e9_l", "pb_blasts_pct", 0.24),
        ("ldh_u_l", "bm_blasts_pct", 0.02),
        ("ldh_u_l", "pb_blasts_pct", 0.14),
        ("bm_blasts_pct", "pb_blasts_pct", 0.12),
    ],
)
def test_values_are_missing_together_as_published(a: str, b: str, correlation: float) -> None:
    assert cohort()[[a, b]].isna().astype(float).corr().iloc[0, 1] == pytest.approx(correlation, abs=0.10)


def test_a_site_differs_as_told() -> None:
    older = simulate_aml(4000, seed=5, site=SiteEffects(age_shift=5, lab_shift=0.5, missing_factor=1.8, severity=0.6))
    usual = simulate_aml(4000, seed=5)
    assert older["age_years"].mean() > usual["age_years"].mean() + 2
    assert older["wbc_10e9_l"].median() > 1.1 * usual["wbc_10e9_l"].median()
    assert older["ldh_u_l"].isna().mean() > 1.4 * usual["ldh_u_l"].isna().mean()
    assert (older["eln2022"] == "adverse").mean() > (usual["eln2022"] == "adverse").mean() + 0.05
