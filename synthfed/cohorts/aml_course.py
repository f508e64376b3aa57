"""What becomes of simulated adults with acute myeloid leukaemia: survival first, then the path that fits inside it.

time of death and last contact -> remission -> first event -> relapse -> transplant

Survival is drawn by risk group, so that the published shares come out; every later step is drawn *inside* it, so that
no patient relapses after death and no rule needs a repair.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaincinv, expit, ndtr, ndtri

from synthfed.cohorts.drawing import Mask, SiteEffects, Values, bisect, chance, pick
from synthfed.tables.conditions import Grid
from synthfed.tables.schema import Schema

DAYS_PER_MONTH = 30.4375


@dataclass(frozen=True, slots=True)
class Solved:
    """Odds and baselines that reproduce published shares on the reference population."""

    genes: dict[str, Values]  # intercept per class
    baseline: Values  # (risk group, month): log cumulative hazard
    remission: Values  # intercept per risk group
    unassessed: float  # intercept of a missing response


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
        (facts["hr_itd_without_npm1"], (1 - drawn["NPM1"]) * drawn["FLT3_ITD"]),
        (facts["hr_log2_wbc"], np.log2(drawn["wbc_10e9_l"]) - 4.2),
    )
    return np.asarray(sum(np.log(ratio) * value for ratio, value in terms))


def solve_baseline(drawn: Grid, prior: dict[str, Any], schema: Schema) -> Values:
    """Log cumulative hazards at `months` for which the *mixture* over the reference patients survives as published."""
    facts = prior["survival"]
    relative = np.exp(_log_hazard(drawn, prior, schema))

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


def survive(drawn: Grid, rng: np.random.Generator, prior: dict[str, Any], schema: Schema, solved: Solved) -> None:
    """Times of death and of the end of follow-up; `fortune` is the probit of a patient's luck given the risk.

    `death_days` is what would be seen with endless follow-up.
    """
    rows = len(drawn["group"])
    group = drawn["group"].astype(int)
    luck = rng.random(rows)
    reached = np.log(-np.log1p(-luck)) - _log_hazard(drawn, prior, schema)
    log_months = np.log(np.array(prior["survival"]["months"], dtype=float))
    death = np.zeros(rows)
    for g, knots in enumerate(solved.baseline):
        death[group == g] = DAYS_PER_MONTH * _time_of(reached[group == g], knots, log_months)
    lost = 1.0 - np.array(prior["survival"]["followed"])
    follow_up = DAYS_PER_MONTH * np.interp(rng.random(rows), lost, prior["survival"]["follow_up_months"])
    drawn["os_days"] = np.maximum(1, np.round(np.minimum(death, follow_up)))
    drawn["os_event"] = (death <= follow_up).astype(float)
    drawn["death_days"] = np.maximum(1, np.round(death))
    drawn["fortune"] = ndtri(np.clip(luck, 1e-9, 1 - 1e-9))


def remission_log_odds(drawn: Grid, prior: dict[str, Any]) -> Values:
    facts = prior["response"]
    decade = (drawn["age_years"] - 60) / 10
    usual = facts["probit_of_survival"] * drawn["fortune"] + facts["log_odds_per_10y"] * decade
    usual = usual + facts["log_odds_from_70"] * (drawn["age_years"] >= 70)
    return np.asarray(np.where(drawn["os_days"] < 21, -60.0, usual))


def unassessed_log_odds(drawn: Grid, prior: dict[str, Any], site: SiteEffects) -> Values:
    sizes = prior["response"]["missing_log_odds"]
    dead = drawn["os_event"] == 1
    early = np.select(
        [dead & (drawn["os_days"] <= 30), dead & (drawn["os_days"] <= 90), dead & (drawn["os_days"] <= 365)],
        [sizes["dead_30_days"], sizes["dead_90_days"], sizes["dead_1_year"]],
        0.0,
    )
    return np.asarray(early + sizes["age_60"] * (drawn["age_years"] >= 60) + np.log(max(site.missing_factor, 1e-9)))


def draw_outcome(
    drawn: Grid, rng: np.random.Generator, site: SiteEffects, prior: dict[str, Any], schema: Schema, solved: Solved
) -> None:
    """Survival, the response to induction where it was assessed, and the cause of death."""
    rows = len(drawn["group"])
    survive(drawn, rng, prior, schema, solved)
    levels = {name: float(i) for i, name in enumerate(schema["induction_response"].levels)}
    remission = chance(
        expit(remission_log_odds(drawn, prior) + solved.remission[drawn["group"].astype(int)]), rows, rng
    )
    drawn["remission"] = remission.astype(float)
    incomplete = chance(prior["response"]["cri_of_cr"], rows, rng)
    response = np.where(remission, np.where(incomplete, levels["CRi"], levels["CR"]), levels["refractory"])
    if prior["response"]["early_death_days"]:  # trials record it; registries leave the response blank
        early = (drawn["os_event"] == 1) & (drawn["os_days"] <= prior["response"]["early_death_days"])
        response = np.where(early & ~remission, levels["ED"], response)
    unassessed = chance(expit(unassessed_log_odds(drawn, prior, site) + solved.unassessed), rows, rng)
    drawn["induction_response"] = np.where(unassessed, np.nan, response)
    causes = schema["cause_of_death"].levels
    shares = np.array([prior["cause_of_death"][name] for name in causes])
    cause = pick(np.broadcast_to(shares, (rows, len(shares))), rng).astype(float)
    drawn["cause_of_death"] = np.where(drawn["os_event"] == 1, cause, np.nan)


def draw_path(drawn: Grid, rng: np.random.Generator, prior: dict[str, Any]) -> None:
    """Remission, first event, relapse and transplant inside the survival that was drawn."""
    facts = prior["path"]
    rows = len(drawn["os_days"])
    age, last = drawn["age_years"], drawn["os_days"]
    died = drawn["os_event"] == 1
    share = np.interp(age, facts["intensive_ages"], facts["intensive_shares"])
    first = drawn["remission"] == 1
    drawn["intensive_induction"] = chance(share, rows, rng).astype(float)
    assessed = np.round(_lognormal(facts["assessment_days"], np.full(rows, 90.0), rng))
    reached = (last > assessed) & ~first  # alive at the assessment: refractory; else dead in induction or just censored
    later_share = np.where(last > 365, facts["later_remission_if_alive_1_year"], facts["later_remission_else"])
    later = reached & (last > assessed + 60) & chance(later_share, rows, rng)
    day = np.where(first, _lognormal(facts["remission_days"], np.minimum(last, 200), rng), np.nan)
    salvage = assessed + 30 + (np.minimum(last - 1, 390) - assessed - 30) * rng.random(rows) ** 2
    remission_day = np.floor(np.where(later, np.minimum(salvage, 395), day))
    achieved = first | later
    wish = _transplant_wish(drawn, rng, facts)
    relapse = _relapse_day(drawn, remission_day, achieved, wish, rng, facts)
    seen = relapse <= last  # false where there is none
    _first_event(drawn, first, achieved, reached, seen, died, assessed, relapse)
    drawn["cr_achieved"] = achieved.astype(float)
    drawn["days_to_cr"] = np.where(achieved, remission_day, np.nan)
    drawn["days_to_relapse"] = np.where(seen, relapse, np.nan)
    _transplant(drawn, wish & first, assessed, rng, facts)


def _lognormal(median_and_sd: list[float], latest: Values, rng: np.random.Generator) -> Values:
    """Log normal days from the 10th on that are no later than `latest`."""
    middle, sd = np.log(median_and_sd[0]), median_and_sd[1]
    low = float(ndtr((np.log(14.0) - middle) / sd))
    high = ndtr((np.log(np.maximum(latest, 15.0)) - middle) / sd)
    drawn = np.exp(middle + sd * ndtri(low + (high - low) * rng.random(len(latest))))
    return np.asarray(np.minimum(drawn, latest))


def _transplant_wish(drawn: Grid, rng: np.random.Generator, facts: dict[str, Any]) -> Mask:
    """Who would be transplanted in first remission if it lasts long enough."""
    share = np.array(facts["transplant_of_group"])[drawn["group"].astype(int)]
    share = share * np.interp(drawn["age_years"], facts["transplant_ages"], facts["transplant_age_factors"])
    return np.asarray(chance(share, len(share), rng) & (drawn["intensive_induction"] == 1))


def _relapse_day(
    drawn: Grid, remission_day: Values, achieved: Mask, wish: Mask, rng: np.random.Generator, facts: dict[str, Any]
) -> Values:
    """Day of relapse had follow-up no end, NaN where there is none: most who die after a remission relapse before."""
    rows = len(remission_day)
    death = np.minimum(drawn["death_days"], 7300)
    long = drawn["death_days"] > facts["cured_from_days"]
    share = np.where(wish, facts["relapse_of_dying_with_transplant"], facts["relapse_of_dying"])
    relapses = achieved & chance(np.where(long, facts["relapse_of_long_survivors"], share), rows, rng)
    room = np.minimum(death, facts["cured_from_days"]) - remission_day
    a, b = facts["relapse_place"]
    day = np.floor(remission_day + 1 + (room - 1) * betaincinv(a, b, rng.random(rows)))
    day = np.minimum(day, death)
    return np.where(relapses & (room >= facts["relapse_after_days"]), day, np.nan)


def _first_event(
    drawn: Grid, first: Mask, achieved: Mask, reached: Mask, seen: Mask, died: Mask, assessed: Values, relapse: Values
) -> None:
    refractory, relapsing, in_induction, in_remission = 0.0, 1.0, 2.0, 3.0  # levels of efs_event_type
    kind = np.select(
        [~first & reached, ~first & died, first & seen, first & died],
        [refractory, in_induction, relapsing, in_remission],
        np.nan,
    )
    event = ~np.isnan(kind)
    days = np.select([kind == refractory, kind == relapsing], [assessed, relapse], drawn["os_days"])
    drawn["efs_event_type"], drawn["efs_event"], drawn["efs_days"] = kind, event.astype(float), days


def _transplant(drawn: Grid, planned: Mask, assessed: Values, rng: np.random.Generator, facts: dict[str, Any]) -> None:
    rows = len(planned)
    last, relapse, remission = drawn["os_days"], drawn["days_to_relapse"], drawn["days_to_cr"]
    end_of_first = np.fmin(relapse - 1, last)
    wait = np.exp(np.log(facts["transplant_days"][0]) + facts["transplant_days"][1] * rng.standard_normal(rows))
    in_first = planned & (np.floor(remission + wait) <= end_of_first)
    fit = (drawn["age_years"] <= facts["salvage_age"]) & (drawn["intensive_induction"] == 1) & ~in_first
    after = np.where(np.isnan(relapse), np.inf, relapse)
    pause = np.floor(60 + 60 * rng.random(rows))
    in_relapse = fit & (after + pause <= last) & chance(facts["salvage_share"], rows, rng)
    second = chance(facts["second_remission_of_salvage"], rows, rng)
    never = (drawn["cr_achieved"] == 0) & (drawn["efs_event_type"] == 0)
    refractory = fit & never & (assessed + pause <= last) & chance(facts["refractory_share"], rows, rng)
    # an autologous transplant is for favorable patients in first remission
    own = (drawn["remission"] == 1) & ~in_first & (drawn["group"] == 0) & chance(facts["autologous_share"], rows, rng)
    own &= ~in_relapse & (np.floor(remission + wait) <= end_of_first) & (drawn["age_years"] <= facts["salvage_age"])
    allogeneic = in_first | in_relapse | refractory
    phases = {"CR1": 0.0, "CR2": 1.0, "RD": 2.0, "relapse": 3.0}
    drawn["hsct_allogeneic"] = allogeneic.astype(float)
    drawn["hsct_autologous"] = own.astype(float)
    drawn["hsct_phase"] = np.select(
        [in_first | own, in_relapse & second, in_relapse, refractory],
        [phases["CR1"], phases["CR2"], phases["relapse"], phases["RD"]],
        np.nan,
    )
    with np.errstate(invalid="ignore"):
        day = np.select(
            [in_first | own, in_relapse, refractory],
            [np.floor(remission + wait), after + pause, assessed + pause],
            np.nan,
        )
    drawn["days_to_hsct"] = day
    family = chance(facts["family_donor"], rows, rng).astype(float)
    drawn["hsct_family_donor"] = np.where(allogeneic, family, np.nan)


def draw_fitness(drawn: Grid, rng: np.random.Generator, prior: dict[str, Any]) -> None:
    """Performance status, worse with age, and the spleen."""
    facts = prior["fitness"]
    rows = len(drawn["age_years"])
    odds = np.array(facts["ecog"]) * np.exp(
        facts["log_odds_per_10y"] * np.arange(5) * (drawn["age_years"][:, None] - facts["at_age"]) / 10
    )
    drawn["ecog"] = pick(odds, rng).astype(float)
    drawn["splenomegaly"] = chance(facts["splenomegaly"], rows, rng).astype(float)
