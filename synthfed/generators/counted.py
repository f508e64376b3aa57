"""The counting rounds of a run: what sites are asked for, what they answer, what the noisy sums become.

Where the encoder is not public, round `histograms` counts the cells that it is made from; see `tables.coding`. Round
`tables` counts every column alone, with the survival endpoint, and in pairs. Which pairs matter is read off the
noisy sums, and round `edges` counts those again. Sites are sent the tables to count; whatever they are sent, a site
answers only if the tables cost no more than its manifest says, and noises all of them before anything leaves. What
follows from the sums is post-processing: the tree, its samples, and a network that starts from them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from synthfed.errors import TrainingError
from synthfed.generators.base import Codes, Layout, Measure, Plan
from synthfed.generators.marginal import (
    CountTable,
    MarginalModel,
    NoisyTables,
    PackedTable,
    ScoreTable,
    Table,
    Workload,
    cells_of,
    count,
    fit,
    mu_squared,
    remeasure,
    remeasure_cells_at_most,
    shot,
)
from synthfed.generators.plan import round_events
from synthfed.generators.shared import MOST_ROWS, count_scales, with_share
from synthfed.privacy.mechanisms import NoiseStream

_ROUNDING = 1e-9  # of mu squared: what adding up many small numbers may move


@dataclass(frozen=True, slots=True)
class Counting:
    """The rounds of tables of one run, numbered from 0; a function of its public fields.

    Attributes:
        patients: Declared number of patients.
    """

    layout: Layout
    workload: Workload
    plan: Plan
    patients: int

    def cells(self, round_index: int) -> int:
        """Length of the vector of a round of tables, known before anything is counted."""
        return _cells(self, round_index)

    def tables(self, known: Sequence[NoisyTables]) -> tuple[Table, ...]:
        """What the next round counts, given the sums so far."""
        if not known:
            return _first(self)
        return remeasure(self.layout, self.workload, known[0], mu=self.plan.measures[-1].mu)

    def noisy(self, known: Sequence[NoisyTables], total: npt.NDArray[np.int64], *, counted: int) -> NoisyTables:
        """Read a round's sum over `counted` sites."""
        tables = self.tables(known)
        counts = total[: cells_of(tables, self.layout)].astype(np.float64)
        if self.plan.shared is not None:
            counts /= count_scales(_stddevs(tables, self.layout), self.plan.shared)
        return NoisyTables(tables, counts, counted, self.plan.shares)

    def model(self, known: Sequence[NoisyTables]) -> MarginalModel:
        """The tree that fits all rounds' sums."""
        present = round(self.patients * known[-1].sites / self.plan.sites)
        return fit(self.layout, self.workload, known, patients=present)


@lru_cache(maxsize=8)
def _first(counting: Counting) -> tuple[Table, ...]:
    plan = counting.plan
    return shot(counting.layout, counting.workload, mu=plan.measures[-2].mu, sites=plan.sites / plan.shares)


@lru_cache(maxsize=16)
def _cells(counting: Counting, round_index: int) -> int:
    if round_index == 0:
        return cells_of(_first(counting), counting.layout)
    return max(remeasure_cells_at_most(counting.layout, counting.workload), 1)


def answer(
    codes: Codes, layout: Layout, tables: Sequence[Table], measure: Measure, *, cells: int, noise_key: bytes
) -> npt.NDArray[np.int64]:
    """A site's noised counts, padded with zeros to `cells`.

    Who sees them learns no more about one patient than a Gaussian mechanism of `measure.noise_multiplier` tells.

    Args:
        noise_key: 32 secret bytes, fresh for this round.

    Raises:
        TrainingError: The tables cost more than the measure, are longer than `cells`, or do not fit the layout.
    """
    length = _allowed_length(tables, layout, measure, cells)
    vector = np.zeros(cells, dtype=np.int64)
    noise = NoiseStream(noise_key).rounded_gaussian(length, _stddevs(tables, layout))
    vector[:length] = count(codes, layout, tables) + noise
    return vector


def shared_answer(
    codes: Codes,
    layout: Layout,
    tables: Sequence[Table],
    plan: Plan,
    *,
    round_index: int,
    cells: int,
    noise_key: bytes,
) -> npt.NDArray[np.int64]:
    """A site's counts, scaled up, with its share of the noise in all `cells`: to be masked and opened in a sum only.

    Who sees the sum learns what the round's event costs, who sees this vector what it costs alone; see `shared`.

    Args:
        noise_key: 32 secret bytes, fresh for this round.

    Raises:
        TrainingError: As `answer`; or more numbers or rows than the noise and the sum have room for.
    """
    assert plan.shared is not None
    length = _allowed_length(tables, layout, plan.measures[round_index], cells)
    if len(codes) > MOST_ROWS:
        raise TrainingError(f"a site has more than {MOST_ROWS} rows; their sums could wrap modulo 2**64")
    (event,) = round_events(plan, round_index)
    vector = np.zeros(cells, dtype=np.int64)
    vector[:length] = count(codes, layout, tables) * count_scales(_stddevs(tables, layout), plan.shared)
    return with_share(vector, event, noise_key=noise_key)


def _allowed_length(tables: Sequence[Table], layout: Layout, measure: Measure, cells: int) -> int:
    """Cells of the tables, if the plan allows them."""
    if not all(_fits(table, layout) for table in tables):  # before any row is looked at: a failure tells nothing
        raise TrainingError("the tables to count do not fit the layout; run the same synthfed everywhere")
    allowed, asked, length = measure.mu**2, mu_squared(tables), cells_of(tables, layout)
    if asked > allowed * (1 + _ROUNDING) or length > cells:
        raise TrainingError(
            f"the tables to count would cost mu^2 = {asked:.6g} in {length} cells; the plan allows {allowed:.6g} in "
            f"{cells}: nothing is counted"
        )
    return length


