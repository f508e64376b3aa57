"""The simulated sickle cell cohort agrees with the published facts it claims to be built from."""

import functools

import pandas as pd
import pytest

from synthfed.cohorts.drawing import SiteEffects
from synthfed.cohorts.scd import simulate_scd
from synthfed.pipeline import Pipeline
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.rules import RuleSet


@functools.cache
def cohort() -> pd.DataFrame:
    return simulate_scd(20_000, seed=11)


def of(genotype: str, **flags: int) -> pd.DataFrame:
    rows = cohort()[cohort()["genotype"] == genotype]
    for name, value in flags.items():
        rows = rows[rows[name] == value]
    return rows


def adults() -> pd.DataFrame:
    rows = of("HbSS")
    return rows[rows["age_years"] >= 18]


def test_it_draws_the_pipelines_columns_with_their_types() -> None:
    schema = load_dictionary("scd").schema
    assert set(cohort().columns) == set(Pipeline.load("scd").cohort.columns)
    assert all(cohort()[name].dtype == schema.dtype(name) for name in cohort().columns)


def test_no_hard_rule_needs_a_repair() -> None:
    dictionary = load_dictionary("scd")
    rules = RuleSet.load(dictionary.folder, dictionary.schema).restrict(cohort().columns)
    assert not rules.check(cohort())[[rule.id for rule in rules.hard]].any(axis=None)
    before = cohort().drop(columns="mcv_fl")
    pd.testing.assert_frame_equal(rules.enforce(before).drop(columns="mcv_fl"), before)


def test_the_same_seed_draws_the_same_patients() -> None:
    pd.testing.assert_frame_equal(simulate_scd(50, seed=3), simulate_scd(50, seed=3))


def test_genotypes_and_ages_are_shared_out_as_published() -> None:
    shares = cohort()["genotype"].value_counts(normalize=True)
    # RADeep 2025 totals, split as in the prior
    for genotype, wanted in {"HbSS": 0.655, "HbSb0": 0.06, "HbSb+": 0.11, "HbSC": 0.15, "other": 0.025}.items():
        assert shares[genotype] == pytest.approx(wanted, abs=0.012)
    assert (cohort()["age_years"] < 12).mean() == pytest.approx(0.295, abs=0.02)
    assert (cohort()["sex"] == "female").mean() == pytest.approx(0.53, abs=0.02)
    assert (cohort()["alpha_globin"] == "-a/aa").sum() / cohort()["alpha_globin"].notna().sum() == pytest.approx(
        0.21, abs=0.02
    )


@pytest.mark.parametrize(
    ("genotype", "flags", "wanted"),
    [
        ("HbSS", {"hydroxyurea": 0}, 8.29),  # Blood 2006;108:1201
        ("HbSS", {"hydroxyurea": 1}, 8.9),
        ("HbSC", {}, 11.1),  # Blood Adv 2023;7:3312
        ("HbSb0", {}, 9.9),  # RADeep 2024
        ("HbSb+", {}, 10.85),
    ],
)
def test_haemoglobin_is_as_published(genotype: str, flags: dict[str, int], wanted: float) -> None:
    assert of(genotype, **flags)["hb_g_dl"].mean() == pytest.approx(wanted, abs=0.3)


def test_fetal_haemoglobin_lies_between_the_published_cohorts() -> None:
    # Tanzania 5.7, Cameroon 9.9 without hydroxyurea; HbSC 1-7 %; doubled by hydroxyurea
    untreated = of("HbSS", hydroxyurea=0, chronic_transfusion=0)["hbf_pct"].mean()
    assert 5.7 < untreated < 10.5
    assert of("HbSS", hydroxyurea=1, chronic_transfusion=0)["hbf_pct"].mean() == pytest.approx(2 * untreated, rel=0.15)
    assert 1 < of("HbSC")["hbf_pct"].mean() < 7


def test_fractions_add_up_and_belong_to_their_genotype() -> None:
    shares = cohort()[["hbs_pct", "hba_pct", "hba2_pct", "hbf_pct", "hbc_pct"]].dropna()
    assert shares.sum(axis=1).sub(100).abs().max() < 0.11
    assert of("HbSC")["hbc_pct"].mean() == pytest.approx(45, abs=2)
    assert of("HbSb+", transfused_ever=0)["hba_pct"].mean() == pytest.approx(20, abs=3)
    assert of("HbSS", chronic_transfusion=1)["hba_pct"].median() == pytest.approx(67, abs=6)


def test_crises_follow_the_published_heavy_tail() -> None:
    untreated = of("HbSS", hydroxyurea=0)["voc_last_12m"].dropna().astype(float)
    assert untreated.mean() == pytest.approx(0.8, abs=0.12)
    assert (untreated == 0).mean() == pytest.approx(0.65, abs=0.03)
    assert (untreated >= 3).mean() == pytest.approx(0.10, abs=0.025)
    assert of("HbSC", hydroxyurea=0)["voc_last_12m"].mean() == pytest.approx(0.4, abs=0.1)


