"""Question runs through the real apps: exact or noisy answers, paid for, refused by policy, nothing of one site."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from synthfed.errors import BudgetRefused, SiteRefused, TooFewSites
from synthfed.federation import records, wire, words
from synthfed.federation.inquiry import Inquiry, InquiryWork
from synthfed.federation.manifest import ManifestError, read_manifest
from synthfed.federation.one_process import Wiretap
from synthfed.federation.policy import Policy
from synthfed.federation.questions import Asked, AskNoise, ask_in_process
from synthfed.federation.refused import Refused
from synthfed.federation.steps import SumSettings
from synthfed.federation.wire import BadMessage
from synthfed.secagg.analytics import Plan, answer_in_clear, noisy_plan
from synthfed.secagg.questions import Bounds, Frequency, Moments, Quantiles, Table
from tests.federation.fakes import alter, is_kind

AGE = Bounds("age", 0, 120)
PLAN = Plan((Moments(AGE), Frequency("sex", ("male", "female")), Quantiles(AGE, 1.0, (0.25, 0.5))), records=10_000)

NOISY = noisy_plan(Plan(PLAN.questions[1:], records=10_000))


def tables(names: tuple[str, ...] = ("lyon", "milano", "berlin", "oslo")) -> dict[str, Table]:
    rng = np.random.default_rng(5)
    return {
        name: {
            "age": np.where(rng.random(40 + 30 * i) < 0.1, np.nan, rng.uniform(18, 95, 40 + 30 * i).round()),
            "sex": rng.integers(-1, 2, 40 + 30 * i),
        }
        for i, name in enumerate(names)
    }


def ask(work: Path, plan: Plan = PLAN, **settings: object) -> Asked:
    given: dict = {"simulated": True, "noise": None, "wiretap": None} | settings
    return ask_in_process(plan, given.pop("sites", tables()), work=work, **given)


def test_exact_answers_are_those_of_the_pooled_rows_and_cost_words_not_epsilon(tmp_path):
    asked = ask(tmp_path)
    assert asked.answers == answer_in_clear(PLAN, tables())
    assert asked.rounds > 1
    assert asked.stddevs == ()
    assert words.EXACT in asked.words
    assert all(ledger["events"] == [] for ledger in asked.ledgers.values())


def test_noisy_answers_are_near_and_both_populations_pay_the_epsilon_that_was_said(tmp_path):
    asked = ask(tmp_path, NOISY, noise=AskNoise(3.0), seed=11)
    exact = answer_in_clear(NOISY, tables())
    assert asked.answers != exact
    assert asked.rounds == 1
    found, wanted = asked.answers[0], exact[0]
    assert np.abs(np.subtract(found.counts, wanted.counts)).max() < 6 * max(asked.stddevs[0])
    for ledger in asked.ledgers.values():
        assert sorted(event["population"] for event in ledger["events"]) == ["holdout", "train"]
        assert 2.9 < ledger["epsilon_spent"] <= 3.0


def test_patients_noise_differs_from_run_to_run_and_simulated_noise_follows_the_seed(tmp_path):
    plan = NOISY
    ones = [ask(tmp_path / f"s{i}", plan, noise=AskNoise(1.0), seed=3).answers for i in range(2)]
    others = [ask(tmp_path / f"p{i}", plan, noise=AskNoise(1.0), seed=3, simulated=False).answers for i in range(2)]
    assert ones[0] == ones[1]
    assert others[0] != others[1]


def test_lasting_ledgers_refuse_the_question_too_many_before_anything_is_asked(tmp_path):
    plan, homes = NOISY, tmp_path / "homes"
    first = ask(tmp_path / "1", plan, noise=AskNoise(2.0), site_home=homes, epsilon_limit=2.5, simulated=False)
    assert first.ledgers["lyon"]["epsilon_spent"] <= 2.0
    with pytest.raises(BudgetRefused, match="--epsilon"):
        ask(tmp_path / "2", plan, noise=AskNoise(2.0), site_home=homes, epsilon_limit=2.5, simulated=False)
    assert not (tmp_path / "2").exists()


def test_a_stopped_question_run_goes_on_with_the_same_noise_and_is_charged_once(tmp_path):
    plan, left = NOISY, [9]

    def stop(message: Message) -> None:
        if message.metadata.message_type == "query.unmask":
            left[0] -= 1
            if left[0] == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(tmp_path, plan, noise=AskNoise(1.0), simulated=False, wiretap=Wiretap(faults=stop))
    asked = ask(tmp_path, plan, noise=AskNoise(1.0), simulated=False, resume=True)
    assert all(len(ledger["events"]) == 2 for ledger in asked.ledgers.values())


def test_the_relay_sees_no_count_minimum_maximum_or_level_of_one_site(tmp_path):
    """FSC sends n, min, max and keys in clear; a transcript of exact answers holds none of a cell of a site."""
    transcript: list[bytes] = []
    tap = Wiretap(serialise=True, on_message=lambda _, raw: transcript.append(raw))
    ask(tmp_path, wiretap=tap)
    everything = b"|".join(transcript)
    for site, table in tables().items():
        from synthfed.secagg.analytics import Query

        vector = Query(PLAN).fill(table)
        assert vector.tobytes() not in everything
        assert vector[:3].tobytes() not in everything, site


def test_sums_of_earlier_rounds_that_are_no_sums_are_refused(tmp_path):
    def tamper(message: Message) -> None:
        asked = is_kind(message, wire.RoundRequest)
        if asked and records.from_record(message.content, wire.RoundRequest).model != b"[]":
            alter(message, wire.RoundRequest, model=b"[[1, 2]]")

    with pytest.raises(SiteRefused, match="did not decode"):
        ask(tmp_path, wiretap=Wiretap(faults=tamper))


def manifest(**changes: object) -> Inquiry:
    inquiry = Inquiry(
        plan=PLAN.to_json(),
        settings=SumSettings(),
        epsilon=None,
        stated_at=1e-5,
        noise_seed=0,
        roster="0" * 64,
        sites=("berlin", "lyon", "milano"),
        randomness="secure",
        simulated=False,
        version="1",
        nonce="0" * 64,
    )
    return replace(inquiry, **changes)  # type: ignore[arg-type]


def test_a_question_manifest_reads_back_and_only_in_its_canonical_form():
    raw = manifest(epsilon=2.0, plan=NOISY.to_json()).to_bytes()
    assert read_manifest(raw).to_bytes() == raw
    for altered in (raw.replace(b'"epsilon":2.0', b'"epsilon": 2.0'), raw.replace(b"inquiry/1", b"inquiry/9"), b"{}"):
        with pytest.raises(ManifestError):
            read_manifest(altered)


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"questions": 0}, "policy.questions"),
        ({"questions": 5}, "policy.exact_answers"),
        ({"questions": 5, "exact_answers": True, "min_sites": 4}, "policy.min_sites"),
        ({"questions": 2, "exact_answers": True, "answered": 2}, "policy.questions"),
    ],
)
def test_a_site_answers_only_what_its_policy_allows(policy, code):
    answered = policy.pop("answered", 0)
    limits = Policy((), policy.pop("min_sites", 3), 10.0, 1e-5, 10, 0, **policy)
    with pytest.raises(Refused) as caught:
        limits.check(manifest(), answered=answered)
    assert caught.value.code == code


def test_noise_on_questions_of_several_rounds_is_refused():
    with pytest.raises(ValueError, match="noisy_plan"):
        manifest(epsilon=1.0).events()


def test_a_table_that_lacks_a_column_is_refused_by_code():
    with pytest.raises(Refused) as caught:
        InquiryWork(manifest(), {"sex": np.zeros(3)}).contribute(0, b"[]", noise_key=bytes(32))
    assert caught.value.code == "data"
    with pytest.raises(BadMessage):
        InquiryWork(manifest(), tables()["lyon"]).contribute(1, b"[]", noise_key=bytes(32))


def test_two_sites_are_too_few_and_nothing_is_written(tmp_path):
    with pytest.raises(TooFewSites):
        ask(tmp_path / "w", sites=tables(("lyon", "oslo")))
    assert not (tmp_path / "w").exists()


def test_an_audit_chain_of_a_question_run_says_what_was_summed(tmp_path):
    ask(tmp_path)
    lines = [
        json.loads(line)
        for path in (tmp_path / "sites" / "lyon" / "runs").glob("*/audit.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert [line["kind"] for line in lines][-1] == "closed"
    assert {line["kind"] for line in lines[:-1]} == {"masked"}
