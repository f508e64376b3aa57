"""Questions to all sites at once, answered by secure sums modulo 2**64: one plan, one vector, one aggregation a round.

```
plan = Plan(questions=(Moments(Bounds("age_years", 0, 120)), Frequency("sex", ("male", "female"))), records=100_000)
query = Query(plan)
while not query.done:
    vector = query.fill(table)            at each site: uint64[query.length], then masked and summed (`protocol`)
    query = query.advance(total)          everywhere, with the verified sum
query.answers()
```

A round's sum is one attempt of `protocol`: `plan.config(...)` is its configuration, `plan.purpose` and the number of
the round enter `ctx0`, `query.layout_digest()` its layout and `query.digest()` takes the place of the model's hash in
`ctx1`, so that sites that saw different sums of earlier rounds never add up to anything.

The relay and the sites learn the sums of all rounds and nothing else. Whether a site answers exactly or adds noise to
its vector before masking it, suppresses small counts afterwards, and how many plans it answers, is its own policy's
affair: sums over few records, or over sets that differ in one record, reveal that record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from synthfed.secagg.contexts import SumConfig, digest, layout_digest, lp
from synthfed.secagg.questions import Known, Question, Table, describe_all
from synthfed.secagg.refusals import MalformedMessage, OutOfOrder
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Roster

_PLAN = b"synthfed/secagg/v1/plan"
_QUERY = b"synthfed/secagg/v1/query"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked, in one go.

    Attributes:
        questions: Each is answered on its own; all share the rounds.
        records: Public cap on the rows of one site; it decides the precision. A site with more rows refuses.
    """

    questions: tuple[Question, ...]
    records: int

    def __post_init__(self) -> None:
        if not self.questions:
            raise ValueError("a plan needs at least one question")
        if not 1 <= self.records <= 2**40:
            raise ValueError(f"a cap of {self.records} records is outside 1..2**40")

    def digest(self) -> bytes:
        """32 bytes that stand for the plan."""
        return digest(_PLAN, describe_all(self.questions, self.records))

    @property
    def purpose(self) -> str:
        """The purpose of its sums in `ctx0`."""
        return f"analytics:{self.digest().hex()}"

    def config(
        self, roster: Roster, *, mode: Literal["compressed", "pairwise", "full"] = "compressed", smallest: int
    ) -> SumConfig:
        """The configuration of its sums."""
        return SumConfig(
            bounds=(),
            scales=(),
            threshold=roster.threshold,
            smallest=smallest,
            pipeline_digest=self.digest(),
            mode=mode,
            ring="2^64",
            aux=False,
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A plan and the sums that its rounds gave so far; all public.

    Attributes:
        known: Per question, the sums of its cells in each round it took part in.
    """

    plan: Plan
    known: tuple[Known, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.known:
            object.__setattr__(self, "known", ((),) * len(self.plan.questions))

    @property
    def round_index(self) -> int:
        """How many rounds are done."""
        return max(len(known) for known in self.known)

    @property
    def length(self) -> int:
        """Cells of the next round."""
        return len(self.reach())

    @property
    def done(self) -> bool:
        return self.length == 0

    def digest(self) -> bytes:
        """32 bytes over the plan and everything known: what the next round rests on."""
        listed = (lp(*(lp(*(str(cell).encode() for cell in cells)) for cells in known)) for known in self.known)
        return digest(_QUERY, self.plan.digest(), *listed)

    def layout_digest(self) -> bytes:
        """The layout of the next round's vector."""
        return layout_digest([("query", (self.length,))])

    def reach(self) -> tuple[int, ...]:
        """The most that one record adds to each cell of the next round: what noise must be scaled to."""
        asked = zip(self.plan.questions, self.known, strict=True)
        return tuple(cell for question, known in asked for cell in question.reach(known, self.plan.records))

    def fill(self, table: Table) -> Ring:
        """A site's vector for the next round; uint64[length]. It tells all about the site: mask it.

        Raises:
            ValueError: More rows than the plan's cap, or columns of different lengths.
            KeyError: A column is not in the table.
            OutOfOrder: The query is done.
        """
        if self.done:
            raise OutOfOrder("this query is answered; there is no next round")
        sizes = {np.asarray(values).size for values in table.values()}
        if len(sizes) != 1 or max(sizes) > self.plan.records:
            raise ValueError(f"wanted columns of one length, at most {self.plan.records} rows (the plan's cap)")
        filled = [
            question.fill(known, table, self.plan.records)
            for question, known in zip(self.plan.questions, self.known, strict=True)
            if question.reach(known, self.plan.records)
        ]
        vector: Ring = np.concatenate(filled).view(np.uint64)
        return vector

    def advance(self, total: Ring) -> "Query":
        """The query after a round, given the verified sum; uint64[length].

        Raises:
            MalformedMessage: Another length or another ring.
        """
        if total.dtype != np.uint64 or total.size != self.length:
            raise MalformedMessage(f"a sum of {total.size} cells of {total.dtype}; wanted {self.length} of uint64")
        cells = total.view(np.int64).tolist()
        after, at = [], 0
        for question, known in zip(self.plan.questions, self.known, strict=True):
            size = len(question.reach(known, self.plan.records))
            after.append((*known, tuple(cells[at : at + size])) if size else known)
            at += size
        return Query(self.plan, tuple(after))

    def answers(self) -> tuple[Any, ...]:
        """One answer per question, in order.

        Raises:
            OutOfOrder: A round is missing.
        """
        if not self.done:
            raise OutOfOrder(f"round {self.round_index} of this query has not been summed yet")
        return tuple(
            question.answer(known, self.plan.records)
            for question, known in zip(self.plan.questions, self.known, strict=True)
        )


def answer_in_clear(plan: Plan, tables: Mapping[str, Table]) -> tuple[Any, ...]:
    """The same answers without any protection, for one party that holds all tables: rehearsals and comparisons."""
    query = Query(plan)
    while not query.done:
        vectors = [query.fill(table) for table in tables.values()]
        query = query.advance(np.sum(vectors, axis=0, dtype=np.uint64))
    return query.answers()