def test_hydroxyurea_is_given_and_works_as_published() -> None:
    by_genotype = cohort().groupby("genotype", observed=True)["hydroxyurea"].mean()
    assert 0.78 < by_genotype["HbSS"] < 0.90
    assert 0.15 < by_genotype["HbSC"] < 0.27
    without, treated = (
        of("HbSS", hydroxyurea=0, chronic_transfusion=0),
        of("HbSS", hydroxyurea=1, chronic_transfusion=0),
    )

    def change(column: str) -> float:
        return float(treated[column].mean() - without[column].mean())

    assert change("hb_g_dl") > 0.3
    assert 7 < change("mcv_fl") < 14
    assert treated["wbc_10e9_l"].mean() / without["wbc_10e9_l"].mean() == pytest.approx(0.83, abs=0.06)
    assert treated["voc_last_12m"].mean() / without["voc_last_12m"].mean() == pytest.approx(0.5, abs=0.12)
    assert treated["acs_last_12m"].mean() < 0.6 * without["acs_last_12m"].mean()


@pytest.mark.parametrize(
    ("column", "wanted"),
    [("avn", 0.30), ("leg_ulcer", 0.26), ("retinopathy", 0.22), ("gallstones", 0.66), ("priapism", 0.41),
     ("stroke_ever", 0.16), ("acs_ever", 0.76)],
)  # fmt: skip
def test_adults_carry_the_published_damage(column: str, wanted: float) -> None:
    # 541 adults, mean age 34, Blood 2006;108:1201
    assert adults()[column].mean() == pytest.approx(wanted, abs=0.08)


def test_children_have_fewer_strokes_and_sc_hardly_any() -> None:
    children = of("HbSS")
    children = children[children["age_years"] < 18]
    assert children["stroke_ever"].mean() == pytest.approx(0.04, abs=0.015)
    assert of("HbSC")["stroke_ever"].mean() < 0.02
    assert of("HbSC")["tcd_tamv_cm_s"].mean() == pytest.approx(94, abs=4)
    assert 125 < of("HbSS")["tcd_tamv_cm_s"].mean() < 150


@pytest.mark.parametrize(
    ("a", "b", "sign"),
    [
        ("hbf_pct", "hb_g_dl", 1), ("hbf_pct", "mcv_fl", 1), ("hbf_pct", "wbc_10e9_l", -1),
        ("hbf_pct", "platelets_10e9_l", -1), ("hb_g_dl", "wbc_10e9_l", -1), ("hb_g_dl", "rbc_10e12_l", 1),
        ("hct_pct", "voc_last_12m", 1), ("age_years", "tcd_tamv_cm_s", -1), ("hb_g_dl", "tcd_tamv_cm_s", -1),
        ("wbc_10e9_l", "tcd_tamv_cm_s", 1), ("age_years", "platelets_10e9_l", -1), ("age_years", "retic_pct", -1),
        ("age_years", "bilirubin_total_mg_dl", -1), ("age_years", "creatinine_mg_dl", 1), ("hb_g_dl", "ldh_u_l", -1),
    ],
)  # fmt: skip
def test_dependencies_have_their_published_sign(a: str, b: str, sign: int) -> None:
    rows = of("HbSS", hydroxyurea=0, chronic_transfusion=0)
    assert sign * rows[a].astype(float).corr(rows[b].astype(float), method="spearman") > 0.01


def test_alpha_deletions_raise_haemoglobin_and_shrink_cells() -> None:
    rows = of("HbSS")
    one, none = rows[rows["alpha_globin"] == "-a/aa"], rows[rows["alpha_globin"] == "aa/aa"]
    assert one["hb_g_dl"].mean() > none["hb_g_dl"].mean() + 0.1
    assert one["mcv_fl"].mean() < none["mcv_fl"].mean() - 4


def test_transfusion_loads_iron() -> None:
    chronic = of("HbSS", chronic_transfusion=1)["ferritin_ng_ml"].median()
    assert 2321 < chronic < 4306
    assert of("HbSS", transfused_ever=0)["ferritin_ng_ml"].median() < 300


def test_a_site_differs_as_told() -> None:
    severe = simulate_scd(4000, seed=5, site=SiteEffects(missing_factor=2, severity=0.8))
    usual = simulate_scd(4000, seed=5)
    assert (severe["genotype"] == "HbSS").mean() > (usual["genotype"] == "HbSS").mean() + 0.05
    assert severe["ferritin_ng_ml"].isna().mean() > 1.6 * usual["ferritin_ng_ml"].isna().mean()
