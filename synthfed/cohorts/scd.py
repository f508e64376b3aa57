"""Simulated patients with sickle cell disease in steady state: no patient, only published facts put in a causal order.

age, sex -> genotype -> alpha, G6PD -> fetal haemoglobin -> hydroxyurea, transfusion -> haemoglobin and its fractions ->
red cells -> other laboratory -> crises and chest syndromes (shared frailty) -> organ damage over age -> death -> blanks

Every constant lies in `datasets/scd/prior.toml` with its source; many are assumptions, because no real table exists.
The tables are valid by construction: enforcing the hard rules changes nothing but to add the derived columns.
The columns of the shipped pipeline are drawn first and by a generator of their own; `scd_history` adds all others.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri

from synthfed.cohorts.drawing import (
    Codes,
    Mask,
    SiteEffects,
    Values,
    chance,
    correlated_uniforms,
    load_prior,
    pick,
)
from synthfed.cohorts.scd_history import draw_history, hide_history
from synthfed.tables.conditions import Grid, to_series
from synthfed.tables.dictionary import load_dictionary
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema

DAYS_PER_YEAR = 365.25


def simulate_scd(
    patients: int,
    *,
    seed: int,
    site: SiteEffects | None = None,
    missing: float = 1.0,
    columns: Sequence[str] | Literal["all"] | None = None,
) -> pd.DataFrame:
    """Draw `patients` simulated patients of one site.

    Args:
        missing: Multiplies the shares of missing values; 0 leaves no blank but structural ones.
        columns: Columns to draw beside `patient_id`; those of the shipped pipeline when left out, or `all`.

    Returns:
        A typed table in the dictionary's order, derived columns included.
    """
    rng = np.random.default_rng(seed)
    effects = site or SiteEffects()
    effects = replace(effects, missing_factor=effects.missing_factor * missing)
    schema, prior = _dictionary().schema, _prior()
    drawn, kind = _person(patients, rng, effects, prior, schema)
    _treatment(drawn, kind, rng, prior)
    _blood(drawn, kind, rng, prior, effects)
    _fractions(drawn, kind, rng, prior)
    _events(drawn, kind, rng, prior)
    _damage(drawn, kind, rng, prior)
    grid = _observed(drawn, rng, effects, prior, schema)
    basic = {*grid, "mcv_fl"}
    wanted = basic if columns is None else set(schema.names) if columns == "all" else set(columns)
    if wanted - {*basic, "patient_id"}:
        later = np.random.default_rng([seed, 3])
        draw_history(drawn, kind, later, prior, schema)
        grid |= hide_history(drawn, later, prior, effects, schema)
    table = pd.DataFrame({name: to_series(grid[name], schema[name], schema, pd.RangeIndex(patients)) for name in grid})
    identity = pd.Series([f"SIM{i:06d}" for i in range(1, patients + 1)], dtype=pd.StringDtype())
    derived = _rules().derive(table.assign(patient_id=identity))
    return derived[[name for name in derived.columns if name in wanted or name == "patient_id"]]


@functools.cache
def _prior() -> dict[str, Any]:
    return load_prior("scd")


@functools.cache
def _dictionary() -> Any:
    return load_dictionary("scd")


@functools.cache
def _rules() -> RuleSet:
    return RuleSet.load(_dictionary().folder, _dictionary().schema)


def _of(prior: dict[str, Any], key: str, kind: Codes) -> Values:
    return np.array(prior["genotype"][key], dtype=float)[kind]


def _person(
    rows: int, rng: np.random.Generator, site: SiteEffects, prior: dict[str, Any], schema: Schema
) -> tuple[Grid, Codes]:
    """Age, sex, the genotypes, and fetal haemoglobin before treatment."""
    drawn: Grid = {}
    edges = np.array(prior["age"]["edges"])
    band = pick(np.broadcast_to(np.array(prior["age"]["shares"]), (rows, len(edges) - 1)), rng)
    age = edges[band] + (edges[band + 1] - edges[band]) * rng.random(rows)
    drawn["age_years"] = np.round(np.clip(age + site.age_shift * np.minimum(1, age / 18), 0.5, 88), 1)
    female = chance(prior["age"]["female"], rows, rng)
    drawn["sex"] = np.where(female, 1.0, 0.0)  # levels male, female
    facts = prior["genotype"]
    odds = np.array(facts["share"]) * np.exp(site.severity * np.array(facts["severe"]))
    kind = pick(np.broadcast_to(odds, (rows, len(odds))), rng)
    drawn["genotype"] = np.array([schema["genotype"].levels.index(name) for name in facts["levels"]], dtype=float)[kind]
    alpha = pick(np.broadcast_to(np.array(prior["alpha"]["share"]), (rows, len(prior["alpha"]["share"]))), rng)
    of_level = [schema["alpha_globin"].levels.index(name) for name in prior["alpha"]["levels"]]
    drawn["alpha_globin"] = np.array(of_level, dtype=float)[alpha]
    drawn["deletions"] = np.array(prior["alpha"]["deletions"], dtype=float)[alpha]
    drawn["g6pd_deficient"] = chance(
        np.where(female, prior["g6pd"]["female"], prior["g6pd"]["male"]), rows, rng
    ).astype(float)
    root = _of(prior, "hbf_root", kind) + prior["fetal"]["women"] * (female - 0.5)
    root = root + prior["fetal"]["below_5_years"] * (drawn["age_years"] < 5)
    root = root + _of(prior, "hbf_root_sd", kind) * rng.standard_normal(rows)
    drawn["native_hbf"] = np.clip(root, 0.6, 3.3) ** 3
    return drawn, kind


def _treatment(drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any]) -> None:
    """Hydroxyurea, and what it does to fetal haemoglobin."""
    rows = len(kind)
    facts = prior["hydroxyurea"]
    young = drawn["age_years"] < 12
    share = np.where(young, _of(prior, "hydroxyurea_below_12", kind), _of(prior, "hydroxyurea_from_12", kind))
    treated = chance(np.where(drawn["age_years"] < 1, 0.0, share), rows, rng)
    drawn["hydroxyurea"] = treated.astype(float)
    middle, sd = facts["dose"]
    dose = np.clip(np.round(middle + sd * rng.standard_normal(rows), 1), 8, 40)
    drawn["hu_dose_mg_kg"] = np.where(treated, dose, np.nan)
    response = np.exp(np.log(facts["hbf_factor"]) + facts["hbf_factor_log_sd"] * rng.standard_normal(rows))
    drawn["own_hbf"] = np.minimum(drawn["native_hbf"] * np.where(treated, response, 1.0), 50.0)


def _blood(drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any], site: SiteEffects) -> None:
    """Haemoglobin, stroke risk, chronic transfusion, red cells, and the laboratory around them."""
    rows = len(kind)
    age, treated, severe = drawn["age_years"], drawn["hydroxyurea"], _of(prior, "severe", kind)
    uniforms = correlated_uniforms(np.array(prior["correlation"]["gaussian"]), rows, rng)
    z = dict(zip(prior["correlation"]["order"], ndtri(np.clip(uniforms, 1e-9, 1 - 1e-9)).T, strict=True))
    fetal, alpha, drug = prior["fetal"], prior["alpha"], prior["hydroxyurea"]
    surplus = drawn["native_hbf"] - _of(prior, "hbf_root", kind) ** 3
    men = (drawn["sex"] == 0) & (age >= 20)
    hb = _of(prior, "hb", kind) + _of(prior, "hb_sd", kind) * z["hb"]
    hb = hb + fetal["hb"] * surplus + alpha["hb"] * (drawn["deletions"] - 0.28) + drug["hb"] * treated
    hb = np.clip(hb + prior["sex_and_age"]["men_hb_from_20"] * (men - 0.27), 4.0, 16.5)
    drawn["steady_hb"] = hb
    log_wbc = _of(prior, "log_wbc", kind) + _of(prior, "log_wbc_sd", kind) * z["wbc"] + site.lab_shift
    log_wbc = log_wbc + fetal["log_wbc"] * surplus + drug["log_wbc"] * treated
    drawn["wbc_10e9_l"] = np.clip(np.round(np.exp(log_wbc), 1), 2.0, 55.0)
    _stroke_and_transfusion(drawn, kind, rng, prior, log_wbc)

    chronic = drawn["chronic_transfusion"] == 1
    moves = prior["transfusion"]
    transfused_hb = moves["hb"][0] + moves["hb"][1] * rng.standard_normal(rows)
    drawn["hb_g_dl"] = np.round(np.where(chronic, np.maximum(hb, transfused_hb), hb), 1)
    ratio = prior["red_cells"]["hct_per_hb"]
    hct = drawn["hb_g_dl"] * np.clip(ratio[0] + ratio[1] * rng.standard_normal(rows), 2.65, 3.55)
    drawn["hct_pct"] = np.round(np.clip(hct, 9, 54), 1)
    mcv = _of(prior, "mcv", kind) + _of(prior, "mcv_sd", kind) * z["mcv"] + fetal["mcv"] * surplus
    mcv = mcv + alpha["mcv"] * (drawn["deletions"] - 0.28) + drug["mcv"] * treated
    donor = moves["mcv"][0] + moves["mcv"][1] * rng.standard_normal(rows)
    mcv = np.clip(np.where(chronic, donor, mcv), 56, 130)
    drawn["rbc_10e12_l"] = np.round(np.clip(10 * drawn["hct_pct"] / mcv, 0.85, 7.8), 2)

    share = expit(0.05 + 0.35 * rng.standard_normal(rows) - 0.15 * treated)
    drawn["neutrophils_10e9_l"] = np.clip(np.round(drawn["wbc_10e9_l"] * share, 1), 0.3, drawn["wbc_10e9_l"])
    years = np.maximum(age - 15, 0)
    platelets = _of(prior, "platelets", kind) + _of(prior, "platelets_sd", kind) * z["platelets"]
    platelets = platelets + fetal["platelets"] * surplus + drug["platelets"] * treated
    platelets = platelets + prior["sex_and_age"]["platelets_per_year_from_15"] * years
    drawn["platelets_10e9_l"] = np.round(np.clip(platelets, 45, 1400))
    retic = _of(prior, "retic", kind) + _of(prior, "retic_sd", kind) * z["retic"] + drug["retic"] * treated * severe
    retic = retic + prior["sex_and_age"]["retic_per_year"] * (age - 20)
    drawn["retic_pct"] = np.round(np.clip(retic, 0.5, 38), 1)
    calm = drug["log_haemolysis"] * treated
    drawn["ldh_u_l"] = np.round(np.clip(_of(prior, "ldh", kind) * np.exp(0.35 * z["ldh"] + calm), 100, 4500))
    slope = prior["sex_and_age"]["log_bilirubin_per_year"] * (age - 20)
    bilirubin = _of(prior, "bilirubin", kind) * np.exp(0.5 * z["bilirubin"] + calm + slope)
    drawn["bilirubin_total_mg_dl"] = np.round(np.clip(bilirubin, 0.2, 50), 1)
    ever = drawn["transfused_ever"] == 1
    level = np.where(chronic, moves["log_ferritin_chronic"][0], np.where(ever, moves["log_ferritin_ever"][0], 0.0))
    spread = np.where(chronic, moves["log_ferritin_chronic"][1], moves["log_ferritin_ever"][1])
    level = np.where(level == 0, moves["log_ferritin_never"][0], level)
    drawn["ferritin_ng_ml"] = np.round(np.clip(np.exp(level + spread * rng.standard_normal(rows)), 8, 28000))
    kidney = prior["kidney"]
    severely, mildly = (np.interp(age, kidney["ages"], kidney[f"creatinine_{which}"]) for which in ("severe", "else"))
    middle = np.where(severe == 1, severely, mildly)
    creatinine = middle * np.where(men, 1.12, 1.0) * np.exp(0.27 * rng.standard_normal(rows))
    drawn["creatinine_mg_dl"] = np.asarray(np.round(np.clip(creatinine, 0.15, 12), 2), dtype=np.float64)


def _stroke_and_transfusion(
    drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any], log_wbc: Values
) -> None:
    rows = len(kind)
    facts, moves = prior["events"], prior["transfusion"]
    age = drawn["age_years"]
    pallor = drawn["steady_hb"] - _of(prior, "hb", kind)
    hazard = _of(prior, "stroke", kind) * np.exp(facts["stroke_per_hb"] * pallor)
    drawn["stroke_ever"] = chance(1 - np.exp(-hazard * np.maximum(age - 1, 0)), rows, rng).astype(float)
    flow = _of(prior, "tcd", kind) + _of(prior, "tcd_sd", kind) * rng.standard_normal(rows)
    flow = flow + facts["tcd_per_hb"] * pallor + facts["tcd_per_year"] * (age - 9)
    flow = flow + facts["tcd_per_log_wbc"] * (log_wbc - _of(prior, "log_wbc", kind))
    screened = (age >= 2) & (age <= 16)
    drawn["tcd_tamv_cm_s"] = np.where(screened, np.round(np.clip(flow, 40, 320)), np.nan)
    chance_of = np.where(_of(prior, "severe", kind) == 1, moves["chronic_severe"], moves["chronic_else"])
    chance_of = np.where(screened & (flow >= 200), moves["chronic_after_tcd"], chance_of)
    chance_of = np.where(drawn["stroke_ever"] == 1, moves["chronic_after_stroke"], chance_of)
    chronic = chance(chance_of, rows, rng)
    drawn["chronic_transfusion"] = chronic.astype(float)
    ever = chance(_of(prior, "transfused", kind) * np.minimum(1, 0.35 + age / 25), rows, rng)
    drawn["transfused_ever"] = (chronic | ever | (drawn["stroke_ever"] == 1)).astype(float)


def _fractions(drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any]) -> None:
    """Shares of haemoglobin; the patient's own and the donors' blood mix."""
    rows = len(kind)
    moves = prior["transfusion"]
    own_f = drawn["own_hbf"]
    own_a2 = np.clip(_of(prior, "hba2", kind) + _of(prior, "hba2_sd", kind) * rng.standard_normal(rows), 1.2, 8.0)
    own_a = np.clip(_of(prior, "hba", kind) + 5.0 * rng.standard_normal(rows), 5, 35) * (_of(prior, "hba", kind) > 0)
    rest = 100 - own_f - own_a2 - own_a
    part = np.clip(_of(prior, "hbc_of_s_and_c", kind) + 0.02 * rng.standard_normal(rows), 0.3, 0.6)
    own_c = rest * part * (_of(prior, "hbc_of_s_and_c", kind) > 0)
    recent = (drawn["transfused_ever"] == 1) & chance(moves["recent_of_transfused"], rows, rng)
    chronic = drawn["chronic_transfusion"] == 1
    middle, sd = np.where(chronic[:, None], moves["donor_share"], moves["recent_donor_share"]).T
    donor = np.clip(middle + sd * rng.standard_normal(rows), 0.06, 0.9) * (chronic | recent)
    drawn["donor"] = donor
    drawn["hbf_pct"] = np.round(own_f * (1 - donor), 1)
    drawn["hba2_pct"] = np.round(own_a2 * (1 - donor) + 2.5 * donor, 1)
    drawn["hba_pct"] = np.round(own_a * (1 - donor) + 97.5 * donor, 1)
    drawn["hbc_pct"] = np.round(own_c * (1 - donor), 1)
    others = drawn["hbf_pct"] + drawn["hba2_pct"] + drawn["hba_pct"] + drawn["hbc_pct"]
    drawn["hbs_pct"] = np.round(100 - others, 1)


def _events(drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any]) -> None:
    """Crises and chest syndromes of the last year: Poisson counts over a gamma frailty that both share in part."""
    rows = len(kind)
    facts, drug = prior["events"], prior["hydroxyurea"]
    treated = drawn["hydroxyurea"] == 1
    surplus = drawn["native_hbf"] - _of(prior, "hbf_root", kind) ** 3
    thick = 3.06 * (drawn["steady_hb"] - _of(prior, "hb", kind) - drug["hb"] * treated)
    shape = facts["frailty_shape"]
    frailty = rng.gamma(shape, 1.0 / shape, rows)
    modifier = np.exp(facts["crises_per_hct_point"] * thick + prior["fetal"]["crises"] * surplus)
    age = drawn["age_years"]
    modifier = modifier * np.interp(age, facts["crises_ages"], facts["crises_age_factors"])
    rate = _of(prior, "voc", kind) * frailty * modifier * np.where(treated, drug["crises_factor"], 1.0)
    drawn["voc_last_12m"] = np.minimum(rng.poisson(rate), 60).astype(float)
    drawn["voc_hosp_last_12m"] = rng.binomial(drawn["voc_last_12m"].astype(np.int64), facts["in_hospital"]).astype(
        float
    )

    chest_shape = facts["chest_frailty_shape"]
    proneness = rng.gamma(chest_shape, 1.0 / chest_shape, rows) * np.exp(-0.02 * surplus)
    usual = _of(prior, "acs", kind)
    by_age = np.select(
        [age < 5, age >= 20], [facts["chest_age_2_to_4"], facts["chest_adult"]], facts["chest_age_5_to_19"]
    )
    heavier = 0.7 + 0.3 * frailty
    now = usual * by_age * proneness * heavier * np.where(treated, drug["chest_factor"], 1.0)
    drawn["acs_last_12m"] = np.minimum(rng.poisson(now), 10).astype(float)
    years = facts["chest_years_child"] * np.minimum(age, 18) + facts["chest_years_adult"] * np.maximum(age - 18, 0)
    before = 1 - np.exp(-usual * facts["chest_lifetime"] * proneness * years)
    drawn["acs_ever"] = ((drawn["acs_last_12m"] > 0) | chance(before, rows, rng)).astype(float)


def _damage(drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any]) -> None:
    """Chronic damage as hazards over age, then follow-up and death (Gompertz in age)."""
    rows = len(kind)
    age = drawn["age_years"]

    def ever(name: str, since: float) -> Mask:
        return chance(1 - np.exp(-_of(prior, name, kind) * np.maximum(age - since, 0)), rows, rng)

    for name, since in (("avn", 10.0), ("leg_ulcer", 10.0), ("retinopathy", 10.0), ("gallstones", 5.0)):
        drawn[name] = ever(name, since).astype(float)
    drawn["priapism"] = np.where(drawn["sex"] == 0, ever("priapism", 5.0).astype(float), np.nan)
    facts = prior["events"]
    first, last = facts["follow_up_years"]
    follow_up = first + (last - first) * rng.random(rows)
    growth = facts["death_per_year_of_age"]
    hazard = _of(prior, "death", kind) * np.where(drawn["hydroxyurea"] == 1, prior["hydroxyurea"]["death_factor"], 1.0)
    hazard = hazard * np.exp(growth * age + 0.5 * drawn["stroke_ever"] + 0.04 * (drawn["wbc_10e9_l"] - 11))
    until_death = np.log1p(growth * rng.exponential(size=rows) / hazard) / growth
    drawn["followup_days"] = np.maximum(1, np.round(DAYS_PER_YEAR * np.minimum(until_death, follow_up)))
    drawn["death_event"] = (until_death <= follow_up).astype(float)


def _observed(drawn: Grid, rng: np.random.Generator, site: SiteEffects, prior: dict[str, Any], schema: Schema) -> Grid:
    """What the hospital wrote down: whole blocks are blank."""
    blocks = {
        "blood_count": (
            "hb_g_dl", "hct_pct", "rbc_10e12_l", "wbc_10e9_l", "neutrophils_10e9_l", "platelets_10e9_l",
        ),
        "fractions": ("hbs_pct", "hba_pct", "hba2_pct", "hbf_pct", "hbc_pct"),
        "alpha": ("alpha_globin",),
        "g6pd": ("g6pd_deficient",),
        "retic": ("retic_pct",),
        "ldh": ("ldh_u_l",),
        "bilirubin": ("bilirubin_total_mg_dl",),
        "ferritin": ("ferritin_ng_ml",),
        "creatinine": ("creatinine_mg_dl",),
        "crises": ("voc_last_12m", "voc_hosp_last_12m"),
        "crises_in_hospital": ("voc_hosp_last_12m",),
        "chest": ("acs_last_12m",),
        "history": ("avn", "leg_ulcer", "priapism", "retinopathy", "gallstones"),
        "tcd": ("tcd_tamv_cm_s",),
        "follow_up": ("followup_days", "death_event"),
    }  # fmt: skip
    grid = {name: values for name, values in drawn.items() if name in schema and not schema[name].derived}
    rows = len(grid["age_years"])
    for block, names in blocks.items():
        blank = chance(min(prior["missing"][block] / 100 * site.missing_factor, 0.95), rows, rng)
        for name in names:
            grid[name] = np.where(blank, np.nan, grid[name])
    return grid
