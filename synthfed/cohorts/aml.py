"""Simulated adults with acute myeloid leukaemia at diagnosis: no patient, only published facts put in a causal order.

genetic class -> age, sex -> karyotype -> genes -> laboratory -> risk group -> survival -> remission -> what is missing

Every constant lies in `datasets/aml/prior.toml` with its source. Odds that have to reproduce a published share are
solved once on a fixed reference population; a site that differs from the average does not change them.
The tables are valid by construction: enforcing the hard rules changes nothing but to add the derived columns.

The columns of the shipped pipeline are drawn first and by a generator of their own. All others (rarer lesions and
genes, labels, fitness, and the path from remission over relapse to transplant) come after them and leave them alone.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import betaincinv, expit, ndtr, ndtri

from synthfed.cohorts.aml_course import (
    Solved,
    draw_fitness,
    draw_outcome,
    draw_path,
    remission_log_odds,
    solve_baseline,
    survive,
    unassessed_log_odds,
)
from synthfed.cohorts.aml_genetics import (
    CLASSES,
    LESIONS,
    draw_genes,
    draw_karyotype,
    draw_labels,
    further_genes,
    further_lesions,
)
from synthfed.cohorts.drawing import (
    Calibration,
    Mask,
    SiteEffects,
    Values,
    bounded_normal,
    calibration_of,
    chance,
    correlated_uniforms,
    intercept_for,
    load_prior,
    merged,
    normal_of_spearman,
    pick,
)
from synthfed.tables.conditions import Grid, to_series
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.eln import eln2022
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema

Profile = Literal["beat", "trial"]

REFERENCE_PATIENTS = 20_000
_PATH = (
    "efs_days", "efs_event", "efs_event_type", "days_to_relapse", "hsct_allogeneic", "hsct_autologous", "hsct_phase",
    "days_to_hsct", "hsct_family_donor",
)  # fmt: skip


def simulate_aml(
    patients: int,
    *,
    seed: int,
    site: SiteEffects | None = None,
    profile: Profile = "beat",
    missing: float = 1.0,
    columns: Sequence[str] | Literal["all"] | None = None,
) -> pd.DataFrame:
    """Draw `patients` simulated patients of one site.

    Args:
        profile: `beat`: all ages and treatments, as measured in Beat AML. `trial`: intensive treatment up to 65 years,
            with the remissions and transplants of published trials.
        missing: Multiplies the shares of missing values; 0 leaves no blank but structural ones.
        columns: Columns to draw beside `patient_id`; those of the shipped pipeline when left out, or `all`.

    Returns:
        A typed table in the dictionary's order, derived columns included.
    """
    effects = site or SiteEffects()
    effects = replace(effects, missing_factor=effects.missing_factor * missing)
    schema, prior, solved = _dictionary().schema, _prior(profile), _solved(profile)
    if missing != 1.0:
        unknown_ratio = min(missing * (1.0 - prior["labs"]["allelic_ratio_known"]), 0.95)
        unknown_type = min(missing * prior["missing"]["aml_type"], 95.0)
        changes = {"labs": {"allelic_ratio_known": 1.0 - unknown_ratio}, "missing": {"aml_type": unknown_type}}
        prior = merged(prior, changes)
    rng = np.random.default_rng(seed)
    drawn = _baseline(patients, rng, effects, prior, schema, solved.genes)[0]
    draw_outcome(drawn, rng, effects, prior, schema, solved)
    basic, blank = _observed(drawn, rng, effects, prior, schema)
    wanted = {*basic, "eln2022"} if columns is None else set(schema.names) if columns == "all" else set(columns)
    grid = basic
    if wanted - {*basic, "eln2022", "patient_id"}:
        grid = basic | _further(drawn, blank, np.random.default_rng([seed, 3]), effects, profile)
    table = pd.DataFrame({name: to_series(grid[name], schema[name], schema, pd.RangeIndex(patients)) for name in grid})
    identity = pd.Series([f"SIM{i:06d}" for i in range(1, patients + 1)], dtype=pd.StringDtype())
    derived = _rules().derive(table.assign(patient_id=identity))
    return derived[[name for name in derived.columns if name in wanted or name == "patient_id"]]


@functools.cache
def _prior(profile: Profile = "beat") -> dict[str, Any]:
    prior = load_prior("aml")
    return merged(prior, prior["trial"]) if profile == "trial" else prior


@functools.cache
def _dictionary() -> Any:
    return load_dictionary("aml")


@functools.cache
def _rules() -> RuleSet:
    return RuleSet.load(_dictionary().folder, _dictionary().schema)


@functools.cache
def _solved(profile: Profile = "beat") -> Solved:
    prior, schema, rng = _prior(profile), _dictionary().schema, np.random.default_rng(20_220_914)
    drawn, genes = _baseline(REFERENCE_PATIENTS, rng, SiteEffects(), prior, schema, None)
    baseline = solve_baseline(drawn, prior, schema)
    blank = Solved(genes, baseline, np.zeros(len(baseline)), 0.0)
    survive(drawn, rng, prior, schema, blank)
    unassessed = intercept_for(prior["response"]["missing"], unassessed_log_odds(drawn, prior, SiteEffects()))
    assessed = 1.0 - expit(unassessed_log_odds(drawn, prior, SiteEffects()) + unassessed)
    log_odds = remission_log_odds(drawn, prior)
    remission = np.array(
        [
            intercept_for(share, log_odds[drawn["group"] == g], assessed[drawn["group"] == g])
            for g, share in enumerate(prior["response"]["cr"])
        ]
    )
    return Solved(genes, baseline, remission, unassessed)


@functools.cache
def _calibrations() -> dict[str, Calibration]:
    """Maps to the published quantiles, found on the reference population; classes differ as before."""
    prior, schema, rng = _prior(), _dictionary().schema, np.random.default_rng(20_220_914)
    drawn, _ = _baseline(REFERENCE_PATIENTS, rng, SiteEffects(), prior, schema, None, calibrated=False)
    facts = prior["quantiles"]
    return {
        name: calibration_of(drawn[name], facts["levels"], wanted, log=schema[name].scale == "log")
        for name, wanted in facts["values"].items()
    }


@functools.cache
def _lesion_bases(profile: Profile) -> dict[str, float]:
    prior, schema, rng = _prior(profile), _dictionary().schema, np.random.default_rng(20_220_915)
    drawn = _baseline(REFERENCE_PATIENTS, rng, SiteEffects(), prior, schema, _solved(profile).genes)[0]
    return further_lesions(drawn, rng, prior, None)


def _baseline(
    rows: int,
    rng: np.random.Generator,
    site: SiteEffects,
    prior: dict[str, Any],
    schema: Schema,
    intercepts: dict[str, Values] | None,
    *,
    calibrated: bool = True,
) -> tuple[Grid, dict[str, Values]]:
    """Everything known at diagnosis, complete; solves the genes' odds when `intercepts` is None."""
    maps = _calibrations() if calibrated else {}
    classes = [prior["class"][name] for name in CLASSES]
    odds = np.array([c["share"] for c in classes])
    oldest = prior["oldest"]
    if oldest < 90:  # who is younger belongs to other classes
        odds = odds * ndtr([(oldest - c["age_years"][0]) / c["age_years"][1] for c in classes])
    odds = odds * np.exp(site.severity * np.array([name in ("chromatin", "aneuploidy") for name in CLASSES]))
    kind = pick(np.broadcast_to(odds, (rows, len(odds))), rng)

    def of_class(key: str, part: int | None = None) -> Values:
        return np.array([c[key] if part is None else c[key][part] for c in classes], dtype=float)[kind]

    drawn: Grid = {"class": kind.astype(float)}
    middle, sd = of_class("age_years", 0) + site.age_shift, of_class("age_years", 1)
    # medians lie above means: the lower half is wider than the upper one
    z = bounded_normal(
        np.zeros(rows), np.ones(rows), (17.6 - middle) / (1.15 * sd), (prior["oldest"] - middle) / (0.85 * sd), rng
    )
    age = _moved(maps, "age_years", middle + sd * np.where(z < 0, 1.15, 0.85) * z)
    drawn["age_years"] = np.clip(np.round(age), 18, prior["oldest"])
    drawn["sex"] = np.where(chance(of_class("male"), rows, rng), 0.0, 1.0)  # levels male, female
    levels = schema["aml_type"].levels
    secondary, therapy = of_class("secondary"), of_class("therapy_related")
    other = np.full(rows, 0.088)  # measured: 47 of 531
    by_type = {"de_novo": 1 - secondary - therapy - other, "secondary": secondary, "therapy_related": therapy}
    decades = (drawn["age_years"] - of_class("age_years", 0)) / 10
    by_level = [by_type.get(name, other) * np.exp(prior["aml_type_age"].get(name, 0.0) * decades) for name in levels]
    drawn["aml_type"] = pick(np.column_stack(by_level), rng).astype(float)
    after_mds = np.select(
        [drawn["aml_type"] == levels.index("secondary"), drawn["aml_type"] == levels.index("therapy_related")],
        [0.55, 0.08],  # assumption, chosen so that 8.5 % have a prior MDS
        0.0,
    )
    drawn["prior_mds"] = chance(after_mds, rows, rng).astype(float)
    draw_karyotype(drawn, kind, rng, prior, schema, of_class("normal_karyotype"))
    solved = draw_genes(drawn, kind, rng, prior, intercepts)
    _labs(drawn, kind, rng, prior, site, of_class, maps)
    drawn["group"] = _risk_group(drawn, prior, schema)
    return drawn, solved