def _stddevs(tables: Sequence[Table], layout: Layout) -> npt.NDArray[np.float64]:
    """Of the noise that protects one patient, cell by cell."""
    return np.repeat([table.stddev for table in tables], [math.prod(table.shape(layout)) for table in tables])


def histogram_stddev(measure: Measure, blocks: int) -> float:
    """Noise of each cell where a patient adds 1 to one cell of every block, which moves them by sqrt(blocks)."""
    return measure.noise_multiplier * math.sqrt(blocks)


def answer_histograms(
    counts: npt.NDArray[np.int64], measure: Measure, *, blocks: int, noise_key: bytes
) -> npt.NDArray[np.int64]:
    """A site's noised histograms; who sees them learns no more about one patient than the measure says.

    Args:
        counts: `tables.fine.FineGrid.count` of the site's rows, at most one row per patient.
    """
    stddev = histogram_stddev(measure, blocks)
    noised: npt.NDArray[np.int64] = counts + NoiseStream(noise_key).rounded_gaussian(counts.size, stddev)
    return noised


def shared_histograms(
    counts: npt.NDArray[np.int64], plan: Plan, *, blocks: int, noise_key: bytes
) -> npt.NDArray[np.int64]:
    """A site's histograms, scaled up, with its share of the noise: to be masked and opened in a sum only.

    Raises:
        TrainingError: More numbers or rows than the noise and the sum have room for.
    """
    assert plan.shared is not None
    if counts.max(initial=0) > MOST_ROWS:
        raise TrainingError(f"a site has more than {MOST_ROWS} rows; their sums could wrap modulo 2**64")
    (event,) = round_events(plan, 0)
    scales = count_scales(np.full(counts.size, histogram_stddev(plan.measures[0], blocks)), plan.shared)
    return with_share(counts * scales, event, noise_key=noise_key)


def noisy_histograms(
    total: npt.NDArray[np.signedinteger[Any]], plan: Plan, *, blocks: int, counted: int
) -> tuple[npt.NDArray[np.float64], float]:
    """A sum of histograms over `counted` sites, and the standard deviation of the noise in a cell."""
    stddev = histogram_stddev(plan.measures[0], blocks)
    counts = total.astype(np.float64)
    if plan.shared is not None:
        counts /= count_scales(np.full(total.size, stddev), plan.shared)
    return counts, stddev * math.sqrt(counted / plan.shares)


def _fits(table: Table, layout: Layout) -> bool:
    widths = layout.widths
    if table.blocks[-1] >= len(widths):
        return False
    if isinstance(table, PackedTable):
        flags = all(widths[block] in (2, 3) for block in table.blocks)  # no, yes, and perhaps missing
        by = table.by is None or (table.by < len(widths) and _group(table.by_groups, widths[table.by]))
        return flags and by
    if isinstance(table, ScoreTable):
        lengths = [(block, len(rows[0])) for block, rows in zip(table.blocks, table.scores, strict=True)]
        lengths.append((table.by, len(table.contrast)))
        return all(block < len(widths) and length == widths[block] for block, length in lengths)
    return all(_group(table.groups_of(place), widths[block]) for place, block in enumerate(table.blocks))


def _group(groups: Sequence[int], width: int) -> bool:
    return not groups or (len(groups) == width and min(groups) >= 0 and max(groups) < width)


def to_bytes(tables: Sequence[Table]) -> bytes:
    """What sites are sent: the tables as canonical JSON."""
    return json.dumps([_plain(table) for table in tables], separators=(",", ":"), allow_nan=False).encode()


def _plain(table: Table) -> dict[str, object]:
    if isinstance(table, PackedTable):
        return {
            "flags": list(table.blocks),
            "by": table.by,
            "cap": table.cap,
            "stddev": table.stddev,
            "groups": list(table.by_groups),
        }
    if isinstance(table, ScoreTable):
        return {
            "scored": list(table.blocks),
            "scores": [[list(row) for row in rows] for rows in table.scores],
            "by": table.by,
            "contrast": list(table.contrast),
            "reach": table.reach,
            "stddev": table.stddev,
        }
    return {"blocks": list(table.blocks), "stddev": table.stddev, "groups": [list(part) for part in table.groups]}


def from_bytes(raw: bytes) -> tuple[Table, ...]:
    """Read `to_bytes`.

    Raises:
        TrainingError: The bytes are no list of tables.
    """
    try:
        listed = json.loads(raw)
        if not isinstance(listed, list):
            raise TypeError("no list of tables")
        return tuple(_read(table) for table in listed)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise TrainingError("what is to be counted cannot be read; run the same synthfed everywhere") from error


def _read(plain: Mapping[str, Any]) -> Table:
    if "flags" in plain:
        return PackedTable(
            tuple(int(block) for block in plain["flags"]),
            None if plain["by"] is None else int(plain["by"]),
            int(plain["cap"]),
            float(plain["stddev"]),
            tuple(int(group) for group in plain["groups"]),
        )
    if "scored" in plain:
        return ScoreTable(
            tuple(int(block) for block in plain["scored"]),
            tuple(tuple(tuple(int(score) for score in row) for row in rows) for rows in plain["scores"]),
            int(plain["by"]),
            tuple(int(one) for one in plain["contrast"]),
            int(plain["reach"]),
            float(plain["stddev"]),
        )
    return CountTable(
        tuple(int(block) for block in plain["blocks"]),
        float(plain["stddev"]),
        tuple(tuple(int(group) for group in part) for part in plain["groups"]),
    )
