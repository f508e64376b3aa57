"""What a sickle cell centre knows beyond the shipped pipeline: origin, history, treatment so far and further organs.

Everything is drawn given the columns that are there already and leaves them as they are.
"""

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from synthfed.cohorts.drawing import Codes, SiteEffects, Values, chance, pick
from synthfed.tables.conditions import Grid
from synthfed.tables.schema import Schema


def draw_history(drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any], schema: Schema) -> None:
    """Add every column that the shipped pipeline does not have; `kind` is the genotype's place in the prior."""
    _origin(drawn, kind, rng, prior["origin"], schema)
    _haplotypes(drawn, kind, rng, prior, schema)
    _white_cells_and_bilirubin(drawn, rng, prior["further_blood"])
    _transfusions(drawn, kind, rng, prior["transfusion_history"])
    _admissions(drawn, kind, rng, prior["admissions"])
    _organs(drawn, kind, rng, prior)


def hide_history(
    drawn: Grid, rng: np.random.Generator, prior: dict[str, Any], site: SiteEffects, schema: Schema
) -> Grid:
    """What the centre wrote down of these columns: whole blocks are blank."""
    rows = len(drawn["age_years"])
    names = {name for block in prior["further_missing_blocks"].values() for name in block}
    grid = {name: drawn[name] for name in schema.names if name in names}
    for block, columns in prior["further_missing_blocks"].items():
        percent = prior["further_missing"][block] * site.missing_factor
        blank = chance(min(percent / 100, 0.95), rows, rng)
        for name in columns:
            grid[name] = np.where(blank, np.nan, grid[name])
    grid["spleen_size_cm"] = np.where(grid["splenectomy"] == 0, grid["spleen_size_cm"], np.nan)
    return grid


def _of(table: dict[str, Any], key: str, kind: Codes) -> Values:
    return np.array(table[key], dtype=float)[kind]


def _beta(shapes: list[float], rows: int, rng: np.random.Generator) -> Values:
    return rng.beta(shapes[0], shapes[1], rows)


def _origin(drawn: Grid, kind: Codes, rng: np.random.Generator, facts: dict[str, Any], schema: Schema) -> None:
    rows, age = len(kind), drawn["age_years"]
    countries = schema["country"].levels
    odds = np.array([facts["countries"].get(name, 0.0) for name in countries])
    drawn["country"] = pick(np.broadcast_to(odds, (rows, len(odds))), rng).astype(float)
    drawn["genotype_confirmed"] = chance(facts["confirmed"], rows, rng).astype(float)
    screened = chance(np.where(age < 18, facts["screened_child"], facts["screened_adult"]), rows, rng)
    drawn["dx_newborn_screening"] = screened.astype(float)
    middle, sd = np.log(facts["diagnosis_years"][0]), facts["diagnosis_years"][1]
    latest = ndtr((np.log(np.maximum(age, 0.1)) - middle) / sd)
    later = np.exp(middle + sd * ndtri(np.clip(latest * rng.random(rows), 1e-9, 1.0)))
    at_birth = 0.3 * rng.random(rows)
    drawn["age_at_dx_years"] = np.minimum(np.floor(10 * np.where(screened, at_birth, later)) / 10, age)
    curves = np.where(
        drawn["sex"] == 0,
        np.interp(age, facts["height_ages"], facts["height_boys"]),
        np.interp(age, facts["height_ages"], facts["height_girls"]),
    )
    drawn["height_cm"] = np.round(np.clip(curves * (1 + facts["height_sd"] * rng.standard_normal(rows)), 45, 210))


