"""Simulated adults with acute myeloid leukaemia at diagnosis: no patient, only published facts put in a causal order.

genetic class -> age, sex -> karyotype -> genes -> laboratory -> risk group -> survival -> remission -> what is missing

Every constant lies in `datasets/aml/prior.toml` with its source. Odds that have to reproduce a published share are
solved once on a fixed reference population; a site that differs from the average does not change them.
The tables are valid by construction: enforcing the hard rules changes nothing but to add the derived risk group.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betaincinv, expit, ndtri

from synthfed.cohorts.drawing import (
    Mask,
    SiteEffects,
    Values,
    bisect,
    bounded_normal,
    chance,
    correlated_uniforms,
    intercept_for,
    load_prior,
    normal_of_spearman,
    pick,
)
from synthfed.tables.conditions import Grid, to_series
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.eln import MR_GENES, eln2022
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema

DAYS_PER_MONTH = 30.4375
REFERENCE_PATIENTS = 20_000
CLASSES = ("npm1", "chromatin", "aneuploidy", "other", "cbf", "kmt2a", "apl")
_LESIONS = ("minus5_5q", "mono7", "del7q", "plus8_8q", "mono17_17p_abn17p", "monosomal_karyotype")
_FIXED_GENES = ("TP53",)  # decided together with the karyotype in class aneuploidy


@dataclass(frozen=True, slots=True)
class _Solved:
    """Odds and baselines that reproduce published shares on the reference population."""

    genes: dict[str, Values]  # intercept per class
    baseline: Values  # (risk group, month): log cumulative hazard
    remission: Values  # intercept per risk group
    unassessed: float  # intercept of a missing response


def simulate_aml(patients: int, *, seed: int, site: SiteEffects | None = None) -> pd.DataFrame:
    """Draw `patients` simulated patients of one site.

    Returns:
        A typed table with the columns of the shipped pipeline, `patient_id` (row number) first.
    """
    rng = np.random.default_rng(seed)
    effects = site or SiteEffects()
    schema, rules, prior = _dictionary().schema, _rules(), _prior()
    solved = _solved()
    drawn = _baseline(patients, rng, effects, prior, schema, solved.genes)[0]
    _outcome(drawn, rng, effects, prior, solved)
    grid = _observed(drawn, rng, effects, prior, schema)
    table = pd.DataFrame({name: to_series(grid[name], schema[name], schema, pd.RangeIndex(patients)) for name in grid})
    identity = pd.Series([f"SIM{i:06d}" for i in range(1, patients + 1)], dtype=pd.StringDtype())
    kept = rules.restrict([*table.columns, "patient_id", "eln2022"])
    return kept.enforce(table.assign(patient_id=identity))


@functools.cache
def _prior() -> dict[str, Any]:
    return load_prior("aml")


@functools.cache
def _dictionary() -> Any:
    return load_dictionary("aml")


@functools.cache
def _rules() -> RuleSet:
    return RuleSet.load(_dictionary().folder, _dictionary().schema)


@functools.cache
def _solved() -> _Solved:
    prior, schema, rng = _prior(), _dictionary().schema, np.random.default_rng(20_220_914)
    drawn, genes = _baseline(REFERENCE_PATIENTS, rng, SiteEffects(), prior, schema, None)
    baseline = _solve_baseline(drawn, prior)
    blank = _Solved(genes, baseline, np.zeros(len(baseline)), 0.0)
    _survive(drawn, rng, prior, blank)
    unassessed = intercept_for(prior["response"]["missing"], _unassessed_log_odds(drawn, prior, SiteEffects()))
    assessed = 1.0 - expit(_unassessed_log_odds(drawn, prior, SiteEffects()) + unassessed)
    log_odds = _remission_log_odds(drawn, prior)
    remission = np.array(
        [
            intercept_for(share, log_odds[drawn["group"] == g], assessed[drawn["group"] == g])
            for g, share in enumerate(prior["response"]["cr"])
        ]
    )
    return _Solved(genes, baseline, remission, unassessed)


def _baseline(
    rows: int,
    rng: np.random.Generator,
    site: SiteEffects,
    prior: dict[str, Any],
    schema: Schema,
    intercepts: dict[str, Values] | None,
) -> tuple[Grid, dict[str, Values]]:
    """Everything known at diagnosis, complete; solves the genes' odds when `intercepts` is None."""
    classes = [prior["class"][name] for name in CLASSES]
    odds = np.array([c["share"] for c in classes])
    odds = odds * np.exp(site.severity * np.array([name in ("chromatin", "aneuploidy") for name in CLASSES]))
    kind = pick(np.broadcast_to(odds, (rows, len(odds))), rng)

    def of_class(key: str, part: int | None = None) -> Values:
        return np.array([c[key] if part is None else c[key][part] for c in classes], dtype=float)[kind]

    drawn: Grid = {"class": kind.astype(float)}
    middle, sd = of_class("age_years", 0) + site.age_shift, of_class("age_years", 1)
    # medians lie above means: the lower half is wider than the upper one
    z = bounded_normal(np.zeros(rows), np.ones(rows), (17.6 - middle) / (1.15 * sd), (90 - middle) / (0.85 * sd), rng)
    drawn["age_years"] = np.round(middle + sd * np.where(z < 0, 1.15, 0.85) * z)
    drawn["sex"] = np.where(chance(of_class("male"), rows, rng), 0.0, 1.0)  # levels male, female
    levels = schema["aml_type"].levels
    secondary, therapy = of_class("secondary"), of_class("therapy_related")
    other = np.full(rows, 0.088)  # measured: 47 of 531
    by_type = {"de_novo": 1 - secondary - therapy - other, "secondary": secondary, "therapy_related": therapy}
    drawn["aml_type"] = pick(np.column_stack([by_type.get(level, other) for level in levels]), rng).astype(float)
    after_mds = np.select(
        [drawn["aml_type"] == levels.index("secondary"), drawn["aml_type"] == levels.index("therapy_related")],
        [0.55, 0.08],  # assumption, chosen so that 8.5 % have a prior MDS
        0.0,
    )
    drawn["prior_mds"] = chance(after_mds, rows, rng).astype(float)
    _karyotype(drawn, kind, rng, prior, schema, of_class("normal_karyotype"))
    solved = _genes(drawn, kind, rng, prior, intercepts)
    _labs(drawn, kind, rng, prior, site, of_class)
    drawn["group"] = _risk_group(drawn, prior, schema)
    return drawn, solved