def _moved(maps: Mapping[str, Calibration], name: str, values: Values) -> Values:
    return maps[name](values) if name in maps else values


def _labs(
    drawn: Grid,
    kind: Any,
    rng: np.random.Generator,
    prior: dict[str, Any],
    site: SiteEffects,
    of_class: Any,
    maps: Mapping[str, Calibration],
) -> None:
    facts = prior["labs"]
    rows = len(kind)
    uniforms = correlated_uniforms(normal_of_spearman(np.array(facts["spearman"])), rows, rng)
    z = dict(zip(facts["order"], ndtri(np.clip(uniforms, 1e-9, 1 - 1e-9)).T, strict=True))
    for gene, sizes in facts["shift"].items():
        usual = np.array(prior["genes"][gene])[kind] / 100
        for key, size in sizes.items():
            z[key] = z[key] + size * (drawn[gene] - usual)
    usual_itd = np.array(prior["genes"]["FLT3_ITD"])[kind] / 100
    shift = facts["itd_log_wbc"] * (drawn["FLT3_ITD"] - usual_itd) + site.lab_shift
    within = of_class("wbc_10e9_l", 1) ** 2 - facts["itd_log_wbc"] ** 2 * usual_itd * (1 - usual_itd)
    values = {
        "wbc_10e9_l": of_class("wbc_10e9_l", 0) * np.exp(shift + np.sqrt(within) * z["wbc"]),
        "hb_g_dl": of_class("hb_g_dl", 0) + of_class("hb_g_dl", 1) * z["hb"],
        "platelets_10e9_l": np.exp(of_class("log_platelets", 0) + of_class("log_platelets", 1) * z["platelets"]),
        "ldh_u_l": of_class("ldh_u_l", 0) * np.exp(of_class("ldh_u_l", 1) * z["ldh"]),
    }
    for name, (low, high, decimals) in facts["limits"].items():
        drawn[name] = np.clip(np.round(_moved(maps, name, values[name]), decimals), low, high)
    for column, key, to_five in (
        ("bm_blasts_pct", "bm_blasts", facts["bm_multiple_of_5"]),
        ("pb_blasts_pct", "pb_blasts", facts["pb_multiple_of_5"]),
    ):
        mean, sd = of_class(column, 0) / 100, of_class(column, 1) / 100
        size = mean * (1 - mean) / sd**2 - 1
        exact = _moved(maps, column, 100 * betaincinv(mean * size, (1 - mean) * size, ndtr(z[key])))
        rounded = np.where(chance(to_five, rows, rng), 5 * np.round(exact / 5), np.round(exact))
        if column == "pb_blasts_pct":
            rounded = np.where(exact < 5, np.round(exact), rounded)
            rounded = np.where(exact < facts["pb_zero_below"], 0.0, rounded)
        drawn[column] = np.clip(rounded, 0 if column == "pb_blasts_pct" else 1, 99) if maps else exact
    place = ndtr(rng.standard_normal(rows))
    ratio = np.exp(np.interp(place, facts["allelic_ratio_at"], np.log(facts["allelic_ratio"])))
    known = (drawn["FLT3_ITD"] == 1) & chance(facts["allelic_ratio_known"], rows, rng)
    drawn["FLT3_ITD_allelic_ratio"] = np.where(known, np.round(ratio, 2), np.nan)


