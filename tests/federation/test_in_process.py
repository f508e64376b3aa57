"""A whole federation through real Flower apps: what is summed, what crosses, what survives a stop."""

import hashlib
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flwr.app import Message

from synthfed.errors import BudgetRefused, FederationError, SiteRefused, TooFewSites
from synthfed.federation import records, stages, training, wire, words
from synthfed.federation.in_process import FederationResult, RoundDone, Wiretap, run_in_process
from synthfed.federation.manifest import RunManifest
from synthfed.federation.progress import Odometer
from synthfed.federation.training import TrainingCourse
from synthfed.generators.base import Plan, flatten, unflatten
from synthfed.generators.plan import make_plan, round_events
from synthfed.privacy import accounting
from synthfed.secagg import ring
from synthfed.secagg.audit import verify_lines
from tests.federation.fakes import LAYOUT, MeanGenerator, TwoBlocks, alter, is_kind, small_pipeline, unequal_sites

SITES = unequal_sites()
CROSSINGS = 88  # 11 trips of 4 sites, both ways


def federate(
    work: Path,
    *,
    sites=SITES,
    pipeline=None,
    generator: MeanGenerator | None = None,
    tap: Wiretap | None = None,
    **settings: object,
) -> FederationResult:
    return run_in_process(
        pipeline=pipeline or small_pipeline(),
        transformer=TwoBlocks(),
        sites=sites,
        work=work,
        simulated=bool(settings.pop("simulated", True)),
        generator=generator or MeanGenerator(),
        wiretap=tap,
        **settings,
    )


def oracle(pipeline, sites=SITES) -> np.ndarray:
    """The same rounds as one plain loop: integers are added in the clear."""
    generator = MeanGenerator()
    plan = make_plan(pipeline, sites=len(sites))
    weights = generator.init(LAYOUT, seed=pipeline.seed)
    state = generator.start(weights)
    for index in range(plan.rounds):
        total = np.zeros(flatten(weights).size, np.uint32)
        for site, codes in sites.items():
            key = HKDF(SHA256(), 32, None, f"synthfed/noise/v1|{site}|{index}".encode()).derive(b"%d" % pipeline.seed)
            stint = generator.stint(weights, LAYOUT, codes, plan, round_index=index, noise_key=key)
            encoded = ring.encode(flatten(stint.change), bound=pipeline.federation.delta_bound, weight=1 / len(sites))
            total += encoded.values
        mean = ring.decode_sum(total, bound=pipeline.federation.delta_bound, total_weight=1.0)
        change = unflatten(mean.astype(np.float32), weights)
        weights, state = generator.apply(weights, state, change, LAYOUT, plan, round_index=index, seed=pipeline.seed)
    return flatten(weights)


class StopAt:
    """A fault that pulls the plug at one crossing."""

    def __init__(self, crossing: int) -> None:
        self.left = crossing

    def __call__(self, message: Message) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> FederationResult:
    return federate(tmp_path_factory.mktemp("whole"))


def charges(result: FederationResult) -> dict[str, int]:
    return {site: len(ledger["events"]) for site, ledger in result.ledgers.items()}


def test_federated_weights_equal_a_plain_loop(uninterrupted):
    np.testing.assert_array_equal(flatten(uninterrupted.final), oracle(small_pipeline()))
    np.testing.assert_array_equal(uninterrupted.released["means"], uninterrupted.final["means"])


def test_the_opened_sum_is_the_integer_sum_of_unequal_sites(tmp_path, monkeypatch):
    sent, opened = [], []
    encode, after = ring.encode, TrainingCourse.after

    def seen_encode(x, *, bound, weight):
        sent.append(encode(x, bound=bound, weight=weight))
        return sent[-1]

    def seen_after(self, standing, round_index, total, *, counted):
        opened.append(total.copy())
        return after(self, standing, round_index, total, counted=counted)

    monkeypatch.setattr(training.ring, "encode", seen_encode)
    monkeypatch.setattr(TrainingCourse, "after", seen_after)
    federate(tmp_path / "w")
    assert len(sent) == 12
    assert len(opened) == 3
    for index, total in enumerate(opened):
        of_round = [encoded.values.astype(np.uint64) for encoded in sent[4 * index : 4 * index + 4]]
        assert not np.array_equal(of_round[0], of_round[1])
        np.testing.assert_array_equal(total, sum(of_round) % 2**32)