def _haplotypes(drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any], schema: Schema) -> None:
    """Pairs in HbSS, one in HbSC and HbSb; tilted by fetal haemoglobin, which SEN and BEN carry more of than CAR."""
    facts = prior["haplotypes"]
    names = schema["haplotype_1"].levels
    root = np.cbrt(drawn["native_hbf"])
    luck = (root - _of(prior["genotype"], "hbf_root", kind)) / _of(prior["genotype"], "hbf_root_sd", kind)

    def tilted(shares: Values, richness: Values) -> Values:
        return np.asarray(shares * np.exp(np.outer(np.clip(luck, -2.5, 2.5), richness)))

    rich = {name: float(value) for name, value in facts["richness"].items()}
    pairs = [tuple(pair.split("/")) for pair in facts["pairs"]]
    shares = np.array(list(facts["pairs"].values()))
    both = pick(tilted(shares, np.array([rich[a] + rich[b] for a, b in pairs])), rng)
    alleles = [name for name in names if name in facts["alleles"]]
    odds = np.array([facts["alleles"][name] for name in alleles])
    one = pick(tilted(odds, np.array([rich[name] for name in alleles])), rng)
    first = np.array([names.index(a) for a, _ in pairs], dtype=float)[both]
    second = np.array([names.index(b) for _, b in pairs], dtype=float)[both]
    single = np.array([names.index(name) for name in alleles], dtype=float)[one]
    double = drawn["genotype"] == schema["genotype"].levels.index("HbSS")
    drawn["haplotype_1"] = np.where(double, first, single)
    drawn["haplotype_2"] = np.where(double, second, np.nan)


def _white_cells_and_bilirubin(drawn: Grid, rng: np.random.Generator, facts: dict[str, Any]) -> None:
    rows = len(drawn["wbc_10e9_l"])
    rest = drawn["wbc_10e9_l"] - drawn["neutrophils_10e9_l"]
    monocytes = rest * _beta(facts["monocytes_of_rest"], rows, rng)
    lymphocytes = (rest - monocytes) * _beta(facts["lymphocytes_of_what_is_left"], rows, rng)
    drawn["monocytes_10e9_l"] = np.minimum(np.round(monocytes, 1), np.round(rest, 1))
    left = np.round(rest - drawn["monocytes_10e9_l"], 1)
    lymphocytes = np.minimum(np.round(lymphocytes, 1), left)
    drawn["lymphocytes_10e9_l"] = np.where(lymphocytes > 0, lymphocytes, np.nan)  # neutrophils fill the whole count
    direct = drawn["bilirubin_total_mg_dl"] * _beta(facts["direct_of_total"], rows, rng)
    drawn["bilirubin_direct_mg_dl"] = np.floor(10 * direct + 0.5 * (direct < 0.1)) / 10
    drawn["bilirubin_direct_mg_dl"] = np.minimum(drawn["bilirubin_direct_mg_dl"], drawn["bilirubin_total_mg_dl"])


def _transfusions(drawn: Grid, kind: Codes, rng: np.random.Generator, facts: dict[str, Any]) -> None:
    rows, age = len(kind), drawn["age_years"]
    chronic, ever = drawn["chronic_transfusion"] == 1, drawn["transfused_ever"] == 1
    treated = drawn["hydroxyurea"] == 1
    share = np.where(age < 18, facts["any_of_children"], facts["any_of_adults"])
    share = share * np.where(treated, facts["hydroxyurea_factor"], 1.0)
    recent = (drawn["donor"] > 0) | (ever & chance(share, rows, rng))
    few = np.where(recent, 1.0 + rng.poisson(facts["more"], rows), 0.0)
    many = np.clip(rng.poisson(facts["a_year_if_chronic"], rows), 4, 30).astype(float)
    drawn["transfusions_last_12m"] = np.where(chronic, many, few)
    loaded = np.log(drawn["ferritin_ng_ml"] / 1000.0)
    wanted = np.where(chronic, facts["chelation_of_chronic"], facts["chelation_else"])
    drawn["chelation"] = (ever & (loaded > 0) & chance(wanted, rows, rng)).astype(float)
    immune = np.where(chronic, facts["antibodies_of_chronic"], facts["antibodies_else"])
    drawn["alloimmunised"] = (ever & chance(immune, rows, rng)).astype(float)
    drawn["hsct_or_gene_therapy"] = (ever & chance(_of(facts, "cured", kind), rows, rng)).astype(float)
    longest = np.minimum(12 * np.maximum(age - 0.75, 0.1), facts["longest_hydroxyurea_months"])
    months = np.floor(longest * _beta(facts["hydroxyurea_share_of_life"], rows, rng))
    drawn["hu_months"] = np.where(treated, months, np.nan)


