"""What a run says round by round: which stage, what comes next, and an epsilon that is never too small."""

from functools import partial
from types import SimpleNamespace
from typing import cast

import pytest

from synthfed.federation.manifest import RunManifest
from synthfed.federation.progress import Odometer, RoundDone, stage_and_coming
from synthfed.generators.base import Measure, Plan
from synthfed.generators.plan import round_events
from synthfed.privacy.accounting import epsilon_of
from synthfed.privacy.events import PrivacyEvent
from tests.federation.test_counting import federate

PLAN = Plan(4, 2, 1.0, 1.0, 5.0, 10.0, sites=4, measures=(Measure("tables", 2.0), Measure("edges", 4.0)))


def test_counting_rounds_are_named_while_they_go_on(tmp_path):
    seen: list[RoundDone] = []
    federate(tmp_path, progress=seen.append)
    assert [(done.stage, done.coming) for done in seen] == [
        ("counting tables", "counting edges, fitting the tree"),
        ("counting edges", ""),
    ]
    assert all(done.counted and done.update_norm == 0 for done in seen)


def test_a_run_of_questions_has_no_stages():
    assert stage_and_coming(cast(RunManifest, SimpleNamespace(rounds=2)), 0) == ("", "")


def test_epsilon_of_counts_and_training_adds_up_round_by_round():
    manifest = SimpleNamespace(rounds=6, delta=1e-5, round_events=partial(round_events, PLAN))
    odometer = Odometer(cast(RunManifest, manifest))
    shown = [odometer.after(done) for done in range(1, 7)]
    for done, epsilon in enumerate(shown, start=1):
        events = [event for index in range(done) for event in round_events(PLAN, index)]
        assert epsilon == pytest.approx(epsilon_of(events, 1e-5), rel=0.003)


def test_noise_in_shares_is_read_by_the_accountant_of_record():
    """The closed form for normal noise would be a little too small."""

    def events(index: int) -> tuple[PrivacyEvent, ...]:
        return (PrivacyEvent(f"round {index}", "skellam", "train", 64.0, 4.0, 1.0, 1, 512.0, sites=4, colluders=1),)

    odometer = Odometer(cast(RunManifest, SimpleNamespace(rounds=3, delta=1e-5, round_events=events)))
    for done in (1, 2, 3):
        charged = [event for index in range(done) for event in events(index)]
        assert odometer.after(done) >= epsilon_of(charged, 1e-5)
