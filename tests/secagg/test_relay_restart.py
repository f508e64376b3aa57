"""A relay that dies between any two messages goes on where it was, with the same bytes."""

import numpy as np
import pytest

from synthfed.secagg.protocol import PartsRelaySession, RelaySession
from synthfed.secagg.refusals import AlreadyAnswered, SealBroken
from tests.secagg.federation import MODEL, attempt, key, make_context


class Restarting:
    """A relay that is frozen and thawed around every call."""

    def __init__(self, run):
        self.run = run
        self.relay = run.relay

    def __getattr__(self, name):
        run, kind = self.run, type(self.relay)
        length = self.relay._total.size
        self.relay = kind.thaw(
            self.relay.freeze(),
            run.roster,
            run.context,
            key("relay"),
            length=length,
            config=run.config,
            smallest=run.smallest,
        )
        return getattr(self.relay, name)


CASES = [(mode, verify) for mode in ("compressed", "pairwise", "full") for verify in ("tag", "recompute")]


@pytest.mark.parametrize(("mode", "verify"), [*CASES, ("shamir", "tag")])
def test_an_attempt_goes_on_after_a_restart_before_every_call(mode, verify):
    plain, broken = (attempt(4, config={"mode": mode, "verify": verify}, fixed="restart") for _ in range(2))
    broken.relay = Restarting(broken)
    message, total = plain.opened()
    again, same = broken.opened()
    assert message == again
    assert np.array_equal(total, same)
    if verify == "recompute":
        evidence = broken.relay.evidence()
        assert all(np.array_equal(s.recompute(again, evidence), total) for s in broken.sites.values())


@pytest.mark.parametrize("step", ["share", "mask", "survivors", "unmask", "result"])
def test_an_attempt_with_a_drop_goes_on_too(step):
    run = attempt(7, smallest=5)
    run.relay = Restarting(run)
    total, counted = run.with_drops({10: "mask", 24: step})
    expected = sum(run.inputs[index].view(np.int32).astype(np.int64) for index in counted)
    assert np.array_equal(total.view(np.int32), expected)


def test_a_relays_state_of_another_attempt_or_length_is_refused():
    run = attempt(3)
    run.masked()
    frozen = run.relay.freeze()
    other = make_context(run.roster, attempt=1)
    for context, length, raw in (
        (other, 16, frozen),
        (run.context, 15, frozen),
        (run.context, 16, frozen[:-1]),
        (run.context, 16, frozen + bytes(8)),
        (run.context, 16, b""),
    ):
        with pytest.raises(SealBroken):
            RelaySession.thaw(raw, run.roster, context, key("relay"), length=length)


def test_a_relays_state_of_another_mode_is_refused():
    run = attempt(3, config={"mode": "full"})
    run.deliveries()
    twin = attempt(3)
    twin.deliveries()
    with pytest.raises(SealBroken):
        RelaySession.thaw(run.relay.freeze(), run.roster, twin.context, key("relay"), length=16)
    with pytest.raises(SealBroken):
        PartsRelaySession.thaw(twin.relay.freeze(), run.roster, run.context, key("relay"), length=16, config=run.config)


def test_a_relay_that_forgot_its_last_step_cannot_open_a_second_sum():
    """From an older state the relay may count fewer vectors; the sites answer for the first set only."""
    run = attempt(5, smallest=4)
    masked = run.masked()
    for message in list(masked.values())[:4]:
        run.relay.add_masked(message)
    before = run.relay.freeze()
    heads = run.relay.heads()
    sent = run.sites[3].sign_survivors(heads)
    relay = RelaySession.thaw(before, run.roster, run.context, key("relay"), length=16, smallest=4)
    relay.add_masked(masked[31])

    with pytest.raises(AlreadyAnswered):
        run.sites[3].unmask(relay.heads())
    assert run.sites[3].sign_survivors(heads) == sent
    assert relay.deliveries(MODEL)