def _admissions(drawn: Grid, kind: Codes, rng: np.random.Generator, facts: dict[str, Any]) -> None:
    """Admissions for other reasons on top of those for crises: a gamma-Poisson."""
    rows = len(kind)
    mean = np.where(drawn["age_years"] < 18, facts["others_of_children"], facts["others_of_adults"])
    mean = mean * _of(facts, "factor", kind)
    rate = rng.gamma(facts["shape"], 1.0 / facts["shape"], rows) * mean
    known = np.nan_to_num(drawn["voc_hosp_last_12m"])
    drawn["hosp_last_12m"] = np.minimum(known + rng.poisson(rate), 60.0)


def _organs(drawn: Grid, kind: Codes, rng: np.random.Generator, prior: dict[str, Any]) -> None:
    facts, rows, age = prior["organs"], len(kind), drawn["age_years"]
    adult, severe = age >= 18, _of(prior["genotype"], "severe", kind)
    place = np.where(drawn["stroke_ever"] == 1, 1.0 + (age - 1.0) * rng.random(rows), np.nan)
    drawn["age_first_stroke"] = np.floor(10 * np.minimum(np.maximum(place, 0.5), age)) / 10
    removed = np.where(adult, facts["gallbladder_removed_of_adults"], facts["gallbladder_removed_of_children"])
    drawn["cholecystectomy"] = ((drawn["gallstones"] == 1) & chance(removed, rows, rng)).astype(float)
    taken = np.where(severe == 1, facts["splenectomy_severe"], facts["splenectomy_else"])
    drawn["splenectomy"] = chance(1 - np.exp(-taken * np.minimum(age, 30)), rows, rng).astype(float)
    trapped = np.where(severe == 1, facts["sequestration_severe"], facts["sequestration_else"])
    drawn["sequestration_ever"] = chance(1 - np.exp(-trapped * np.minimum(age, 10)), rows, rng).astype(float)
    felt = np.where(severe == 1, np.interp(age, [0, 2, 6, 12], [0.5, 2.5, 1.0, 0.1]), facts["spleen_else_cm"])
    size = np.round(rng.gamma(0.8, 1.0, rows) * felt)
    drawn["spleen_size_cm"] = np.where(drawn["splenectomy"] == 0, np.minimum(size, 25), np.nan)
    fertile = np.clip(age - 16, 0, 30)
    born = rng.poisson(facts["pregnancies_a_year"] * fertile)
    drawn["pregnancies"] = np.where(drawn["sex"] == 1, np.minimum(born, 15), np.nan)
    pallor = drawn["steady_hb"] - _of(prior["genotype"], "hb", kind)
    middle, slope, sd = facts["log_uacr"]
    log_ratio = middle + slope * (age - 21) + facts["log_uacr_severe"] * (severe - 0.7) - 0.1 * pallor
    ratio = np.exp(log_ratio + sd * rng.standard_normal(rows))
    drawn["uacr_mg_g"] = np.round(np.clip(ratio, 1, 5500))
    middle, slope, sd = facts["trv"]
    velocity = middle + slope * (age - 34) + facts["trv_severe"] * (severe - 0.7) - 0.03 * pallor
    velocity = np.round(np.clip(velocity + sd * rng.standard_normal(rows), 1.2, 5.0), 1)
    tested = adult | chance(facts["trv_of_children"], rows, rng) & (age >= 8)
    drawn["trv_m_s"] = np.where(tested, velocity, np.nan)