def _karyotype(
    drawn: Grid, kind: Any, rng: np.random.Generator, prior: dict[str, Any], schema: Schema, normal_share: Values
) -> None:
    facts = prior["karyotype"]
    rows = len(kind)
    fusions = schema["class_fusion"].levels
    level = {name: i for i, name in enumerate(CLASSES)}
    named = {name: float(i) for i, name in enumerate(fusions)}
    normal = chance(normal_share, rows, rng)
    aneuploid = kind == level["aneuploidy"]
    complex_ = aneuploid & ~normal & chance(facts["complex_of_aneuploidy"] / 0.95, rows, rng)
    with_tp53 = complex_ & chance(facts["tp53_of_complex"], rows, rng)
    leading = list(facts["leading"])
    lead = pick(np.broadcast_to(np.array(list(facts["leading"].values())), (rows, len(leading))), rng)
    alone = aneuploid & ~complex_
    lead = np.where(alone & normal, leading.index("TP53"), lead)

    def leads(name: str) -> Mask:
        return np.asarray(alone & (lead == leading.index(name)))

    fusion = np.full(rows, named["none"])
    fusion[kind == level["apl"]] = named["t_15_17"]
    cbf, kmt2a = kind == level["cbf"], kind == level["kmt2a"]
    fusion[cbf] = np.where(chance(facts["t_8_21_of_cbf"], rows, rng)[cbf], named["t_8_21"], named["inv16_t16_16"])
    fusion[kmt2a] = np.where(chance(facts["t_9_11_of_kmt2a"], rows, rng)[kmt2a], named["t_9_11"], named["kmt2a_other"])
    fusion[leads("inv3_t3_3")] = named["inv3_t3_3"]
    fusion[leads("other_adverse")] = named["other_adverse"]
    drawn["class_fusion"] = fusion
    open_to = ~normal
    for name in _LESIONS:
        share = np.zeros(rows)
        for label in CLASSES:
            if label != "aneuploidy":
                percent = facts[label].get(name, 0.0) / 100.0
                share[kind == level[label]] = percent / max(1.0 - prior["class"][label]["normal_karyotype"], percent)
        share = np.where(with_tp53, facts["complex_tp53"].get(name, 0.0), share)
        share = np.where(complex_ & ~with_tp53, facts["complex_other"].get(name, 0.0), share)
        share = np.where(alone, facts["not_complex"].get(name, 0.0), share)
        found = open_to & chance(share, rows, rng)
        drawn[name] = (found | leads(name) if name in leading else found).astype(float)
    apart = chance(facts["npm1"]["complex_karyotype"] / 100 / 0.127, rows, rng)
    drawn["complex_karyotype"] = (complex_ | ((kind == level["npm1"]) & ~normal & apart)).astype(float)
    drawn["monosomal_karyotype"][cbf] = 0.0
    drawn["normal_karyotype"] = normal.astype(float)
    drawn["karyotype_known"] = np.ones(rows)
    tp53_alone = alone & (leads("TP53") | chance(facts["not_complex"]["TP53"], rows, rng))
    drawn["TP53"] = (with_tp53 | tp53_alone).astype(float)


