"""Membership inference without access to the model: can an attacker tell who was in the training rows?

The attacker holds the released table S and reference patients R (half of the hold-out). Targets are members (from T)
and outsiders (the other half of the hold-out). Scales and the classifier see R and S only, so permuting who is a member
gives an exact p value for the best of all attacks together. The score that counts is how many members are found
while almost no outsider is accused; the area under the curve misses partial copying.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import beta, rankdata

from synthfed.evaluation.distance import Gower, nearest
from synthfed.evaluation.learning import Inputs, one_thread, tree_scores
from synthfed.evaluation.rows import Bools, Floats, Ints, Rows, stack
from synthfed.evaluation.scorecard import Light, Metric, Role, rounded
from synthfed.evaluation.thresholds import MINIMUM_NONMEMBERS, THRESHOLDS

PERMUTATIONS = 999
RATES = (0.01, 0.02, 0.05, 0.10)  # false-positive rates; the smallest with two expected false accusations is used
TARGET_CAP = 2000
KNOWN_CAP = 20_000  # rows of S, and of R, that the attacker works with: every target is held against each of them
_LOWER_BOUND_LIMIT = 0.09  # re-identification probability of EMA Policy 0070 and Health Canada, by analogy


@dataclass(frozen=True, slots=True)
class Membership:
    """What the best attack finds.

    Attributes:
        found: Share of members accused (true-positive rate) at `rate`.
        low, high: Exact 95 % interval of `found`.
        guess: 95 % of `found` when nobody can tell members (permuted labels).
        p: Exact permutation p of `found`, for the best of all attacks.
        sight: Smallest share of copied rows that this test would see with 80 % power.
        rare: The same on the tenth of the targets farthest from the attacker's reference patients; `None` where fewer
            than 20 members or 20 outsiders are among them.
    """

    rate: float
    found: float
    low: float
    high: float
    guess: float
    p: float
    sight: float
    area: float
    area_p: float
    targets: int
    curve: Mapping[str, Any]
    rare: "Membership | None" = None

    @property
    def light(self) -> Light:
        """Grey when guessing alone could pass the limit; else by p and the excess over guessing."""
        rule = THRESHOLDS["private.membership"]
        excess, noise = self.found - self.rate, self.guess - self.rate
        if noise > rule.amber and not (self.p < 0.01 and self.low - self.rate > _LOWER_BOUND_LIMIT):
            return "grey"
        if (self.p < 0.01 and excess > rule.amber) or self.low - self.rate > _LOWER_BOUND_LIMIT:
            return "red"
        return "green" if self.p >= 0.05 and excess <= max(rule.green, noise) else "amber"

    @property
    def sentence(self) -> str:
        """The result in words, with its sight."""
        return (
            f"An attacker who wrongly accuses {100 * self.rate:.0f} in 100 outsiders finds {1000 * self.found:.0f} "
            f"of 1,000 patients (95 % {1000 * self.low:.0f} to {1000 * self.high:.0f}); "
            f"guessing finds {1000 * self.rate:.0f}; this test would have seen {100 * self.sight:.1f} % copied rows."
        )


def infer_membership(train: Rows, holdout: Rows, synthetic: Rows, *, seed: int) -> Membership | None:
    """Run all attacks; `None` with fewer than 20 outsiders.

    An attacker has at most `KNOWN_CAP` rows of S and of R. Attacks: nearness to S; nearness to S against R, with one
    and with five neighbours (as DOMIAS, arXiv 2302.12580); a classifier of S against R.
    """
    rng = np.random.default_rng([seed, 5])
    order = rng.permutation(len(holdout))
    half = min(len(holdout) // 2, TARGET_CAP)
    if half < MINIMUM_NONMEMBERS or len(train) < MINIMUM_NONMEMBERS:
        return None
    outsiders, reference = holdout.take(order[:half]), holdout.take(order[half : half + KNOWN_CAP])
    if len(synthetic) > KNOWN_CAP:
        synthetic = synthetic.take(np.random.default_rng([seed, 22]).permutation(len(synthetic))[:KNOWN_CAP])
    members = train.take(rng.permutation(len(train))[:TARGET_CAP])
    count = len(members)
    scores = np.vstack(
        [_attacks(members, reference, synthetic, seed), _attacks(outsiders, reference, synthetic, seed)]
    ).T  # (attacks, targets), members first
    is_member = np.arange(count + half) < count
    whole = _best_attack(scores, is_member, rng)
    rare = _rarest(stack(members, outsiders), reference, synthetic)
    few = min(int(is_member[rare].sum()), int((~is_member[rare]).sum()))
    if few < MINIMUM_NONMEMBERS:
        return whole
    return replace(whole, rare=_best_attack(scores[:, rare], is_member[rare], rng))


def _rarest(targets: Rows, reference: Rows, synthetic: Rows) -> Bools:
    """The tenth of the targets farthest from what the attacker knows of patients: outliers, who are found first."""
    gower = Gower.spread_of(reference, synthetic)
    far = nearest(gower.between(targets, reference), 5)
    return np.asarray(rankdata(-far, method="ordinal") <= math.ceil(len(far) / 10))


def _best_attack(scores: Floats, is_member: Bools, rng: np.random.Generator) -> Membership:
    """Judge scores (attacks, targets) by permuting who is a member."""
    count, outsiders = int(is_member.sum()), int((~is_member).sum())
    labels = np.vstack([is_member, *[rng.permutation(is_member) for _ in range(PERMUTATIONS)]])
    rate = next((f for f in RATES if f * outsiders >= 2), RATES[-1])
    allowed = math.floor(rate * outsiders)
    found = np.array([_found(row, labels, allowed) for row in scores])  # (attacks, 1 + permutations)
    areas = np.array([_areas(row, labels) for row in scores])
    best, best_area = found.max(axis=0), areas.max(axis=0)
    guess = float(np.quantile(best[1:], 0.95))
    hits = round(float(best[0]) * count)
    return Membership(
        rate=rate,
        found=float(best[0]),
        low=float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0,
        high=float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0,
        guess=guess,
        p=float((best[1:] >= best[0]).sum() + 1) / (PERMUTATIONS + 1),
        sight=_sight(guess - rate, count),
        area=float(best_area[0]),
        area_p=float((best_area[1:] >= best_area[0]).sum() + 1) / (PERMUTATIONS + 1),
        targets=count,
        curve=_curve(scores[int(found[:, 0].argmax())], labels),
    )


def _attacks(targets: Rows, reference: Rows, synthetic: Rows, seed: int) -> Floats:
    """Scores (targets, attacks), higher means more likely a member; learned from R and S only."""
    gower = Gower.spread_of(reference, synthetic)
    to_synthetic, to_reference = gower.between(targets, synthetic), gower.between(targets, reference)
    tiny = 1e-6
    one_s, one_r = nearest(to_synthetic) + tiny, nearest(to_reference) + tiny
    five_s, five_r = nearest(to_synthetic, 5) + tiny, nearest(to_reference, 5) + tiny
    learner = Inputs.without(synthetic, [])
    together = _labelled(synthetic, reference)
    with one_thread():
        classifier = tree_scores(learner, together[0], together[1], 2, targets, seed=seed)[:, 1]
    return np.column_stack([-one_s, np.log(one_r / one_s), np.log(five_r / five_s), classifier])


def _labelled(synthetic: Rows, reference: Rows) -> tuple[Rows, Ints]:
    rows = stack(synthetic, reference)
    return rows, (np.arange(len(rows)) < len(synthetic)).astype(np.int64)


def _found(scores: Floats, labels: Bools, allowed: int) -> Floats:
    """Share of members strictly above the (allowed + 1)-th largest outsider score, per row of `labels`."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    tie_start = np.searchsorted(-ranked, -ranked, side="left")
    sorted_labels = labels[:, order]
    accused = np.cumsum(~sorted_labels, axis=1)
    place = (accused >= allowed + 1).argmax(axis=1)  # where the threshold score sits
    first = tie_start[place]
    above = np.concatenate([np.zeros((len(labels), 1)), np.cumsum(sorted_labels, axis=1)], axis=1)
    return np.asarray(above[np.arange(len(labels)), first] / sorted_labels.sum(axis=1))


