"""A relay that dies between any two messages goes on where it was, with the same bytes."""

import numpy as np
import pytest

from synthfed.secagg.protocol import PartsRelaySession, RelaySession, Stage
from synthfed.secagg.refusals import AlreadyAnswered, SealBroken
from tests.secagg.federation import MODEL, attempt, key, make_context
from tests.secagg.liars import deliveries_with_a_liar


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


# --- nothing is forgotten ---------------------------------------------------------------------------------------------


def remembered(session):
    """Everything a session holds, comparable."""
    return {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in vars(session).items()}


class Comparing(Restarting):
    """A relay that is compared with its thawed self around every call."""

    def __getattr__(self, name):
        before = self.relay
        found = super().__getattr__(name)
        old, new = remembered(before), remembered(self.relay)
        for either in (old, new):
            either.pop("_identity")
            if "_uploads" in either:
                either["_uploads"] = {index: part.pack() for index, part in either["_uploads"].items()}
        assert old == new
        return found


@pytest.mark.parametrize(("mode", "verify"), [*CASES, ("shamir", "tag")])
def test_a_relay_remembers_everything_at_every_step(mode, verify):
    run = attempt(4, config={"mode": mode, "verify": verify})
    run.relay = Comparing(run)
    message, total = run.opened()
    for site in run.sites.values():
        if verify == "recompute":
            site.recompute(message, run.relay.evidence())
        else:
            site.verify(message)
        run.relay.add_close(site.close())
    assert np.array_equal(run.relay.result()[1], total)


def test_a_relay_remembers_everything_after_drops_and_complaints(monkeypatch):
    run = attempt(7, smallest=5)
    run.relay = Comparing(run)
    assert len(run.with_drops({10: "mask", 24: "unmask"})[1]) == 6
    run = attempt(4, smallest=3)
    run.relay = Comparing(run)
    delivery = deliveries_with_a_liar(run, monkeypatch, dealer=10, victim=3, lie="junk")[3]
    complaint = run.sites[3].complain(delivery.shares, delivery.sealed)
    assert run.relay.add_complaint(complaint) == ("site1",)
    assert run.relay.complaints() == (complaint,)


def thawed(run, site):
    """The site, after its process died."""
    again = type(site).thaw(
        site.freeze(),
        run.roster,
        site._own.site,
        key(site._own.site),
        run.context,
        config=run.config,
        smallest=run.smallest,
    )
    assert again._state == site._state
    return again


class Forgetful(dict):
    """Sites that die and come back whenever they are asked for."""

    def __init__(self, run):
        super().__init__(run.sites)
        self.run = run

    def __getitem__(self, index):
        self[index] = thawed(self.run, super().__getitem__(index))
        return super().__getitem__(index)

    def items(self):
        return [(index, self[index]) for index in self]

    def values(self):
        return [self[index] for index in self]


@pytest.mark.parametrize("mode", ["compressed", "pairwise", "full", "shamir"])
def test_a_site_that_dies_between_any_two_steps_remembers_everything(mode):
    run = attempt(4, config={"mode": mode})
    run.sites = Forgetful(run)
    total = run.finish()
    assert np.array_equal(total.view(np.int32), sum(vector.view(np.int32) for vector in run.inputs.values()))


def test_a_site_remembers_everything_at_every_stage():
    """A stage that is added without a restart here fails."""
    seen = set()

    def restart(run):
        seen.add(thawed(run, run.sites[3]).stage)

    dropped = attempt(4, smallest=3)
    restart(dropped)
    dropped.with_drops({10: "mask"}, lambda step: restart(dropped))
    restart(dropped)
    dealt = attempt(3, config={"mode": "full"})
    dealt.parts()
    restart(dealt)
    verified = attempt(3)
    message, _ = verified.result()
    verified.sites[3].verify(message)
    restart(verified)
    aborted = attempt(3)
    aborted.hellos()
    aborted.sites[3].abort()
    restart(aborted)
    assert seen == set(Stage)