def _genes(
    drawn: Grid, kind: Any, rng: np.random.Generator, prior: dict[str, Any], intercepts: dict[str, Values] | None
) -> dict[str, Values]:
    rows = len(kind)
    decade = (drawn["age_years"] - 60.0) / 10.0
    percent = {name: shares for name, shares in prior["genes"].items() if name != "classes"}
    aneuploid = kind == CLASSES.index("aneuploidy")
    solved: dict[str, Values] = {}
    for gene, shares in percent.items():
        log_odds = prior["age_coupling"].get(gene, 0.0) * decade
        for partner, size in prior["coupling"].get(gene, {}).items():
            log_odds = log_odds + size * drawn[partner]
        if intercepts is None:
            solved[gene] = np.array([intercept_for(shares[c] / 100, log_odds[kind == c]) for c in range(len(CLASSES))])
        else:
            solved[gene] = intercepts[gene]
        found = chance(expit(log_odds + solved[gene][kind]), rows, rng).astype(float)
        drawn[gene] = np.where(aneuploid, drawn[gene], found) if gene in _FIXED_GENES else found
    chromatin = kind == CLASSES.index("chromatin")
    bare = chromatin & (np.sum([drawn[gene] for gene in MR_GENES], axis=0) == 0)
    weights = np.array([percent[gene][CLASSES.index("chromatin")] for gene in MR_GENES], dtype=float)
    forced = pick(np.broadcast_to(weights, (rows, len(weights))), rng)
    for i, gene in enumerate(MR_GENES):
        drawn[gene] = np.where(bare & (forced == i), 1.0, drawn[gene])
    drawn["IDH2"] = np.maximum(drawn["IDH2_R140"], drawn.pop("IDH2_other"))
    return solved


