"""What enforcing the hard rules does to a model's draws: the price of 100 % validity, stated in every scorecard.

A generator sometimes draws what cannot be. The rules then exchange or rewrite cells (`tables.rules`), and the table
differs from what the model learned. Everything here follows from the released model and public rules: no real row is
looked at, and nothing is charged.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthfed.evaluation.scorecard import Metric
from synthfed.run.training import Trained
from synthfed.tables.rules import RuleSet

ROWS = 5000  # drawn to measure; the release itself may be small
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Repairs:
    """How drawn rows differ after enforcing, on the encoder's grid; a move inside a cell is no difference.

    Attributes:
        broken: Share of drawn rows that broke each hard rule.
        changed: Share of each block's cells that are another cell after.
        shift: Total variation between each block's frequencies before and after.
        guides: Derived columns that are learned as guides (`tables.guides`).
        again: As many patients, drawn as a table is, of whom so many had to be drawn again for a guide's sake.
        unmet: Those of them for whom no other was found.
    """

    rows: int
    broken: dict[str, float]
    changed: dict[str, float]
    shift: dict[str, float]
    guides: tuple[str, ...] = ()
    again: int = 0
    unmet: int = 0


def measure_repairs(trained: Trained, rules: RuleSet, *, rows: int = ROWS, seed: int) -> Repairs:
    """Draw `rows` rows, enforce the rules, and compare; count how many are drawn again where there are guides."""
    from synthfed.generators.base import Layout
    from synthfed.generators.registry import make_generator
    from synthfed.run.drawing import patients_of
    from synthfed.tables.guides import guide_blocks

    coder = trained.transformer
    layout = Layout(coder.names, coder.widths)
    before = make_generator(trained.pipeline.generator).sample(trained.released, layout, rows=rows, seed=seed)
    drawn = coder.decode(before, np.random.default_rng(seed))
    after = coder.encode(trained.schema.cast(rules.enforce(drawn)))
    held = rules.restrict(drawn.columns)
    broken = held.check(drawn)
    # a derived column that is learned as a guide is computed anew, and rows that disagree with it are drawn again
    learned = [i for i, block in enumerate(coder.blocks) if not coder.schema[block.columns[0]].derived]
    guides = tuple(coder.names[place] for place in guide_blocks(coder))
    guided = patients_of(trained, rules)(rows, seed) if guides else None
    return Repairs(
        rows,
        {rule.id: float(broken[rule.id].mean()) for rule in held.hard if rule.derives is None},
        {coder.names[i]: float((before[:, i] != after[:, i]).mean()) for i in learned},
        {coder.names[i]: _distance(before[:, i], after[:, i], coder.widths[i]) for i in learned},
        guides,
        guided.again if guided else 0,
        guided.unmet if guided else 0,
    )


def repair_metric(found: Repairs) -> Metric:
    """`valid.repairs`: the largest shift of a column's frequencies, with the rules and columns behind it."""
    worst = max(found.shift.values(), default=0.0)
    cells = float(np.mean(list(found.changed.values()))) if found.changed else 0.0
    reason = (
        f"rules changed {cells:.1%} of the cells of {found.rows} drawn rows; rows that broke one: "
        f"{_largest(found.broken)}; frequencies moved most: {_largest(found.shift)}"
    )
    if found.guides:
        reason += (
            f"; {found.again} of the rows were drawn again until {' and '.join(found.guides)} followed from the other "
            f"columns as learned, {found.unmet} of them in vain"
        )
    return Metric(
        id="valid.repairs",
        question="valid",
        role="info",
        label="largest shift of a column's frequencies by enforcing the rules",
        value=worst,
        direction="lower",
        reason=reason,
        n={"drawn": found.rows},
    )


def _distance(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer], width: int) -> float:
    left, right = (np.bincount(codes, minlength=width) / len(codes) for codes in (one, other))
    return float(np.abs(left - right).sum() / 2)


def _largest(shares: dict[str, float]) -> str:
    named = sorted(((share, name) for name, share in shares.items() if share > 0), reverse=True)[:_NAMED]
    return ", ".join(f"{name} {share:.1%}" for share, name in named) or "none"