def test_no_message_holds_a_sites_change_or_codes(tmp_path, monkeypatch):
    """A relay that keeps every byte has no site's vector, not as floats and not as ring integers."""
    secrets: list[bytes] = []
    encode = ring.encode

    def seen_encode(x, *, bound, weight):
        encoded = encode(x, bound=bound, weight=weight)
        secrets.extend([x.tobytes()[:16], encoded.values.tobytes()[:16]])
        return encoded

    monkeypatch.setattr(training.ring, "encode", seen_encode)
    transcript: list[bytes] = []
    kinds: list[str] = []

    def keep(message: Message, raw: bytes) -> None:
        transcript.append(raw)
        kinds.append(message.metadata.message_type)

    federate(tmp_path / "w", tap=Wiretap(serialise=True, on_message=keep))
    assert len(transcript) == CROSSINGS
    assert kinds.count("train.round") == kinds.count("query.unmask") == 24
    assert len(secrets) == 24
    everything = b"|".join(transcript)
    assert all(secret not in everything for secret in secrets)
    assert all(codes.tobytes()[:16] not in everything for codes in SITES.values())
    assert b"local_loss" not in everything
    assert b"clipped" not in everything


def test_two_seeded_runs_and_threads_give_the_same_weights(tmp_path, uninterrupted):
    threads = federate(tmp_path / "threads", workers=4)
    np.testing.assert_array_equal(flatten(threads.final), flatten(uninterrupted.final))


def test_real_patients_get_fresh_noise(tmp_path, uninterrupted):
    one, two = (federate(tmp_path / name, simulated=False) for name in "ab")
    assert not np.array_equal(one.final["means"], two.final["means"])
    assert not np.array_equal(one.final["means"], uninterrupted.final["means"])
    assert words.SEEDED not in one.words
    assert words.ONE_HOST in one.words


@pytest.mark.parametrize("crossing", [3, 12, 22, 28, 31, 38, 57, 73, 85])
def test_a_stopped_run_ends_with_the_same_weights(tmp_path, uninterrupted, crossing):
    generator = MeanGenerator()
    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, generator=generator, tap=Wiretap(faults=StopAt(crossing)))
    result = federate(tmp_path, generator=generator, resume=True)
    np.testing.assert_array_equal(flatten(result.final), flatten(uninterrupted.final))
    assert charges(result) == charges(uninterrupted) == dict.fromkeys(SITES, 3)
    assert len(generator.stints) == 12


@pytest.mark.parametrize("step", ["_work_and_park", "_charge", "open_session"])
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_between_two_steps_of_a_site_costs_nothing_twice(tmp_path, monkeypatch, uninterrupted, step, before):
    """Parking, charging and sealing each happen once, wherever the site's process dies."""
    whole = getattr(stages, step)
    calls = 0

    def dying(*args):
        nonlocal calls
        calls += 1
        if calls == 6 and before:
            raise KeyboardInterrupt
        out = whole(*args)
        if calls == 6:
            raise KeyboardInterrupt
        return out

    generator = MeanGenerator()
    monkeypatch.setattr(stages, step, dying)
    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, generator=generator)
    monkeypatch.setattr(stages, step, whole)
    result = federate(tmp_path, generator=generator, resume=True)
    np.testing.assert_array_equal(flatten(result.final), flatten(uninterrupted.final))
    assert charges(result) == dict.fromkeys(SITES, 3)
    assert len(generator.stints) == 12