def _labs(
    drawn: Grid, kind: Any, rng: np.random.Generator, prior: dict[str, Any], site: SiteEffects, of_class: Any
) -> None:
    facts = prior["labs"]
    rows = len(kind)
    uniforms = correlated_uniforms(normal_of_spearman(np.array(facts["spearman"])), rows, rng)
    z = dict(zip(facts["order"], ndtri(np.clip(uniforms, 1e-9, 1 - 1e-9)).T, strict=True))
    u = dict(zip(facts["order"], uniforms.T, strict=True))
    usual_itd = np.array(prior["genes"]["FLT3_ITD"])[kind] / 100
    shift = facts["itd_log_wbc"] * (drawn["FLT3_ITD"] - usual_itd) + site.lab_shift
    within = of_class("wbc_10e9_l", 1) ** 2 - facts["itd_log_wbc"] ** 2 * usual_itd * (1 - usual_itd)
    # measured skew of the logarithm -0.31: the upper half is pressed, the lower half stretched
    leaning = np.where(z["wbc"] > 0, 0.85, 1.12) * z["wbc"]
    wbc = of_class("wbc_10e9_l", 0) * np.exp(shift + np.sqrt(within) * leaning)
    drawn["wbc_10e9_l"] = np.clip(np.round(wbc, 1), 0.3, 500.0)
    drawn["hb_g_dl"] = np.clip(np.round(of_class("hb_g_dl", 0) + of_class("hb_g_dl", 1) * z["hb"], 1), 3.0, 17.0)
    platelets = np.exp(of_class("log_platelets", 0) + of_class("log_platelets", 1) * z["platelets"])
    drawn["platelets_10e9_l"] = np.clip(np.round(platelets), 2, 1200)
    # measured skew of log LDH 1.07: the upper half is stretched, the lower half pressed
    skewed = np.where(z["ldh"] > 0, 1.35, 0.65) * z["ldh"]
    drawn["ldh_u_l"] = np.clip(np.round(of_class("ldh_u_l", 0) * np.exp(of_class("ldh_u_l", 1) * skewed)), 60, 18000)
    for column, key, to_five in (
        ("bm_blasts_pct", "bm_blasts", facts["bm_multiple_of_5"]),
        ("pb_blasts_pct", "pb_blasts", facts["pb_multiple_of_5"]),
    ):
        mean, sd = of_class(column, 0) / 100, of_class(column, 1) / 100
        size = mean * (1 - mean) / sd**2 - 1
        exact = 100 * betaincinv(mean * size, (1 - mean) * size, u[key])
        rounded = np.where(chance(to_five, rows, rng), 5 * np.round(exact / 5), np.round(exact))
        if column == "pb_blasts_pct":
            rounded = np.where(exact < 5, np.round(exact), rounded)
            rounded = np.where(exact < facts["pb_zero_below"], 0.0, rounded)
        drawn[column] = np.clip(rounded, 0 if column == "pb_blasts_pct" else 1, 99)
    middle, width = facts["allelic_ratio_log"]
    ratio = np.clip(np.round(np.exp(middle + width * rng.standard_normal(rows)), 2), 0.02, 50.0)
    known = (drawn["FLT3_ITD"] == 1) & chance(facts["allelic_ratio_known"], rows, rng)
    drawn["FLT3_ITD_allelic_ratio"] = np.where(known, ratio, np.nan)


def _risk_group(drawn: Grid, prior: dict[str, Any], schema: Schema) -> Values:
    levels = schema["CEBPA"].levels
    code = {name: float(i) for i, name in enumerate(levels)}
    either = np.where(drawn.pop("CEBPA_mono") == 1, code["mono"], code["wt"])
    drawn["CEBPA"] = np.where(drawn.pop("CEBPA_bi") == 1, code["bi"], either)
    position = eln2022(drawn, schema)
    order = [schema["eln2022"].levels.index(name) for name in prior["survival"]["groups"]]
    return np.asarray(np.argsort(order)[position.astype(int)], dtype=np.float64)


def _log_hazard(drawn: Grid, prior: dict[str, Any], schema: Schema) -> Values:
    facts = prior["survival"]
    types = schema["aml_type"].levels
    later = np.isin(drawn["aml_type"], [types.index("secondary"), types.index("therapy_related")])
    terms = (
        (facts["hr_age_per_10y"], (drawn["age_years"] - 60) / 10),
        (facts["hr_male"], drawn["sex"] == 0),
        (facts["hr_secondary_or_therapy"], later),
        (facts["hr_tp53"], drawn["TP53"]),
        (facts["hr_npm1_with_itd"], drawn["NPM1"] * drawn["FLT3_ITD"]),
        (facts["hr_log2_wbc"], np.log2(drawn["wbc_10e9_l"]) - 4.2),
    )
    return np.asarray(sum(np.log(ratio) * value for ratio, value in terms))


def _solve_baseline(drawn: Grid, prior: dict[str, Any]) -> Values:
    """Log cumulative hazards at `months` for which the *mixture* over the reference patients survives as published."""
    facts = prior["survival"]
    relative = np.exp(_log_hazard(drawn, prior, _dictionary().schema))

    def log_hazard(share: float, risk: Values) -> float:
        return bisect(lambda x: share - float(np.exp(-np.exp(x) * risk).mean()), -15.0, 10.0)

    return np.array(
        [
            [log_hazard(share, relative[drawn["group"] == g]) for share in facts[name]]
            for g, name in enumerate(facts["groups"])
        ]
    )