def _risk_group(drawn: Grid, prior: dict[str, Any], schema: Schema) -> Values:
    levels = schema["CEBPA"].levels
    code = {name: float(i) for i, name in enumerate(levels)}
    either = np.where(drawn.pop("CEBPA_mono") == 1, code["mono"], code["wt"])
    drawn["CEBPA"] = np.where(drawn.pop("CEBPA_bi") == 1, code["bi"], either)
    position = eln2022(drawn, schema)
    order = [schema["eln2022"].levels.index(name) for name in prior["survival"]["groups"]]
    return np.asarray(np.argsort(order)[position.astype(int)], dtype=np.float64)


def _observed(
    drawn: Grid, rng: np.random.Generator, site: SiteEffects, prior: dict[str, Any], schema: Schema
) -> tuple[Grid, dict[str, Mask]]:
    """What the hospital wrote down: blocks of blanks that depend on age and on an early death; and those blanks."""
    facts = prior["missing"]
    rows = len(drawn["group"])
    uniforms = correlated_uniforms(np.array(facts["latent"]), rows, rng)
    percent = np.where((drawn["age_years"] >= 60)[:, None], facts["from_60"], facts["below_60"]) * site.missing_factor
    early = (drawn["os_event"] == 1) & (drawn["os_days"] <= 180)
    marrow = facts["order"].index("bm_blasts")
    percent[:, marrow] *= np.where(early, facts["bm_factor_if_dead_180_days"], facts["bm_factor_else"])
    blank = dict(zip(facts["order"], (uniforms < np.minimum(percent, 95) / 100).T, strict=True))
    grid = {name: values for name, values in drawn.items() if name in schema and not schema[name].derived}
    panel = [name for name in prior["genes"] if name in grid and name not in ("NPM1", "FLT3_ITD")]
    columns = {
        "wbc": ["wbc_10e9_l"],
        "hb": ["hb_g_dl"],
        "platelets": ["platelets_10e9_l"],
        "ldh": ["ldh_u_l"],
        "bm_blasts": ["bm_blasts_pct"],
        "pb_blasts": ["pb_blasts_pct"],
        "karyotype": ["normal_karyotype", "complex_karyotype", *LESIONS],
        "genes": [*panel, "IDH2", "CEBPA"],
    }
    for block, names in columns.items():
        for name in names:
            grid[name] = np.where(blank[block], np.nan, grid[name])
    grid["karyotype_known"] = (~blank["karyotype"]).astype(float)
    known_anyway = chance(facts["fusion_known_anyway"], rows, rng)
    grid["class_fusion"] = np.where(blank["karyotype"] & ~known_anyway, np.nan, grid["class_fusion"])
    grid["aml_type"] = np.where(chance(facts["aml_type"] / 100, rows, rng), np.nan, grid["aml_type"])
    lost = chance(facts["os"] / 100 * site.missing_factor, rows, rng)
    for name in ("os_days", "os_event", "cause_of_death"):
        grid[name] = np.where(lost, np.nan, grid[name])
    return grid, blank | {"os": lost}