def test_a_secure_run_that_crashed_after_parking_reuses_the_parked_noise(tmp_path, monkeypatch):
    charge = stages._charge
    monkeypatch.setattr(stages, "_charge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, simulated=False)
    (parked,) = tmp_path.glob("sites/*/runs/*/parked/*.safetensors")
    noised = hashlib.sha256(parked.read_bytes()).hexdigest()
    monkeypatch.setattr(stages, "_charge", charge)
    result = federate(tmp_path, simulated=False, resume=True)
    ids = [event["id"] for ledger in result.ledgers.values() for event in ledger["events"]]
    assert f"{noised}:0" in ids
    assert len(set(ids)) == 12


def test_a_finished_run_can_be_resumed_to_read_its_result_again(tmp_path, uninterrupted):
    federate(tmp_path)
    generator = MeanGenerator()
    again = federate(tmp_path, generator=generator, resume=True)
    np.testing.assert_array_equal(flatten(again.final), flatten(uninterrupted.final))
    assert generator.stints == []


def test_a_site_over_budget_refuses_and_nothing_is_trained(tmp_path):
    federate(tmp_path)
    for name in ("manifest.json", "manifest.sig"):  # forget the run, keep what the sites spent on it
        (tmp_path / "coordinator" / name).unlink()
    generator = MeanGenerator()
    kinds: list[str] = []
    tap = Wiretap(on_message=lambda message, _: kinds.append(message.metadata.message_type))
    with pytest.raises(BudgetRefused, match="refused enrol"):
        federate(tmp_path, generator=generator, tap=tap)
    assert set(kinds) == {"query.enrol"}
    assert generator.stints == []


def test_lasting_ledgers_add_up_over_runs_and_refuse_before_anything_is_written(tmp_path):
    homes = tmp_path / "homes"
    first = federate(tmp_path / "first", site_home=homes, epsilon_limit=12.0, simulated=False)
    spent = first.ledgers["lyon"]["epsilon_spent"]
    assert 0 < spent <= 12.0
    with pytest.raises(BudgetRefused, match=r"--epsilon-limit"):
        federate(tmp_path / "second", site_home=homes, epsilon_limit=1.2 * spent, simulated=False)
    assert not (tmp_path / "second").exists()
    again = federate(tmp_path / "third", site_home=homes, epsilon_limit=100.0, simulated=False)
    assert again.ledgers["lyon"]["epsilon_spent"] > 1.2 * spent


def test_fewer_than_three_sites_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TooFewSites, match="needs at least 3"):
        federate(tmp_path / "w", sites={name: SITES[name] for name in ("lyon", "oslo")})
    assert not (tmp_path / "w").exists()


def test_a_work_folder_with_a_run_is_neither_overwritten_nor_mixed(tmp_path):
    federate(tmp_path)
    with pytest.raises(FederationError, match="holds a run already"):
        federate(tmp_path)
    with pytest.raises(FederationError, match="another pipeline"):
        federate(tmp_path, pipeline=small_pipeline(federation__rounds=2), resume=True)
    with pytest.raises(FederationError, match="belongs to a run of sites"):
        federate(tmp_path, sites={f"x{name}": codes for name, codes in SITES.items()}, resume=True)


def test_a_site_with_too_few_rows_or_foreign_codes_refuses(tmp_path):
    few = dict(SITES) | {"oslo": SITES["oslo"][:3]}
    with pytest.raises(SiteRefused, match="site 'oslo' refused round"):
        federate(tmp_path / "few", sites=few)
    wide = dict(SITES) | {"oslo": SITES["oslo"] + 2}
    with pytest.raises(SiteRefused, match="site 'oslo' refused round"):
        federate(tmp_path / "wide", sites=wide)


def test_progress_shows_released_values_only(tmp_path):
    seen: list[RoundDone] = []
    result = federate(tmp_path, progress=seen.append)
    assert [done.round_index for done in seen] == [0, 1, 2]
    epsilons = [done.epsilon_so_far for done in seen]
    assert epsilons == sorted(epsilons)
    assert epsilons[-1] == pytest.approx(result.ledgers["lyon"]["epsilon_spent"])
    assert 0 < seen[0].bytes_moved < seen[-1].bytes_moved < result.bytes_up + result.bytes_down


def test_between_two_readings_the_shown_epsilon_is_never_too_small(monkeypatch):
    """Below full batch the accountant is asked a dozen times; a fake one counts steps and calls."""
    asked: list[int] = []

    def count_steps(events, delta):
        asked.append(sum(event.steps for event in events))
        return float(asked[-1])

    monkeypatch.setattr(accounting, "epsilon_of", count_steps)
    plan = Plan(100, 3, 0.5, 1.0, noise_multiplier=8.0, expected_batch=10.0, sites=4)
    odometer = Odometer(
        cast(RunManifest, SimpleNamespace(rounds=100, delta=1e-5, round_events=partial(round_events, plan)))
    )
    shown = [odometer.after(done) for done in range(1, 101)]
    assert all(epsilon >= 3 * done for done, epsilon in enumerate(shown, start=1))
    assert shown == sorted(shown)
    assert shown[-1] == 300
    assert len(set(asked)) <= 12