def _time_of(log_hazard: Values, knots: Values, log_months: Values) -> Values:
    """Months at which a cumulative hazard is reached; Weibull pieces are lines in these logarithms."""
    piece = np.clip(np.searchsorted(knots, log_hazard) - 1, 0, len(knots) - 2)
    slope = (log_months[piece + 1] - log_months[piece]) / (knots[piece + 1] - knots[piece])
    return np.asarray(np.exp(np.minimum(log_months[piece] + slope * (log_hazard - knots[piece]), 8.0)))


def _survive(drawn: Grid, rng: np.random.Generator, prior: dict[str, Any], solved: _Solved) -> None:
    """Times of death and of the end of follow-up; `fortune` is the probit of a patient's luck given the risk."""
    rows = len(drawn["group"])
    group = drawn["group"].astype(int)
    luck = rng.random(rows)
    reached = np.log(-np.log1p(-luck)) - _log_hazard(drawn, prior, _dictionary().schema)
    log_months = np.log(np.array(prior["survival"]["months"], dtype=float))
    death = np.zeros(rows)
    for g, knots in enumerate(solved.baseline):
        death[group == g] = DAYS_PER_MONTH * _time_of(reached[group == g], knots, log_months)
    early, usual, late = prior["survival"]["follow_up_months"]
    long = chance(prior["survival"]["late_follow_up"], rows, rng)
    uniform = rng.random(rows)
    follow_up = DAYS_PER_MONTH * np.where(long, usual + (late - usual) * uniform, early + (usual - early) * uniform)
    drawn["os_days"] = np.maximum(1, np.round(np.minimum(death, follow_up)))
    drawn["os_event"] = (death <= follow_up).astype(float)
    drawn["fortune"] = ndtri(np.clip(luck, 1e-9, 1 - 1e-9))


def _remission_log_odds(drawn: Grid, prior: dict[str, Any]) -> Values:
    facts = prior["response"]
    decade = (drawn["age_years"] - 60) / 10
    usual = facts["probit_of_survival"] * drawn["fortune"] + facts["log_odds_per_10y"] * decade
    return np.asarray(np.where(drawn["os_days"] < 21, -60.0, usual))


def _unassessed_log_odds(drawn: Grid, prior: dict[str, Any], site: SiteEffects) -> Values:
    sizes = prior["response"]["missing_log_odds"]
    dead = drawn["os_event"] == 1
    early = np.select(
        [dead & (drawn["os_days"] <= 30), dead & (drawn["os_days"] <= 90), dead & (drawn["os_days"] <= 365)],
        [sizes["dead_30_days"], sizes["dead_90_days"], sizes["dead_1_year"]],
        0.0,
    )
    return np.asarray(early + sizes["age_60"] * (drawn["age_years"] >= 60) + np.log(site.missing_factor))


def _outcome(drawn: Grid, rng: np.random.Generator, site: SiteEffects, prior: dict[str, Any], solved: _Solved) -> None:
    rows = len(drawn["group"])
    schema = _dictionary().schema
    _survive(drawn, rng, prior, solved)
    levels = {name: float(i) for i, name in enumerate(schema["induction_response"].levels)}
    remission = chance(
        expit(_remission_log_odds(drawn, prior) + solved.remission[drawn["group"].astype(int)]), rows, rng
    )
    incomplete = chance(prior["response"]["cri_of_cr"], rows, rng)
    response = np.where(remission, np.where(incomplete, levels["CRi"], levels["CR"]), levels["refractory"])
    unassessed = chance(expit(_unassessed_log_odds(drawn, prior, site) + solved.unassessed), rows, rng)
    drawn["induction_response"] = np.where(unassessed, np.nan, response)
    causes = schema["cause_of_death"].levels
    shares = np.array([prior["cause_of_death"][name] for name in causes])
    cause = pick(np.broadcast_to(shares, (rows, len(shares))), rng).astype(float)
    drawn["cause_of_death"] = np.where(drawn["os_event"] == 1, cause, np.nan)


def _observed(drawn: Grid, rng: np.random.Generator, site: SiteEffects, prior: dict[str, Any], schema: Schema) -> Grid:
    """What the hospital wrote down: blocks of blanks that depend on age and on an early death."""
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
        "karyotype": ["normal_karyotype", "complex_karyotype", *_LESIONS],
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
    return grid