def _areas(scores: Floats, labels: Bools) -> Floats:
    """Area under the ROC curve per row of `labels`, ties counted half (rank sums)."""
    ranks = rankdata(scores)
    members = labels.sum(axis=1)
    return np.asarray((labels @ ranks - members * (members + 1) / 2) / (members * (labels.shape[1] - members)))


def _sight(noise: float, targets: int) -> float:
    """Smallest copied share c with c >= noise + .84 sqrt(c (1 - c) / n): 80 % power."""
    for share in np.arange(0.001, 1.0, 0.001):
        if share >= noise + 0.84 * math.sqrt(share * (1 - share) / targets):
            return float(share)
    return 1.0


def _curve(scores: Floats, labels: Bools) -> dict[str, Any]:
    """ROC of one attack at no more than 64 false-positive rates, with the 95 % band of permuted labels."""
    outsiders = int((~labels[0]).sum())
    allowed = np.unique(np.round(np.geomspace(1, outsiders, 48)).astype(int)) - 1
    curves = np.array([_found(scores, labels[:200], int(k)) for k in allowed])  # (points, 1 + permutations)
    low, high = np.quantile(curves[:, 1:], [0.025, 0.975], axis=1)
    return {
        "fpr": rounded(list(allowed / outsiders)),
        "tpr": rounded(list(curves[:, 0])),
        "band_low": rounded(list(low)),
        "band_high": rounded(list(high)),
    }


