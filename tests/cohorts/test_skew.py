"""Hospitals that differ: in nothing, in size, in disease, in age, in what they record."""

import pandas as pd
import pytest

from synthfed.cohorts.sites import Cohort, load_cohort
from synthfed.cohorts.skew import SPLITS, Split, deal
from synthfed.errors import ConfigError, EmptySite


def everybody(cohort: Cohort) -> dict[str, pd.DataFrame]:
    return {site: pd.concat([cohort.sites[site], cohort.holdouts[site]]) for site in cohort.site_names}


def spread(cohort: Cohort, column: str, level: object) -> float:
    """How far apart the hospitals' shares of a level are."""
    return float(pd.Series([(t[column] == level).mean() for t in everybody(cohort).values()]).std())


def split(how: Split, skew: float = 1.0, disease: str = "aml") -> Cohort:
    return load_cohort(disease, sites=4, patients=4000, seed=3, split=how, skew=skew)


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("disease", ["aml", "scd"])
def test_every_split_deals_all_patients_and_keeps_the_rules(how: Split, disease: str) -> None:
    cohort = load_cohort(disease, sites=3, patients=300, seed=5, split=how, columns=None)
    assert sum(len(table) for table in everybody(cohort).values()) == 300
    ids = pd.concat(everybody(cohort).values())["patient_id"]
    assert ids.is_unique
    assert cohort.simulated
    assert "no row stems from a patient" in cohort.origin
    hard = [rule.id for rule in cohort.rules.hard]
    assert not cohort.rules.check(cohort.train)[hard].any(axis=None)
    again = load_cohort(disease, sites=3, patients=300, seed=5, split=how)
    pd.testing.assert_frame_equal(again.train, cohort.train)


def test_label_skew_deals_risk_groups_and_genotypes_apart() -> None:
    assert spread(split("label"), "eln2022", "adverse") > 4 * spread(split("iid"), "eln2022", "adverse")
    assert spread(split("label", disease="scd"), "genotype", "HbSC") > 4 * spread(
        split("iid", disease="scd"), "genotype", "HbSC"
    )


def test_age_skew_sorts_hospitals_by_age_and_more_so_with_more_skew() -> None:
    def gap(skew: float) -> float:
        ages = [table["age_years"].mean() for table in everybody(split("age", skew)).values()]
        assert ages == sorted(ages)
        return float(ages[-1] - ages[0])

    assert gap(0.5) + 5 < gap(3.0)


def test_quantity_skew_changes_sizes_only() -> None:
    sizes = [len(table) for table in everybody(split("quantity")).values()]
    assert max(sizes) > 2 * min(sizes)
    assert spread(split("quantity"), "eln2022", "adverse") < 0.05


@pytest.mark.parametrize("how", ["age", "label", "quantity"])
def test_no_skew_is_iid(how: Split) -> None:
    one, other = split(how, skew=0.0), split("iid")
    assert [len(t) for t in one.sites.values()] == [len(t) for t in other.sites.values()]
    pd.testing.assert_frame_equal(one.train, other.train)


def test_unrecorded_columns_are_blank_at_a_site_and_differ_between_sites() -> None:
    cohort = load_cohort("scd", sites=3, patients=300, seed=5, unrecorded=2)
    blank = {
        site: {name for name in table.columns if table[name].isna().all()} for site, table in everybody(cohort).items()
    }
    first, second, third = blank.values()
    assert len(first) == 0
    assert len(second) == len(third) == 2
    assert second != third


def test_missing_values_scale() -> None:
    def share(factor: float) -> float:
        cohort = load_cohort("aml", patients=2000, seed=5, missing=factor)
        return float(cohort.train["ldh_u_l"].isna().mean())

    assert share(0.0) == 0.0
    assert share(0.5) == pytest.approx(share(1.0) / 2, abs=0.04)


def test_patients_of_their_own_cannot_be_dealt() -> None:
    table = load_cohort("aml", sites=1, patients=30).train
    with pytest.raises(ConfigError, match="nothing to deal"):
        deal(table, ["a"], [30], disease="aml", split="hospitals", skew=1, seed=1)
    with pytest.raises(EmptySite, match="raise patients"):
        deal(table.head(2), ["a", "b", "c"], [1, 1, 1], disease="aml", split="iid", skew=1, seed=1)
