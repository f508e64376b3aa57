"""What a ledger's entries mean: a hash chain, folded into what is reserved, charged and left.

Pure values, no file: `ledger.py` stores entries durably and `statement.py` checks what a site handed over, both by the
fold here, so that an export that the fold accepts is one that the site's own ledger would have accepted.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from synthfed.errors import BudgetRefused, LedgerBroken, PrivacyError
from synthfed.privacy.accounting import check_event
from synthfed.privacy.events import Mechanism, Population, PrivacyEvent

SCHEMA = "synthfed.site-ledger/1"
GENESIS = "0" * 64
_SHARES = ("l1_sensitivity", "sites", "colluders", "numbers")  # of `PrivacyEvent`, in its order; for noise in shares


class Line(NamedTuple):
    """One line of a plan: events that cost the same."""

    mechanism: str
    population: str
    l2_sensitivity: float
    sample_rate: float
    l1_sensitivity: float
    sites: int
    colluders: int
    numbers: int
    noise_multiplier: float

    @classmethod
    def of(cls, event: PrivacyEvent) -> "Line":
        """The line an event belongs to."""
        return cls(
            event.mechanism,
            event.population,
            float(event.l2_sensitivity),
            float(event.sample_rate),
            float(event.l1_sensitivity),
            event.sites,
            event.colluders,
            event.numbers,
            float(event.noise_multiplier),
        )

    def event(self, purpose: str, steps: int) -> PrivacyEvent:
        """`steps` steps of this line."""
        return PrivacyEvent(
            purpose,
            cast(Mechanism, self.mechanism),
            cast(Population, self.population),
            self.l2_sensitivity,
            self.noise_multiplier,
            self.sample_rate,
            steps,
            self.l1_sensitivity,
            self.sites,
            self.colluders,
            self.numbers,
        )


class Entry(NamedTuple):
    """One link: `hash` covers everything else, and `previous` is the hash before."""

    seq: int
    kind: str
    body: str
    previous: str
    hash: str


@dataclass
class Run:
    """One reserved plan and how much of it was charged."""

    planned: dict[Line, int]
    charged: dict[Line, int] = field(default_factory=dict)  # by the plan's line, also where more noise was drawn
    closed: bool = False

    def left(self) -> list[PrivacyEvent]:
        """What may still be charged."""
        if self.closed:
            return []
        left = {line: steps - self.charged.get(line, 0) for line, steps in self.planned.items()}
        return [line.event("reserved", steps) for line, steps in left.items() if steps > 0]


@dataclass
class History:
    """All entries of one site's ledger up to `head`, folded."""

    site: str
    seq: int = 0
    head: str = GENESIS
    runs: dict[str, Run] = field(default_factory=dict)
    charges: dict[str, tuple[str, PrivacyEvent]] = field(default_factory=dict)  # event id -> (manifest, event)

    def charged(self) -> list[PrivacyEvent]:
        """Every release so far, over all runs."""
        return [event for _, event in self.charges.values()]

    def committed(self) -> list[PrivacyEvent]:
        """Every release so far, and every one that a reserved run may still make."""
        return self.charged() + [event for run in self.runs.values() for event in run.left()]

    def charge_records(self, manifest: str | None = None) -> list[dict[str, Any]]:
        """Charges as plain JSON values, in order; of one run, or of all."""
        return [
            {"id": event_id, "manifest": run, **event_dict(event)}
            for event_id, (run, event) in self.charges.items()
            if manifest is None or run == manifest
        ]

    def next_entry(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """The entry that would follow."""
        text = canonical(body)
        return Entry(self.seq + 1, kind, text, self.head, _hash(self.seq + 1, kind, text, self.head))

    def fold(self, entry: Entry) -> None:
        """Take in the next entry.

        Raises:
            LedgerBroken: It does not follow from what came before, or says what no ledger would have written.
        """
        expected = _hash(self.seq + 1, entry.kind, entry.body, self.head)
        if (entry.seq, entry.previous, entry.hash) != (self.seq + 1, self.head, expected):
            raise self._broken()
        try:
            body = json.loads(entry.body)
            match entry.kind:
                case "begin" if self.seq == 0:
                    self._begin(body)
                case "reserve" if self.seq and body["manifest"] not in self.runs:
                    self.runs[body["manifest"]] = Run(plan_lines(map(event_from, body["events"])))
                case "charge" if body["id"] not in self.charges:
                    event = event_from(body["event"])
                    line = self.line_for(body["manifest"], event)
                    charged = self.runs[body["manifest"]].charged
                    charged[line] = charged.get(line, 0) + event.steps
                    self.charges[body["id"]] = (body["manifest"], event)
                case "close":
                    self.runs[body["manifest"]].closed = True
                case _:
                    raise self._broken()
        except (KeyError, TypeError, ValueError, PrivacyError) as error:
            if isinstance(error, LedgerBroken):
                raise
            raise self._broken() from error
        self.seq, self.head = entry.seq, entry.hash

    def line_for(self, manifest: str, event: PrivacyEvent) -> Line:
        """The planned line that covers `event`: the same work with at most its noise, and steps left.

        Raises:
            BudgetRefused: There is none; the message says what differs.
        """
        run = self.runs.get(manifest)
        if run is None or run.closed:
            found = "is closed" if run else "was never reserved"
            raise BudgetRefused(f"run {short(manifest)} {found} at site {self.site!r}; nothing may be charged to it")
        wanted = Line.of(event)
        same = [line for line in run.planned if line[:-1] == wanted[:-1]]
        if not same:
            raise BudgetRefused(
                f"event {event.purpose!r} ({event.mechanism} on {event.population}, sample rate {event.sample_rate}, "
                f"sensitivity {event.l2_sensitivity}) is not in the plan of run {short(manifest)}; nothing may be sent"
            )
        enough = [line for line in same if line.noise_multiplier <= wanted.noise_multiplier]
        if not enough:
            raise BudgetRefused(
                f"event {event.purpose!r} has noise multiplier {event.noise_multiplier:.6g}; run {short(manifest)} "
                f"planned at least {min(line.noise_multiplier for line in same):.6g}; nothing may be sent"
            )
        for line in sorted(enough, reverse=True):
            if run.planned[line] - run.charged.get(line, 0) >= event.steps:
                return line
        raise BudgetRefused(
            f"event {event.purpose!r} takes {event.steps} steps; run {short(manifest)} has fewer left in its plan. "
            "Lost rounds stay charged: plan a new run"
        )

    def _begin(self, body: Mapping[str, Any]) -> None:
        if (body["schema"], body["site"]) != (SCHEMA, self.site):
            raise LedgerBroken(
                f"this ledger belongs to site {body['site']!r} (format {body['schema']}), not to {self.site!r} "
                f"({SCHEMA}); give each site its own file"
            )

    def _broken(self) -> LedgerBroken:
        return LedgerBroken(
            f"the ledger of site {self.site!r} does not hold at entry {self.seq + 1}: it was altered or cut short; "
            "restore the newest intact copy, charge nothing"
        )


def check_export(export: Mapping[str, Any]) -> History:
    """Fold what a site handed over, and check that its events are exactly the charges in its chain.

    Raises:
        LedgerBroken: An entry or event was altered, left out or added.
    """
    site = str(export.get("site"))
    history = History(site)
    try:
        for raw in export["entries"]:
            history.fold(Entry(raw["seq"], raw["kind"], canonical(raw["body"]), raw["previous"], raw["hash"]))
        expected = history.charge_records(export["manifest"])
        complete = list(export["events"]) == expected and export["head"] == history.head
    except (KeyError, TypeError) as error:
        raise LedgerBroken(f"the ledger export of site {site!r} is incomplete ({error}); ask the site again") from error
    if not complete:
        raise LedgerBroken(f"the events of site {site!r} are not the charges in its chain; ask the site again")
    return history


def plan_lines(events: Iterable[PrivacyEvent]) -> dict[Line, int]:
    """Steps per line, so that a reservation is short whatever the number of rounds."""
    steps: dict[Line, int] = {}
    for event in events:
        check_event(event)
        steps[Line.of(event)] = steps.get(Line.of(event), 0) + int(event.steps)
    return dict(sorted(steps.items()))


def event_dict(event: PrivacyEvent) -> dict[str, Any]:
    """An event as plain JSON values; what only noise in shares has, only there."""
    return {
        "purpose": event.purpose,
        "mechanism": event.mechanism,
        "population": event.population,
        "l2_sensitivity": float(event.l2_sensitivity),
        "noise_multiplier": float(event.noise_multiplier),
        "sample_rate": float(event.sample_rate),
        "steps": int(event.steps),
        **({name: getattr(event, name) for name in _SHARES} if event.mechanism == "skellam" else {}),
    }


def event_from(raw: Mapping[str, Any]) -> PrivacyEvent:
    """Undo `event_dict`; other keys are ignored.

    Raises:
        UnsupportedEvent: See `accounting.check_event`.
        KeyError, TypeError: A field is missing or no number.
    """
    event = PrivacyEvent(
        raw["purpose"],
        raw["mechanism"],
        raw["population"],
        raw["l2_sensitivity"],
        raw["noise_multiplier"],
        raw["sample_rate"],
        raw["steps"],
        *([raw[name] for name in _SHARES] if raw["mechanism"] == "skellam" else []),
    )
    check_event(event)
    return event


def plain(value: float) -> float | str:
    """A number as JSON can hold it: infinity is "inf"."""
    return "inf" if math.isinf(value) else value


def canonical(body: Mapping[str, Any]) -> str:
    """The one text of a JSON object."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def short(name: str) -> str:
    """The beginning of a hash, for messages."""
    return name if len(name) <= 12 else f"{name[:12]}…"


def _hash(seq: int, kind: str, text: str, previous: str) -> str:
    return hashlib.sha256(f"{SCHEMA}\n{seq}\n{kind}\n{previous}\n{text}".encode()).hexdigest()