def _further(
    drawn: Grid, blank: dict[str, Mask], rng: np.random.Generator, site: SiteEffects, profile: Profile
) -> Grid:
    """The columns beyond the shipped pipeline's, as the hospital wrote them down."""
    prior, schema = _prior(profile), _dictionary().schema
    facts, rows, kind = prior["further_missing"], len(drawn["class"]), drawn["class"].astype(int)
    lesions = further_lesions(drawn, rng, prior, _lesion_bases(profile))
    before = set(drawn)
    further_genes(drawn, kind, rng, prior)
    genes = set(drawn) - before
    draw_labels(drawn, kind, rng, prior, schema)
    draw_fitness(drawn, rng, prior)
    draw_path(drawn, rng, prior)
    drawn["panel_done"] = (~blank["genes"]).astype(float)
    grid = {name: drawn[name] for name in schema.names if name in set(drawn) - before}
    grid |= {name: drawn[name] for name in lesions}
    hidden = dict.fromkeys(lesions, blank["karyotype"]) | dict.fromkeys(genes, blank["genes"])
    hidden |= dict.fromkeys(_PATH, blank["os"])
    fab = np.where(blank["hb"], facts["fab_without_hb"], facts["fab_with_hb"])
    for name in ("fab", "who_2016", "ecog", "splenomegaly", "intensive_induction", "days_to_cr"):
        percent = fab if name == "fab" else facts[name]
        hidden[name] = chance(np.minimum(percent * site.missing_factor / 100, 0.95), rows, rng)
    hidden["days_to_cr"] |= blank["os"]
    return {name: np.where(hidden[name], np.nan, v) if name in hidden else v for name, v in grid.items()}
