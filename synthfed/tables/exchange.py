"""Repair a synthetic table by exchanging values between rows, so that no column's own distribution moves.

A generator that learned two columns well, but not that one excludes the other, draws too many impossible rows and, in
return, too many of their opposite: alive with a cause of death, and dead without one. Repairing each row alone would
lose the values of the first and leave the second as they are. Exchanging them settles both: what a row may not have
goes to a row that may have it, and every level keeps its frequency. Where one column excludes the other and both
frequencies were right, only one joint distribution is possible, and the exchange finds it.

Only synthetic rows are exchanged; a table that was read is never treated so (`RuleSet.blank`). The table is a function
of what the generator drew and of public rules, so this is post-processing and costs no privacy budget.
"""

import numpy as np
from numpy.typing import NDArray

from synthfed.tables.conditions import Grid, Mask, Values
from synthfed.tables.rule_kinds import ROUNDING, Body, Implies, Order, Structural, Sum

_Rows = NDArray[np.intp]


def exchanged(body: Body, grid: Grid, broken: Mask) -> Grid:
    """The columns of a rule after as many exchanges as there are rows to exchange with; other rules give nothing."""
    if isinstance(body, Structural):
        return _between_open_and_closed(body, grid, broken)
    if isinstance(body, Implies) and body.swap:
        return _with_free_rows(body, grid, broken)
    if isinstance(body, Order) and body.swap and len(body.columns) == 2:
        low, high = body.columns
        bound = body.when.truth(grid, len(broken))[0]
        ceiling = grid[high] * body.factor + body.slack
        return {low: _under_their_ceiling(grid[low], ceiling, broken, bound & ~np.isnan(grid[low] + ceiling))}
    if isinstance(body, Sum) and body.swap:
        wanted = grid[body.swap] + body.total - body.added(grid)
        return {body.swap: _where_they_fit(grid[body.swap], wanted, broken)}
    return {}


def _between_open_and_closed(body: Structural, grid: Grid, broken: Mask) -> Grid:
    """Values of closed rows against the blanks of open ones: all children at once, then each for itself."""
    open_ = body.when.truth(grid, len(broken))[0]
    changed = {child: grid[child].copy() for child in body.children}
    empty = open_ & np.all([np.isnan(values) for values in changed.values()], axis=0)
    left, right = _pairs(broken & ~open_, empty)
    for values in changed.values():
        values[left], values[right] = values[right], values[left]
        one, other = _pairs(~open_ & ~np.isnan(values), open_ & np.isnan(values))
        values[one], values[other] = values[other], values[one]
    return changed


def _with_free_rows(body: Implies, grid: Grid, broken: Mask) -> Grid:
    """Values that are not allowed against allowed ones of rows that the rule does not bind."""
    free = body.when.truth(grid, len(broken))[1]
    changed: Grid = {}
    for demand in body.demands:
        allowed, wrong = demand.truth(grid)
        left, right = _pairs(broken & wrong, free & allowed)
        values = grid[demand.column].copy()
        values[left], values[right] = values[right], values[left]
        changed[demand.column] = values
    return changed


def _under_their_ceiling(values: Values, ceiling: Values, broken: Mask, known: Mask) -> Values:
    """Values above their ceiling exchanged with ones of rows with much room, where both hold their ceiling after."""
    tall, roomy = np.flatnonzero(broken & known), np.flatnonzero(known & (values <= ceiling + ROUNDING))
    tall = tall[np.argsort(-values[tall], kind="stable")]
    roomy = roomy[np.argsort(-(ceiling[roomy] - values[roomy]), kind="stable")]
    count = min(len(tall), len(roomy))
    left, right = tall[:count], roomy[:count]
    fits = (values[left] <= ceiling[right] + ROUNDING) & (values[right] <= ceiling[left] + ROUNDING)
    left, right = left[fits], right[fits]
    moved = values.copy()
    moved[left], moved[right] = values[right], values[left]
    return moved


def _where_they_fit(values: Values, wanted: Values, broken: Mask) -> Values:
    """The smallest value to the broken row that wants least, and so on: nothing brings them nearer to `wanted`."""
    rows = np.flatnonzero(broken)
    moved = values.copy()
    moved[rows[np.argsort(wanted[rows], kind="stable")]] = np.sort(values[rows])
    return moved


def _pairs(left: Mask, right: Mask) -> tuple[_Rows, _Rows]:
    """As many rows of one side as of the other, spread evenly over the table."""
    sides = np.flatnonzero(left), np.flatnonzero(right)
    count = min(len(side) for side in sides)
    one, other = (side[np.linspace(0, len(side) - 1, count).round().astype(np.intp)] for side in sides)
    return one, other