def test_audit_chains_hold(tmp_path):
    result = federate(tmp_path)
    from synthfed.federation.site import Site

    for name in SITES:
        site = Site(tmp_path / "sites" / name, name)
        lines = [line for path in site.folder.glob("runs/*/audit.jsonl") for line in path.read_text().splitlines()]
        verify_lines(lines, site.identity.public_key().public_bytes_raw())
        assert set(lines) <= set(result.audit)
        assert [json.loads(line)["kind"] for line in lines] == ["masked", "masked", "masked", "closed"]


def test_names_that_no_roster_takes_are_mapped_and_come_back(tmp_path):
    odd = dict(zip(("Hôpital Nord", "Hôpital Sud / 2", "ÄÖ", "oslo"), SITES.values(), strict=True))
    result = federate(tmp_path, sites=odd)
    assert list(result.ledgers) == list(odd)


def test_infinite_epsilon_trains_without_noise_and_says_so(tmp_path):
    result = federate(tmp_path, pipeline=small_pipeline(privacy__epsilon=float("inf")))
    assert words.NO_NOISE in result.words
    assert result.ledgers["lyon"]["epsilon_spent"] == "inf"


def test_three_sites_hear_what_three_sites_must_hear(tmp_path):
    three = {name: SITES[name] for name in ("lyon", "milano", "berlin")}
    result = federate(tmp_path, sites=three)
    assert result.words[:3] == (words.THREE_SITES, words.ALWAYS, words.TAG)
    np.testing.assert_array_equal(flatten(result.final), oracle(small_pipeline(), three))


def test_nobody_else_can_read_keys_or_state(tmp_path):
    federate(tmp_path)
    for site in (tmp_path / "sites").iterdir():
        assert site.stat().st_mode & 0o077 == 0
        for key in (site / "identity").iterdir():
            assert key.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("sites/*/runs/*/parked/*.safetensors"))


MARKER = "age=47-sex=F"


def _raise_marker(*_: object) -> None:
    raise ValueError(f"row 17: {MARKER}")


@pytest.mark.parametrize(
    ("module", "place"),
    [
        (training, "_checked_codes"),
        (training, "_weight"),
        (stages, "_charge"),
        (stages, "open_session"),
        (stages, "deal"),
    ],
)
def test_no_text_of_an_exception_leaves_a_site(tmp_path, monkeypatch, module, place):
    """Whatever raises inside a site, its words are found neither on the wire nor in the site's log."""
    monkeypatch.setattr(module, place, _raise_marker)
    transcript: list[bytes] = []
    tap = Wiretap(serialise=True, on_message=lambda _, raw: transcript.append(raw))
    with pytest.raises(SiteRefused) as caught:
        federate(tmp_path, tap=tap)
    assert MARKER not in str(caught.value)
    assert MARKER.encode() not in b"|".join(transcript)
    logs = [path.read_text() for path in tmp_path.glob("sites/*/site.log")]
    assert logs
    assert all("ValueError" in log and MARKER not in log for log in logs)


def test_a_generator_that_raises_ends_the_run_without_its_words(tmp_path):
    def fail(round_index: int) -> None:
        if round_index == 1:
            _raise_marker()

    with pytest.raises(SiteRefused, match="internal") as caught:
        federate(tmp_path, generator=MeanGenerator(fail=fail))
    assert MARKER not in str(caught.value)
    result = federate(tmp_path, resume=True)
    assert result.rounds == 3


def test_an_altered_model_or_result_is_refused_by_the_sites(tmp_path):
    """A relay that changes one coordinate of the announced sum is caught by every site's tag."""

    def tamper(message: Message) -> None:
        if is_kind(message, wire.RoundRequest):
            raw = bytearray(records.from_record(message.content, wire.RoundRequest).result)
            if raw:
                raw[-80] ^= 1
                alter(message, wire.RoundRequest, result=bytes(raw))

    with pytest.raises(SiteRefused, match="secure sum"):
        federate(tmp_path, tap=Wiretap(faults=tamper))
