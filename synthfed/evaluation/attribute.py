"""Does the table tell an attacker a secret of a patient it was trained on, beyond what it tells of any patient?

That age predicts survival is knowledge about the disease, true of outsiders too. So every guess is made for training
patients T and for the hold-out H alike; the gain is the difference of the areas under the ROC curve. Guesses see the
synthetic table only, so that permuting who is in T gives an exact p for the best guess over all secrets together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from synthfed.evaluation.distance import Gower, Single
from synthfed.evaluation.learning import auc
from synthfed.evaluation.rows import Bools, Floats, Rows, stack
from synthfed.evaluation.scorecard import Light, Metric
from synthfed.evaluation.thresholds import MINIMUM_ATTACKED_ROWS, MINIMUM_SECRET_ROWS, THRESHOLDS

NEIGHBOURS = 15
PERMUTATIONS = 199
DRAWS = 200  # of the bootstrap over targets
TARGET_CAP = 1000
_SYNTHETIC_CAP = 2000


@dataclass(frozen=True, slots=True)
class Attribute:
    """The best guess over all secrets and both attackers.

    Attributes:
        column: The secret it was best at.
        gain: AUC on T less AUC on H, with its bootstrap interval over patients.
        guess: 95 % of the best gain when T and H are told apart by chance; `p` belongs to it.
    """

    column: str
    gain: float
    low: float
    high: float
    guess: float
    p: float
    targets: int
    control: int

    @property
    def light(self) -> Light:
        rule = THRESHOLDS["private.attribute"]
        if self.p >= 0.05 or self.gain <= rule.green:
            return "grey" if self.guess > rule.amber else "green"
        return "amber" if self.gain <= rule.amber else "red"


def infer_attributes(
    train: Rows, holdout: Rows, synthetic: Rows, *, quasi_identifiers: Sequence[str], seed: int
) -> Attribute | None:
    """Guess every sensitive column from the 15 synthetic rows that resemble a patient most.

    Two attackers: one knows the quasi-identifiers, one knows every baseline column that is not sensitive. Nearer rows
    weigh more (1 / distance), so that a copied row speaks for itself. A level is guessed against all others, a number
    as above the synthetic median; a column's gain is the mean over its levels.

    Returns:
        `None` where no sensitive column has enough patients on both sides, in T and in H.
    """
    rng = np.random.default_rng([seed, 9])
    some = synthetic.take(rng.permutation(len(synthetic))[:_SYNTHETIC_CAP])
    ours = train.take(rng.permutation(len(train))[:TARGET_CAP])
    theirs = holdout.take(rng.permutation(len(holdout))[:TARGET_CAP])
    targets = stack(ours, theirs)
    is_ours = np.arange(len(targets)) < len(ours)
    labels = np.vstack([is_ours, *[rng.permutation(is_ours) for _ in range(PERMUTATIONS)]])
    draws = rng.multinomial(len(targets), np.full(len(targets), 1 / len(targets)), size=DRAWS).astype(np.float64)
    gower = Gower.spread_of(holdout, synthetic)
    names: list[str] = []
    gains: list[Floats] = []  # per attacker and secret: (1 + permutations,)
    spreads: list[Floats] = []  # (draws,)
    for known in _attackers(train, quasi_identifiers):
        votes = _votes(gower.only(train.shape, known).between(targets, some))
        for name, truths, answers in _secrets(targets, some, is_ours):
            if name in known:
                continue
            pairs = [(votes @ answer, truth) for answer, truth in zip(answers.T, truths.T, strict=True)]
            names.append(name)
            gains.append(np.mean([_gain(guess, truth, labels) for guess, truth in pairs], axis=0))
            spreads.append(np.mean([_gain(guess, truth, is_ours[None], draws) for guess, truth in pairs], axis=0))
    if not gains:
        return None
    whole = np.nan_to_num(np.array(gains))  # undefined where a permutation leaves one side empty
    lead = int(whole[:, 0].argmax())
    best = whole.max(axis=0)
    low, high = np.nanquantile(spreads[lead], [0.025, 0.975])
    return Attribute(
        column=names[lead],
        gain=float(best[0]),
        low=float(low),
        high=float(high),
        guess=float(np.quantile(best[1:], 0.95)),
        p=float((best[1:] >= best[0]).sum() + 1) / (PERMUTATIONS + 1),
        targets=len(ours),
        control=len(theirs),
    )


def _attackers(rows: Rows, quasi_identifiers: Sequence[str]) -> list[frozenset[str]]:
    """What each attacker knows; only the second where no quasi-identifier is declared."""
    columns = rows.shape.columns
    declared = frozenset(c.name for c in columns if c.name in quasi_identifiers)
    baseline = frozenset(c.name for c in columns if c.known_at == "baseline" and not c.sensitive and not c.derived)
    return [known for known in dict.fromkeys((declared, baseline)) if known]


def _votes(distances: Single) -> Single:
    """Weights (targets, synthetic rows) of the nearest rows, summing to one per target."""
    kept = min(NEIGHBOURS, distances.shape[1])
    reach = np.partition(distances, kept - 1, axis=1)[:, kept - 1 : kept]
    weights = np.where(distances <= reach, 1.0 / (distances + 1e-3), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _secrets(targets: Rows, synthetic: Rows, is_ours: Bools) -> Iterator[tuple[str, Floats, Floats]]:
    """Name, truth 0/1/NaN (targets, levels) and the synthetic rows' own 0/1 (rows, levels) of sensitive columns."""
    for column in targets.shape.columns:
        if not column.sensitive:
            continue
        truth, drawn = targets.number(column.name), synthetic.number(column.name)
        if column.is_number:
            seen = drawn[~np.isnan(drawn)]
            cut = float(np.median(seen)) if len(seen) else np.nan
            sides = [(np.where(np.isnan(truth), np.nan, truth > cut), drawn > cut)]
        else:
            wanted = range(1, 2) if len(column.levels) == 2 else range(len(column.levels))
            sides = [(np.where(np.isnan(truth), np.nan, truth == code), drawn == code) for code in wanted]
        usable = [(t, d) for t, d in sides if _enough(t, is_ours)]
        if usable:
            yield column.name, np.column_stack([t for t, _ in usable]), np.column_stack([d for _, d in usable])


