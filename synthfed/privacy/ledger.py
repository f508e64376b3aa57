"""What a site's patients have spent over all runs: a ledger that refuses before anything is sent.

One sqlite file per site, for years. It holds entries that are only ever appended, each naming the hash of the one
before; everything else (what is reserved, charged, left) is a fold over them (`history.py`).

A run goes `reserve` (its whole plan, before contact with a row) -> `charge` (each release, before it leaves the site)
-> `close` (gives back what never ran). `reserve` asks the accountant; `charge` only counts steps against the plan, so
that it is quick. Each of the three is one transaction with `synchronous=FULL`: a crash leaves the ledger before or
after it, never between, and doing it again is harmless.

What the chain shows: a changed, deleted or inserted entry, and a truncated file. What it cannot show alone: a thief of
the file who recomputes the whole chain, or an old copy put back. The newest hash (`head`) therefore goes into each
signed release, and `open(expected_head=...)` refuses a ledger that does not contain it. Entries hold no count of
patients and nothing computed from rows.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from synthfed.errors import BudgetRefused, LedgerBroken, UnsupportedEvent
from synthfed.privacy.accounting import check_event, epsilon_alone, epsilon_of
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.history import SCHEMA, Entry, History, Run, event_dict, plain, plan_lines, short

_TABLES = """
create table if not exists entry (
    seq integer primary key, kind text not null, body text not null, previous text not null, hash text not null unique
);
create table if not exists head (one integer primary key check (one = 1), seq integer not null, hash text not null);
create trigger if not exists entry_is_kept before delete on entry begin select raise(abort, 'append-only'); end;
create trigger if not exists entry_is_fixed before update on entry begin select raise(abort, 'append-only'); end;
"""


class Ledger:
    """An open ledger of one site. Use it as a context manager, or call `shut`."""

    def __init__(self, connection: sqlite3.Connection, *, name: str, site: str, limit: Budget) -> None:
        """Take over an open connection; callers use `Ledger.open`."""
        self._connection = connection
        self._name = name
        self._history = History(site)
        self.site = site
        self.limit = limit

    @classmethod
    def open(cls, path: Path | None, *, site: str, limit: Budget, expected_head: str | None = None) -> "Ledger":
        """Open or begin the ledger of `site` and check every entry.

        Args:
            path: The file; its folder must exist. None keeps the ledger in memory (one table, no federation).
            limit: What the hospital allows one patient to lose in all runs together, at `limit.delta`.
            expected_head: A hash that this ledger once had, from a signed release or from the peers' records.

        Raises:
            LedgerBroken: The chain does not hold, the file is another site's, it is no ledger, or `expected_head` is
                not in it (a restored old copy).
            ValueError: `limit` is not positive, or its delta is not in (0, 1).
        """
        if not limit.epsilon > 0 or not 0 < limit.delta < 1:
            raise ValueError(f"limit is {limit}; epsilon must be positive and delta in (0, 1)")
        name = "in memory" if path is None else path.name
        connection = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=30.0)
        ledger = cls(connection, name=name, site=site, limit=limit)
        try:
            ledger._begin(expected_head)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise LedgerBroken(
                f"ledger {name} of site {site!r} cannot be read as a ledger ({error}); restore it, charge nothing"
            ) from error
        except BaseException:
            connection.close()
            raise
        return ledger

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()

    def shut(self) -> None:
        """Close the file; the ledger object is of no use afterwards."""
        self._connection.close()

    @property
    def head(self) -> str:
        """The hash of the newest entry: publish it, and nobody can rewrite what came before."""
        return self._history.head

    def reserve(self, manifest: str, events: Iterable[PrivacyEvent]) -> float:
        """Set the whole plan of a run aside, before any row is touched.

        Reserving the same plan under the same manifest again changes nothing.

        Args:
            manifest: Hash that names the run.

        Returns:
            Epsilon of everything charged and reserved at this site, this plan included, at `limit.delta`.

        Raises:
            BudgetRefused: It would exceed the limit, or the manifest already has another plan or is closed.
            UnsupportedEvent: The accountant cannot defend an event, or the plan is empty.
        """
        plan = plan_lines(events)
        if not plan:
            raise UnsupportedEvent(f"run {short(manifest)} plans no event; a run that touches rows names what it does")
        planned = [line.event("plan", steps) for line, steps in plan.items()]
        with self._transaction():
            run = self._history.runs.get(manifest)
            if run is not None and (run.closed or run.planned != plan):
                found = "is closed" if run.closed else "has another plan"
                raise BudgetRefused(
                    f"run {short(manifest)} {found} in the ledger of site {self.site!r}; begin a new run"
                )
            before = self._history.committed()
            if run is not None:
                return epsilon_of(before, self.limit.delta)
            total = epsilon_of([*before, *planned], self.limit.delta)
            if total > self.limit.epsilon:
                raise BudgetRefused(
                    f"site {self.site!r} allows epsilon {self.limit.epsilon:.6g} at delta {self.limit.delta:g} over "
                    f"all runs; {epsilon_of(before, self.limit.delta):.6g} is charged or reserved and run "
                    f"{short(manifest)} would make it {total:.6g}; lower privacy.epsilon, plan fewer steps, or have "
                    "the hospital raise its limit"
                )
            self._append(
                "reserve",
                {
                    "manifest": manifest,
                    "events": [event_dict(event) for event in planned],
                    "total": plain(total),
                    "limit": {"epsilon": plain(self.limit.epsilon), "delta": self.limit.delta},
                },
            )
        return total

    def charge(self, event_id: str, manifest: str, event: PrivacyEvent) -> None:
        """Book one release before it leaves the site.

        Args:
            event_id: Hash of the very bytes that will leave; charging it twice costs once.

        Raises:
            BudgetRefused: The run was never reserved or is closed; the event differs from its plan, has less noise
                than planned, or more steps than are left; the id was charged with other content.
            UnsupportedEvent: The accountant cannot defend the event.
        """
        check_event(event)
        with self._transaction():
            booked = self._history.charges.get(event_id)
            if booked is not None:
                if booked != (manifest, event):
                    raise BudgetRefused(
                        f"event {short(event_id)} was charged before with other content; nothing may be sent under it"
                    )
                return
            self._history.line_for(manifest, event)
            self._append("charge", {"id": event_id, "manifest": manifest, "event": event_dict(event)})

    def close(self, manifest: str) -> None:
        """End a run and give back what it reserved and never charged. Closing twice changes nothing.

        Raises:
            BudgetRefused: The run was never reserved.
        """
        with self._transaction():
            if not self._run(manifest).closed:
                self._append("close", {"manifest": manifest})

    def open_runs(self) -> tuple[str, ...]:
        """Runs whose plan is set aside and that are not closed, by manifest hash, oldest first."""
        with self._transaction():
            return tuple(name for name, run in self._history.runs.items() if not run.closed)

    def spent(self) -> float:
        """Epsilon of everything charged, over all runs, at `limit.delta`."""
        with self._transaction():
            return epsilon_of(self._history.charged(), self.limit.delta)

    def committed(self) -> float:
        """Epsilon of everything charged and still reserved, over all runs, at `limit.delta`."""
        with self._transaction():
            return epsilon_of(self._history.committed(), self.limit.delta)

    def committed_with(self, events: Iterable[PrivacyEvent]) -> float:
        """What `committed` would be after reserving `events`; nothing is reserved."""
        with self._transaction():
            return epsilon_of([*self._history.committed(), *events], self.limit.delta)

    def export(self, manifest: str | None = None) -> dict[str, Any]:
        """Plain JSON values for a release: what was charged, with the chain that shows it.

        With `manifest`, `events` holds that run's charges only; `entries` and `head` always cover the whole ledger.
        The local epsilons hold against all other sites together; the limit is on the others.
        Infinity is written "inf". Nothing in it is computed from rows. `history.check_export` checks it.

        Raises:
            BudgetRefused: `manifest` was never reserved.
        """
        with self._transaction():
            if manifest is not None:
                self._run(manifest)
            history = self._history
            return {
                "schema": SCHEMA,
                "site": self.site,
                "manifest": manifest,
                "limit": {"epsilon": plain(self.limit.epsilon), "delta": self.limit.delta},
                "epsilon_spent": plain(epsilon_of(history.charged(), self.limit.delta)),
                "epsilon_committed": plain(epsilon_of(history.committed(), self.limit.delta)),
                "epsilon_local_spent": plain(epsilon_alone(history.charged(), self.limit.delta)),
                "epsilon_local_committed": plain(epsilon_alone(history.committed(), self.limit.delta)),
                "events": history.charge_records(manifest),
                "entries": [{**entry._asdict(), "body": json.loads(entry.body)} for entry in self._entries(0)],
                "head": history.head,
            }

    def _run(self, manifest: str) -> Run:
        run = self._history.runs.get(manifest)
        if run is None:
            raise BudgetRefused(f"run {short(manifest)} was never reserved at site {self.site!r}")
        return run

    def _begin(self, expected_head: str | None) -> None:
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=full")
        self._connection.executescript(_TABLES)
        with self._transaction():
            if self._history.seq == 0:
                self._append("begin", {"schema": SCHEMA, "site": self.site})
            if expected_head is not None and not self._holds(expected_head):
                raise LedgerBroken(
                    f"ledger {self._name} of site {self.site!r} lacks the entry {short(expected_head)} that it once "
                    "had: an old copy was put back; restore the newest one, charge nothing"
                )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Lock the file, catch up with other processes, then commit, or leave everything as it was."""
        try:
            self._connection.execute("begin immediate")
            self._catch_up()
            yield
            self._connection.execute("commit")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            self._history = History(self.site)  # it may hold what was rolled back: the next call reads the file again
            raise

    def _catch_up(self) -> None:
        history = self._history
        if history.seq and not self._holds(history.head):
            raise self._cut_short()
        for entry in self._entries(history.seq):
            history.fold(entry)
        newest = self._connection.execute("select seq, hash from head").fetchone()
        if newest != ((history.seq, history.head) if history.seq else None):
            raise self._cut_short()

    def _append(self, kind: str, body: Mapping[str, Any]) -> None:
        entry = self._history.next_entry(kind, body)
        self._connection.execute("insert into entry values (?, ?, ?, ?, ?)", entry)
        self._connection.execute("insert or replace into head values (1, ?, ?)", (entry.seq, entry.hash))
        self._history.fold(entry)

    def _entries(self, after: int) -> list[Entry]:
        rows = self._connection.execute(
            "select seq, kind, body, previous, hash from entry where seq > ? order by seq", (after,)
        )
        return [Entry(*row) for row in rows]

    def _holds(self, head: str) -> bool:
        return self._connection.execute("select 1 from entry where hash = ?", (head,)).fetchone() is not None

    def _cut_short(self) -> LedgerBroken:
        return LedgerBroken(
            f"ledger {self._name} of site {self.site!r} lost entries at its end; restore the newest intact copy, "
            "charge nothing"
        )
