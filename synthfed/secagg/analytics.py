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

The relay and the sites learn the sums of all rounds and nothing else. But sums over few records, or over sets that
differ in one record, reveal that record; only noise answers that. With noise, one asks `noisy_plan(plan)`, which takes
one round, and each site adds normal noise of `noise_stddevs(query, mu)` to its vector, rounded to whole numbers, before
it masks it. Then one record more or less at a site changes what anybody sees, all other sites included, by no more than
Gaussian differential privacy of `mu` allows (arXiv 1905.02383): every part of the vector is a Gaussian mechanism, and
rounding, masking and everything computed from the sums come after it. Unit: one record at one site. Adjacency: add or
remove it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from synthfed.secagg.contexts import SumConfig, digest, layout_digest, lp
from synthfed.secagg.questions import Known, Part, Question, Table, describe_all
from synthfed.secagg.questions.codec import decode_question, encode_question
from synthfed.secagg.refusals import MalformedMessage, OutOfOrder
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Roster

_PLAN = b"synthfed/secagg/v1/plan"
_QUERY = b"synthfed/secagg/v1/query"
_MOST_CELLS = 1 << 20  # of one round
_MOST_TEXT = 1 << 26  # characters of a plan
_WIDEST_NOISE = 2.0**40  # what the sampler of whole-numbered normals takes; far from where a sum could wrap


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
        cells = sum(part.cells for question in self.questions for part in question.parts((), self.records))
        if cells > _MOST_CELLS:
            raise ValueError(f"the plan needs {cells} cells in its first round, at most {_MOST_CELLS} fit; ask less")

    def to_json(self) -> str:
        """Canonical text: the same plan, the same text."""
        plain = {"questions": [encode_question(question) for question in self.questions], "records": self.records}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Rebuild a plan from exactly the text that `to_json` writes.

        Raises:
            MalformedMessage: Anything else.
        """
        try:
            if len(text) > _MOST_TEXT:
                raise ValueError(f"{len(text)} characters")
            raw = json.loads(text)
            if type(raw["records"]) is not int:
                raise TypeError("records")
            plan = cls(tuple(decode_question(plain) for plain in raw["questions"]), raw["records"])
            canonical = plan.to_json()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise MalformedMessage(f"this is not the text of a plan ({type(error).__name__})") from error
        if canonical != text:
            raise MalformedMessage("this is not the canonical text of its plan; write plans with `to_json`")
        return plan

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
        return sum(part.cells for part in self.all_parts())

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

    def parts(self) -> tuple[tuple[Part, ...], ...]:
        """The parts of the next round's vector, by question; what noise must be scaled to."""
        asked = zip(self.plan.questions, self.known, strict=True)
        return tuple(question.parts(known, self.plan.records) for question, known in asked)

    def all_parts(self) -> tuple[Part, ...]:
        """The same in one list."""
        return tuple(part for parts in self.parts() for part in parts)

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
            for question, known, parts in zip(self.plan.questions, self.known, self.parts(), strict=True)
            if parts
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
        for known, parts in zip(self.known, self.parts(), strict=True):
            size = sum(part.cells for part in parts)
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


def noisy_plan(plan: Plan) -> Plan:
    """The plan in the form that noise can be added to: the same columns and answers, in one round.

    A search for quantiles becomes one histogram, moments about the mean become moments about the middle of the bounds.
    """
    return Plan(tuple(question.noisy() for question in plan.questions), plan.records)


def round_mu(query: Query, mu_total: float) -> float:
    """The share of `mu_total` that the next round spends; 1 / this is the noise multiplier to charge.

    A noisy plan has one round, which spends everything.

    Raises:
        ValueError: The plan is not the noisy form of itself, so that later rounds would rest on noise; or `mu_total`
            is not positive and finite.
        OutOfOrder: The query is done.
    """
    if not 0 < mu_total < math.inf:
        raise ValueError(f"mu is {mu_total}; wanted a positive, finite number")
    if noisy_plan(query.plan) != query.plan:
        raise ValueError("noise needs a plan whose questions take one round; ask `noisy_plan(plan)`")
    if query.done:
        raise OutOfOrder("this query is answered; there is no next round to add noise to")
    return mu_total


def noise_stddevs(query: Query, mu_total: float) -> npt.NDArray[np.float64]:
    """Standard deviation of the normal noise that each site adds to each cell of the next round; float64[length].

    mu^2 is split evenly over the questions, and each question's share evenly over its parts: whatever is asked about
    is equally well protected and equally well answered, relative to how far a record can move it. In the units of the
    cells; over N sites the noise of the sum is sqrt(N) times as wide.

    Raises:
        ValueError: As in `round_mu`; or noise beyond what can be drawn.
        OutOfOrder: The query is done.
    """
    mu_squared = round_mu(query, mu_total) ** 2 / len(query.plan.questions)
    stddevs = np.concatenate(
        [
            np.full(part.cells, part.sensitivity * math.sqrt(len(parts) / mu_squared))
            for parts in query.parts()
            for part in parts
        ]
    )
    if stddevs.max() > _WIDEST_NOISE:
        raise ValueError(f"mu {mu_total:g} leaves nothing but noise for so many questions; ask fewer, or spend more")
    return stddevs


def stddevs_of_sum(stddevs: npt.NDArray[np.float64], sites: int) -> npt.NDArray[np.float64]:
    """Standard deviations in the sum of all sites, each of which rounds its noise to whole numbers; float64[length]."""
    total: npt.NDArray[np.float64] = np.sqrt(sites * (stddevs**2 + 1 / 12))
    return total
