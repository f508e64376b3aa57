"""The ledger: counts everything once, refuses before anything is sent, and notices when it was touched."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from synthfed.errors import BudgetRefused, LedgerBroken, UnsupportedEvent
from synthfed.privacy.accounting import epsilon_alone, epsilon_of
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.history import SCHEMA, History, check_export, event_dict
from synthfed.privacy.ledger import Ledger

RUN, OTHER = "a" * 64, "b" * 64
LIMIT = Budget(3.5, 1e-5)


def round_event(index: int, noise: float = 24.0, steps: int = 3) -> PrivacyEvent:
    return PrivacyEvent(f"round {index}", "gaussian", "train", 1.0, noise, 1.0, steps)


PLAN = [round_event(index) for index in range(100)]  # epsilon 3.02 at delta 1e-5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def opened(path: Path | None, limit: Budget = LIMIT, site: str = "lyon", **more: str) -> Ledger:
    return Ledger.open(path, site=site, limit=limit, **more)


def charged(path: Path, rounds: int = 3) -> dict[str, object]:
    with opened(path) as ledger:
        ledger.reserve(RUN, PLAN)
        for index in range(rounds):
            ledger.charge(f"id {index}", RUN, PLAN[index])
        return ledger.export()


def test_a_run_costs_what_was_charged_and_no_more(path: Path) -> None:
    with opened(path) as ledger:
        assert ledger.spent() == 0.0
        reserved = ledger.reserve(RUN, PLAN)
        assert reserved == epsilon_of(PLAN, 1e-5) == ledger.committed()
        for index in range(10):
            ledger.charge(f"id {index}", RUN, PLAN[index])
        assert ledger.spent() == epsilon_of(PLAN[:10], 1e-5) < reserved
        ledger.close(RUN)
        assert ledger.committed() == ledger.spent()


def test_the_ledger_outlives_the_process_that_wrote_it(path: Path) -> None:
    charged(path, rounds=5)
    with opened(path) as ledger:
        assert ledger.spent() == epsilon_of(PLAN[:5], 1e-5)


def test_the_same_charge_twice_costs_once(path: Path) -> None:
    with opened(path) as ledger:
        ledger.reserve(RUN, PLAN)
        ledger.charge("id 0", RUN, PLAN[0])
        ledger.charge("id 0", RUN, PLAN[0])
        assert ledger.spent() == epsilon_of(PLAN[:1], 1e-5)
        with pytest.raises(BudgetRefused, match="other content"):
            ledger.charge("id 0", RUN, round_event(0, noise=30.0))


def test_the_same_plan_reserved_twice_is_reserved_once(path: Path) -> None:
    with opened(path) as ledger:
        assert ledger.reserve(RUN, PLAN) == ledger.reserve(RUN, list(reversed(PLAN)))
        with pytest.raises(BudgetRefused, match="another plan"):
            ledger.reserve(RUN, PLAN[:50])


def test_runs_are_open_until_they_are_closed(path: Path) -> None:
    with opened(path) as ledger:
        assert ledger.open_runs() == ()
        ledger.reserve(RUN, PLAN[:2])
        ledger.reserve(OTHER, PLAN[:1])
        assert ledger.open_runs() == (RUN, OTHER)
        ledger.close(RUN)
        assert ledger.open_runs() == (OTHER,)


def test_a_second_run_may_use_only_what_the_first_left(path: Path) -> None:
    with opened(path) as ledger:
        ledger.reserve(RUN, PLAN)
        with pytest.raises(BudgetRefused, match=r"allows epsilon 3\.5 .* would make it 4"):
            ledger.reserve(OTHER, PLAN)
        ledger.charge("id 0", RUN, PLAN[0])
        ledger.close(RUN)
        assert ledger.reserve(OTHER, PLAN) == epsilon_of([*PLAN, PLAN[0]], 1e-5) <= LIMIT.epsilon


def test_what_was_refused_left_no_trace(path: Path) -> None:
    with opened(path, Budget(1.0, 1e-5)) as ledger:
        before = ledger.export()
        with pytest.raises(BudgetRefused):
            ledger.reserve(RUN, PLAN)
        assert ledger.export() == before


def test_a_lower_limit_refuses_later_runs_and_raising_it_allows_them(path: Path) -> None:
    charged(path, rounds=100)
    with opened(path, Budget(3.2, 1e-5)) as ledger, pytest.raises(BudgetRefused):
        ledger.reserve(OTHER, PLAN)
    with opened(path, Budget(5.0, 1e-5)) as ledger:
        ledger.reserve(OTHER, PLAN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noise_multiplier": 23.9}, "planned at least 24"),
        ({"sample_rate": 0.5}, "not in the plan"),
        ({"population": "holdout"}, "not in the plan"),
        ({"l2_sensitivity": 2.0}, "not in the plan"),
        ({"steps": 301}, "fewer left"),
    ],
)
def test_a_charge_outside_the_plan_is_refused(path: Path, changes: dict[str, object], said: str) -> None:
    with opened(path) as ledger:
        ledger.reserve(RUN, PLAN)
        with pytest.raises(BudgetRefused, match=said):
            ledger.charge("id", RUN, replace(PLAN[0], **changes))  # type: ignore[arg-type]
        assert ledger.spent() == 0.0


def test_more_noise_than_planned_is_welcome_and_counted_as_drawn(path: Path) -> None:
    with opened(path) as ledger:
        ledger.reserve(RUN, PLAN)
        ledger.charge("id", RUN, round_event(0, noise=48.0))
        assert ledger.spent() == epsilon_of([round_event(0, noise=48.0)], 1e-5)
        assert ledger.committed() < epsilon_of(PLAN, 1e-5)


def test_steps_run_out(path: Path) -> None:
    with opened(path) as ledger:
        ledger.reserve(RUN, PLAN[:2])
        ledger.charge("id 0", RUN, PLAN[0])
        ledger.charge("id 0 again", RUN, PLAN[0])  # a lost round done anew stays charged
        with pytest.raises(BudgetRefused, match="fewer left"):
            ledger.charge("id 1", RUN, PLAN[1])


def test_nothing_is_charged_to_an_unknown_or_closed_run(path: Path) -> None:
    with opened(path) as ledger:
        with pytest.raises(BudgetRefused, match="never reserved"):
            ledger.charge("id", RUN, PLAN[0])
        with pytest.raises(BudgetRefused, match="never reserved"):
            ledger.close(RUN)
        ledger.reserve(RUN, PLAN)
        ledger.close(RUN)
        ledger.close(RUN)
        with pytest.raises(BudgetRefused, match="is closed"):
            ledger.charge("id", RUN, PLAN[0])
        with pytest.raises(BudgetRefused, match="is closed"):
            ledger.reserve(RUN, PLAN)


def test_an_event_without_proof_is_refused(path: Path) -> None:
    with opened(path) as ledger:
        with pytest.raises(UnsupportedEvent):
            ledger.reserve(RUN, [])
        with pytest.raises(UnsupportedEvent):
            ledger.reserve(RUN, [replace(PLAN[0], mechanism="laplace")])  # type: ignore[arg-type]
        ledger.reserve(RUN, PLAN)
        with pytest.raises(UnsupportedEvent):
            ledger.charge("id", RUN, round_event(0, noise=math.nan))


def test_no_noise_fits_only_an_unlimited_ledger(path: Path) -> None:
    bare = [round_event(0, noise=0.0)]
    with opened(path) as ledger, pytest.raises(BudgetRefused, match="inf"):
        ledger.reserve(RUN, bare)
    with opened(path, Budget(math.inf, 1e-5)) as ledger:
        assert ledger.reserve(RUN, bare) == math.inf
        ledger.charge("id", RUN, bare[0])
        assert ledger.spent() == math.inf
        assert json.dumps(ledger.export(), allow_nan=False)
        assert ledger.export()["epsilon_spent"] == "inf"


def test_a_ledger_in_memory_behaves_the_same() -> None:
    with opened(None) as ledger:
        ledger.reserve(RUN, PLAN)
        ledger.charge("id", RUN, PLAN[0])
        assert ledger.spent() == epsilon_of(PLAN[:1], 1e-5)


@pytest.mark.parametrize("limit", [Budget(0.0, 1e-5), Budget(math.nan, 1e-5), Budget(1.0, 0.0)])
def test_a_limit_that_limits_nothing_sensible_is_wrong_use(path: Path, limit: Budget) -> None:
    with pytest.raises(ValueError, match="limit"):
        opened(path, limit)


def tampered(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for trigger in ("entry_is_kept", "entry_is_fixed"):
        connection.execute(f"drop trigger {trigger}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "update entry set body = replace(body, '24.0', '48.0') where kind = 'charge'",
        "update entry set kind = 'close' where seq = 3",
        "update entry set previous = hash where seq = 2",
        "delete from entry where seq = 3",
        "delete from entry where seq = (select max(seq) from entry)",
        "delete from entry",
        "delete from head",
        "update head set seq = seq - 1",
        "insert into entry values (99, 'close', '{}', 'x', 'y')",
    ],
)
def test_any_altered_entry_is_noticed(path: Path, statement: str) -> None:
    charged(path)
    tampered(path, statement)
    with pytest.raises(LedgerBroken, match="lyon"):
        opened(path)


def test_tampering_under_an_open_ledger_is_noticed(path: Path) -> None:
    with opened(path) as ledger:
        ledger.reserve(RUN, PLAN)
        ledger.charge("id 0", RUN, PLAN[0])
        tampered(path, "delete from entry where kind = 'charge'")
        with pytest.raises(LedgerBroken):
            ledger.charge("id 1", RUN, PLAN[1])


def test_entries_cannot_be_deleted_or_changed_by_accident(path: Path) -> None:
    charged(path)
    connection = sqlite3.connect(path)
    for statement in ("delete from entry", "update entry set body = '{}'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_a_chain_recomputed_with_impossible_content_is_refused(path: Path) -> None:
    """Even a thief who mends the hashes cannot charge what was never reserved."""
    forged = History("lyon")
    forged.fold(forged.next_entry("begin", {"schema": SCHEMA, "site": "lyon"}))
    charge = {"id": "x", "manifest": RUN, "event": event_dict(PLAN[0])}
    with pytest.raises(LedgerBroken):
        forged.fold(forged.next_entry("charge", charge))


def test_an_old_copy_put_back_is_noticed_by_a_published_head(path: Path, tmp_path: Path) -> None:
    charged(path, rounds=2)
    old = path.read_bytes()
    with opened(path) as ledger:
        ledger.charge("id 2", RUN, PLAN[2])
        published = ledger.head
    opened(path, expected_head=published).shut()
    path.write_bytes(old)
    with pytest.raises(LedgerBroken, match="old copy"):
        opened(path, expected_head=published)


def test_another_sites_file_and_a_file_of_something_else_are_refused(path: Path, tmp_path: Path) -> None:
    charged(path)
    with pytest.raises(LedgerBroken, match="belongs to site 'lyon'"):
        opened(path, site="milano")
    noise = tmp_path / "noise.sqlite"
    noise.write_bytes(bytes(range(256)) * 64)
    with pytest.raises(LedgerBroken, match="cannot be read"):
        opened(noise)


def test_two_processes_share_one_ledger(path: Path) -> None:
    with opened(path) as first, opened(path) as second:
        first.reserve(RUN, PLAN)
        second.charge("id 0", RUN, PLAN[0])
        first.charge("id 1", RUN, PLAN[1])
        second.charge("id 1", RUN, PLAN[1])
        assert first.spent() == second.spent() == epsilon_of(PLAN[:2], 1e-5)
        assert first.head == second.head


def test_a_charge_interrupted_anywhere_happened_or_did_not(path: Path) -> None:
    """sqlite is stopped once, after ever more of its own instructions, until the charge gets through."""
    charged(path, rounds=1)
    for patience in range(1, 10_000, 7):
        ledger = opened(path)
        countdown = iter([False] * patience + [True])
        ledger._connection.set_progress_handler(lambda left=countdown: next(left, False), 1)
        try:
            ledger.charge("id 1", RUN, PLAN[1])
            done = True
        except sqlite3.OperationalError:
            done = False
        ledger._connection.set_progress_handler(None, 1)
        expected = PLAN[:2] if done else PLAN[:1]
        assert ledger.spent() == epsilon_of(expected, 1e-5)
        ledger.shut()
        with opened(path) as again:
            assert again.spent() == epsilon_of(expected, 1e-5)
        if done:
            assert patience > 20
            return
    pytest.fail("the charge never got through")


def test_a_killed_site_loses_no_charge_that_it_acknowledged(path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.ledger import Ledger
event = PrivacyEvent("round", "gaussian", "train", 1.0, 24.0, 1.0, 1)
ledger = Ledger.open(Path({str(path)!r}), site="lyon", limit=Budget(float("inf"), 1e-5))
ledger.reserve("run", [PrivacyEvent("plan", "gaussian", "train", 1.0, 24.0, 1.0, 10**6)])
for index in range(10**6):
    ledger.charge(str(index), "run", event)
    print(index, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "25":
            os.kill(child.pid, signal.SIGKILL)
            break
    acknowledged = 25 + len(child.stdout.read().split())
    child.stdout.close()
    child.wait()
    with opened(path, Budget(math.inf, 1e-5)) as ledger:
        ids = [event["id"] for event in ledger.export()["events"]]
        assert ids == [str(index) for index in range(len(ids))]
        assert acknowledged + 1 <= len(ids) <= acknowledged + 2  # at most the one in flight


def _shared(noise: float = 30.0, **changes: object) -> PrivacyEvent:
    event = PrivacyEvent("round 0", "skellam", "train", 1100.0, noise, 1.0, 1, 33_000.0, 5, 1, 900)
    return replace(event, **changes)  # type: ignore[arg-type]


MIXED = [
    PrivacyEvent("measure 0", "gaussian", "train", 1.0, 9.0, 1.0, 1),
    PrivacyEvent("measure 1", "gaussian", "train", 1.0, 7.0, 1.0, 1),
    *(PrivacyEvent(f"round {index}", "gaussian", "train", 1.0, 3.0, 0.05, 3) for index in range(3)),
    PrivacyEvent("measure 0", "gaussian", "holdout", 1.0, 4.0, 1.0, 1),
    *(_shared(purpose=f"step {index}") for index in range(3)),
]


def test_counts_samples_and_shares_are_kept_by_one_ledger_and_survive_it(path: Path) -> None:
    with opened(path, Budget(9.0, 1e-5)) as ledger:
        assert ledger.reserve(RUN, MIXED) == epsilon_of(MIXED, 1e-5)
        for number, event in enumerate(MIXED):
            ledger.charge(f"id {number}", RUN, event)
            assert ledger.spent() == epsilon_of(MIXED[: number + 1], 1e-5)
    with opened(path, Budget(9.0, 1e-5)) as ledger:
        assert ledger.spent() == ledger.committed() == epsilon_of(MIXED, 1e-5)
        assert ledger._history.charged() == MIXED
        export = json.loads(json.dumps(ledger.export(), allow_nan=False))
        assert check_export(export).charged() == MIXED
        assert export["epsilon_spent"] == epsilon_of(MIXED, 1e-5)
        assert export["epsilon_local_spent"] == export["epsilon_local_committed"] == epsilon_alone(MIXED, 1e-5)


def test_a_run_of_another_kind_may_use_only_what_the_first_left(path: Path) -> None:
    """Two runs that each fit alone do not fit together, and what the first gave back the second may use."""
    first, second = MIXED[:5], MIXED[6:]
    alone = epsilon_of(first, 1e-5), epsilon_of(second, 1e-5)
    both = epsilon_of([*first, *second], 1e-5)
    assert max(alone) < both * 0.99
    with opened(path, Budget(both * 0.999, 1e-5)) as ledger:
        ledger.reserve(RUN, first)
        with pytest.raises(BudgetRefused, match="would make it"):
            ledger.reserve(OTHER, second)
        ledger.close(RUN)
        assert ledger.reserve(OTHER, second) == alone[1]
    with opened(path, Budget(both * 1.001, 1e-5)) as ledger:
        assert ledger.reserve("c" * 64, first) == both


@pytest.mark.parametrize(
    "changes",
    [
        {"sites": 4},
        {"colluders": 2},
        {"numbers": 500},
        {"l1_sensitivity": 40_000.0},
        {"noise_multiplier": 29.0},
        {"mechanism": "gaussian", "l1_sensitivity": 0.0, "sites": 1, "colluders": 0, "numbers": 0},
    ],
)
def test_a_share_that_differs_from_its_plan_is_refused(path: Path, changes: dict[str, object]) -> None:
    with opened(path) as ledger:
        ledger.reserve(RUN, [_shared()])
        with pytest.raises(BudgetRefused, match=r"not in the plan|planned at least"):
            ledger.charge("id 0", RUN, _shared(**changes))
        assert ledger.spent() == 0.0


def test_shares_on_sampled_patients_are_refused_before_anything_is_reserved(path: Path) -> None:
    with opened(path) as ledger, pytest.raises(UnsupportedEvent, match="sample_rate"):
        ledger.reserve(RUN, [_shared(sample_rate=0.5, numbers=0)])


class _Crash(BaseException):
    """The process ends here."""


class _Crashing:
    """A connection whose process ends after its n-th statement, right before the next; nothing after that is run."""

    def __init__(self, connection: sqlite3.Connection, statements: int) -> None:
        self._connection, self._left = connection, statements

    def execute(self, *statement: object) -> sqlite3.Cursor:
        if self._left == 0:
            raise _Crash
        self._left -= 1
        return self._connection.execute(*statement)  # type: ignore[arg-type]

    @property
    def in_transaction(self) -> bool:
        return False  # a dead process rolls nothing back: sqlite does, when the file is next opened

    def close(self) -> None:
        self._connection.close()


def test_a_crash_between_any_two_steps_of_a_run_loses_nothing(tmp_path: Path) -> None:
    """A site reserves, charges and closes; it ends at every statement in turn, starts again and repeats its work.

    Whatever it had been told was done stays done, nothing counts twice, and in the end the ledger is as if it had
    never stopped.
    """
    work = MIXED[:1] + MIXED[7:]

    def do(ledger: Ledger, told: list[str]) -> None:
        ledger.reserve(RUN, work)
        told.append("reserve")
        for number, event in enumerate(work):
            ledger.charge(f"id {number}", RUN, event)
            told.append(f"id {number}")
        ledger.close(RUN)
        told.append("close")

    for statements in range(200):
        path = tmp_path / f"{statements}.sqlite"
        ledger, told = opened(path), []
        ledger._connection = _Crashing(ledger._connection, statements)  # type: ignore[assignment]
        with suppress(_Crash):
            do(ledger, told)
        finished = "close" in told
        ledger.shut()
        with opened(path) as again:
            kept = again._history
            charged_ids = list(kept.charges)
            assert charged_ids == [f"id {number}" for number in range(len(charged_ids))]
            said = [name for name in told if name.startswith("id")]
            assert len(said) <= len(charged_ids) <= len(said) + 1  # what was in flight may have happened
            assert ("reserve" not in told) or RUN in kept.runs
            if not (RUN in kept.runs and kept.runs[RUN].closed):
                do(again, [])
            assert again._history.charged() == work
            assert again.spent() == again.committed() == epsilon_of(work, 1e-5)
            check_export(again.export(RUN))
        if finished:
            assert statements > 30
            return
    pytest.fail("the run never got through")


def test_an_export_shows_its_own_chain(path: Path) -> None:
    export = json.loads(json.dumps(charged(path), allow_nan=False))
    history = check_export(export)
    assert history.head == export["head"]
    assert [event["id"] for event in export["events"]] == ["id 0", "id 1", "id 2"]


def test_an_export_of_one_run_leaves_the_others_out_but_keeps_the_chain(path: Path) -> None:
    with opened(path, Budget(9.0, 1e-5)) as ledger:
        ledger.reserve(RUN, PLAN[:5])
        ledger.reserve(OTHER, PLAN[:5])
        ledger.charge("id 0", RUN, PLAN[0])
        ledger.charge("id 1", OTHER, PLAN[0])
        export = ledger.export(OTHER)
        assert [event["id"] for event in export["events"]] == ["id 1"]
        check_export(export)
        with pytest.raises(BudgetRefused, match="never reserved"):
            ledger.export("c" * 64)


@pytest.mark.parametrize("miss", ["event", "entry", "both", "last"])
def test_an_export_that_misses_a_charge_is_detected(path: Path, miss: str) -> None:
    export = charged(path)
    if miss in ("event", "both"):
        del export["events"][1]  # type: ignore[attr-defined]
    if miss in ("entry", "both"):
        del export["entries"][3]  # type: ignore[attr-defined]
    if miss == "last":
        del export["events"][-1], export["entries"][-1]  # type: ignore[attr-defined]
    with pytest.raises(LedgerBroken, match="lyon"):
        check_export(export)


@pytest.mark.parametrize("key", ["entries", "events", "head", "manifest"])
def test_an_export_without_a_part_is_incomplete(path: Path, key: str) -> None:
    export = charged(path)
    del export[key]
    with pytest.raises(LedgerBroken, match="incomplete"):
        check_export(export)