def _enough(truth: Floats, is_ours: Bools) -> bool:
    sides = [(truth[who] == side).sum() for who in (is_ours, ~is_ours) for side in (0, 1)]
    return bool(min(sides) >= MINIMUM_SECRET_ROWS)


def _gain(guess: Floats, truth: Floats, labels: Bools, draws: Floats | None = None) -> Floats:
    """AUC on the labelled less AUC on the others, per row of `labels` or of `draws` (how often a patient counts)."""
    known = ~np.isnan(truth)
    counts = np.ones((1, int(known.sum()))) if draws is None else draws[:, known]
    inside = labels[:, known]
    return np.asarray(
        auc(guess[known], truth[known], inside * counts) - auc(guess[known], truth[known], ~inside * counts)
    )


def attribute_metric(
    train: Rows, holdout: Rows, synthetic: Rows, *, quasi_identifiers: Sequence[str], seed: int
) -> Metric:
    """`private.attribute`."""
    rule = THRESHOLDS["private.attribute"]
    label = "guessing a sensitive column, above the same on outsiders"
    secrets = [c.name for c in train.shape.columns if c.sensitive]
    found = None
    if not secrets:
        reason = "the dictionary marks no column as sensitive"
    elif len(holdout) < MINIMUM_ATTACKED_ROWS:
        reason = f"the control needs {MINIMUM_ATTACKED_ROWS} hold-out rows"
    else:
        found = infer_attributes(train, holdout, synthetic, quasi_identifiers=quasi_identifiers, seed=seed)
        reason = f"no sensitive column has {MINIMUM_SECRET_ROWS} patients on either side in training and hold-out rows"
    if found is None:
        return Metric(
            "private.attribute", "private", "if_measurable", label, None, "lower", reason=reason, rows_used="train"
        )
    reason = f"best at {found.column} of {len(secrets)} sensitive columns; permutation p = {found.p:.3g}"
    if found.light == "grey":
        reason = f"chance alone reaches {found.guess:.2f} at this size; {reason}"
    return Metric(
        id="private.attribute",
        question="private",
        role="if_measurable",
        label=label,
        value=found.gain,
        direction="lower",
        ceiling=0.0,
        low=-found.guess,
        high=found.guess,
        green=rule.green,
        amber=rule.amber,
        threshold_origin=rule.origin,
        light=found.light,
        reason=reason,
        n={"targets": found.targets, "control": found.control, "synthetic": len(synthetic)},
        rows_used="train",
        value_low=found.low,
        value_high=found.high,
    )