def membership_metrics(found: Membership | None, sizes: Mapping[str, int]) -> tuple[Metric, ...]:
    """`private.membership` (deciding), `private.membership_rare` and `private.membership_auc` (information)."""
    label = "patients found by membership inference, above guessing"
    rare_label = "patients found among the rarest tenth, above guessing"
    if found is None:
        reason = f"needs {2 * MINIMUM_NONMEMBERS} hold-out rows: half as outsiders, half as the attacker's knowledge"
        n = dict(sizes)
        return (
            Metric(
                "private.membership", "private", "deciding", label, None, "lower", reason=reason, n=n, rows_used="train"
            ),
        )
    if found.rare is None:
        reason = f"the rarest tenth holds fewer than {MINIMUM_NONMEMBERS} outsiders or {MINIMUM_NONMEMBERS} patients"
        rare = Metric(
            "private.membership_rare",
            "private",
            "if_measurable",
            rare_label,
            None,
            "lower",
            reason=reason,
            n=dict(sizes),
            rows_used="train",
        )
    else:
        rare = _gain("private.membership_rare", "if_measurable", rare_label, found.rare, sizes)
    return (
        _gain("private.membership", "deciding", label, found, sizes),
        rare,
        Metric(
            id="private.membership_auc",
            question="private",
            role="info",
            label="membership inference, area under the curve",
            value=found.area,
            direction="lower",
            ceiling=0.5,
            reason=f"permutation p = {found.area_p:.3g}",
            n={**sizes, "targets": found.targets},
            rows_used="train",
        ),
    )


def _gain(metric_id: str, role: Role, label: str, found: Membership, sizes: Mapping[str, int]) -> Metric:
    rule = THRESHOLDS[metric_id]
    return Metric(
        id=metric_id,
        question="private",
        role=role,
        label=label,
        value=found.found - found.rate,
        direction="lower",
        ceiling=0.0,
        low=-found.rate,
        high=found.guess - found.rate,
        green=rule.green,
        amber=rule.amber,
        threshold_origin=rule.origin,
        light=found.light,
        reason=f"permutation p = {found.p:.3g}. {found.sentence}",
        n={**sizes, "targets": found.targets},
        rows_used="train",
        value_low=found.low - found.rate,
        value_high=found.high - found.rate,
    )
