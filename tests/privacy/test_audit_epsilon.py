"""Canaries: sound noise is never refuted beyond chance, and each of three faults in the noise turns the audit red."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from synthfed.generators.base import Layout, Measure, Plan
from synthfed.generators.clipping import FlatNetwork
from synthfed.generators.counted import answer
from synthfed.generators.dpsgd import private_steps
from synthfed.generators.marginal import CountTable
from synthfed.privacy.accounting import epsilon_alone, epsilon_of
from synthfed.privacy.audit_epsilon import EpsilonAudit, Mechanism, audit_scores, audit_sum, lower_bound
from synthfed.privacy.budget import calibrate_event, calibrate_noise, count_stddev, gdp_mu
from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.mechanisms import NoiseStream, seeded_key

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
DELTA = 1e-5


@pytest.mark.parametrize(
    ("canaries", "all_guessed", "tenth_guessed"),
    [(100, 3.5, 1.1), (200, 4.2, 1.8), (500, 5.1, 2.8), (1000, 5.8, 3.5), (2000, 6.5, 4.1)],
)
def test_the_ceilings_are_the_known_ones(canaries: int, all_guessed: float, tenth_guessed: float) -> None:
    for guesses, expected in ((canaries, all_guessed), (canaries // 10, tenth_guessed)):
        bound = lower_bound(canaries=canaries, guesses=guesses, right=guesses, delta=DELTA)
        assert bound == pytest.approx(expected, abs=0.06)


def test_without_delta_the_bound_is_the_binomial_one() -> None:
    """All of r right has probability q**r, so epsilon = logit(.05 ** (1/r))."""
    q = 0.05 ** (1 / 200)
    assert lower_bound(canaries=500, guesses=200, right=200, delta=0.0) == pytest.approx(
        math.log(q / (1 - q)), abs=1e-5
    )


def test_guessing_shows_nothing_and_more_right_guesses_show_more() -> None:
    bounds = [lower_bound(canaries=1000, guesses=100, right=right, delta=DELTA) for right in range(101)]
    assert bounds[:59] == [0.0] * 59
    assert bounds == sorted(bounds)
    assert lower_bound(canaries=1000, guesses=100, right=90, delta=1e-3) < bounds[90]


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_randomised_response_is_refuted_as_rarely_as_promised(epsilon: float) -> None:
    """Each coin is told truly with the largest probability that epsilon allows: the worst mechanism there is."""
    rng = np.random.default_rng(5)
    truth = math.exp(epsilon) / (1 + math.exp(epsilon))
    audits = []
    for _ in range(200):
        coins = rng.random(1000) < 0.5
        told = np.where(rng.random(1000) < truth, coins, ~coins) + rng.random(1000) * 1e-3
        audits.append(audit_scores(told.astype(float), coins, claimed_epsilon=epsilon, delta=0.0))
    assert sum(audit.refuted for audit in audits) <= 20  # 5 % of 200 is 10; 20 has probability .002
    assert np.median([audit.lower_bound for audit in audits]) > 0.35 * epsilon


def gaussian_sum(noise: float, seed: int) -> Mechanism:
    stream = NoiseStream(seeded_key(seed, "audit"))
    return lambda mask: mask + noise * stream.normal(len(mask))


@pytest.mark.parametrize(("epsilon", "shown"), [(1.0, 0.0), (3.0, 0.25), (10.0, 0.2)])
def test_calibrated_noise_is_not_refuted_and_some_of_it_is_seen(epsilon: float, shown: float) -> None:
    noise = 1 / gdp_mu(epsilon, DELTA)
    audits = [
        audit_sum(
            gaussian_sum(noise, seed),
            np.eye(1000),
            claimed_epsilon=epsilon,
            delta=DELTA,
            coins=np.random.default_rng(seed),
        )
        for seed in range(10)
    ]
    assert not any(audit.refuted for audit in audits)
    assert np.median([audit.lower_bound for audit in audits]) >= shown * epsilon
    assert "not refuted" in str(audits[0])


class Faulty:
    """A noise source whose normals are too small by a factor."""

    def __init__(self, factor: float) -> None:
        self.stream, self.factor = NoiseStream(seeded_key(3, "faulty")), factor

    def normal(self, size: int) -> Floats:
        return self.stream.normal(size) * self.factor

    def uniform(self, size: int) -> Floats:
        return self.stream.uniform(size)

    def bernoulli(self, rate: float, n: int) -> Mask:
        return self.stream.bernoulli(rate, n)


CANARIES, STEPS, CLIP, REACH = 1000, 3, 0.7, 40.0
PLAN = Plan(
    rounds=1, local_steps=STEPS, sample_rate=1.0, clip_norm=CLIP, noise_multiplier=0.0, expected_batch=500.0, sites=1
)


def _score(module: nn.Module, batch: Tensor) -> Tensor:
    scores: Tensor = module(batch)
    return scores.squeeze(1)


def dpsgd_audit(epsilon: float, *, noise: float = 1.0) -> EpsilonAudit:
    """Real DP-SGD steps on a linear score: canary i's gradient is 40 along its own axis (and 1 on the bias), then cut.

    Over the stint each canary moves the released sum by 3 clip norms along its axis.
    """
    multiplier = calibrate_noise(epsilon=epsilon, delta=DELTA, sample_rate=1.0, steps=STEPS)
    plan = replace(PLAN, noise_multiplier=multiplier)
    rows = REACH * torch.eye(CANARIES)

    def mechanism(mask: Mask) -> Floats:
        network = FlatNetwork(nn.Linear(CANARIES, 1))
        done = private_steps(
            network, rows[torch.from_numpy(mask)], _score, plan, rate=1.0, round_index=0, noise=Faulty(noise)
        )
        assert epsilon_of(done.events, DELTA) <= epsilon
        return -done.change.astype(np.float64) * plan.expected_batch

    gradients = np.hstack([REACH * np.eye(CANARIES), np.ones((CANARIES, 1))])
    contributions = STEPS * CLIP * gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    return audit_sum(mechanism, contributions, claimed_epsilon=epsilon, delta=DELTA, coins=np.random.default_rng(11))


@pytest.mark.parametrize(("epsilon", "shown"), [(1.0, 0.0), (3.0, 0.25)])
def test_real_training_steps_keep_what_they_claim(epsilon: float, shown: float) -> None:
    audit = dpsgd_audit(epsilon)
    assert not audit.refuted, str(audit)
    assert audit.lower_bound >= shown * epsilon
    assert audit.ceiling > epsilon  # or the claim could not have been refuted at all


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_training_steps_with_too_little_noise_are_refuted(noise: float) -> None:
    audit = dpsgd_audit(3.0, noise=noise)
    assert audit.refuted, str(audit)


def test_training_steps_that_do_not_clip_are_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    clipped = FlatNetwork.clipped_sum
    monkeypatch.setattr(FlatNetwork, "clipped_sum", lambda self, losses, clip_norm: clipped(self, losses, 1e9))
    audit = dpsgd_audit(3.0)
    assert audit.refuted, str(audit)


def site_counts(stddev: float, *, rows_each: int = 1) -> Mechanism:
    """A site's real answer to "count this column": each canary is alone in a level of its own."""

    def mechanism(mask: Mask) -> Floats:
        codes = np.repeat(np.flatnonzero(mask), rows_each).astype(np.int32)[:, None]
        layout, tables = Layout(("column",), (len(mask),)), (CountTable((0,), stddev),)
        measure = Measure("tables", stddev)
        return answer(codes, layout, tables, measure, cells=len(mask), noise_key=seeded_key(1, "cells")).astype(float)

    return mechanism


def in_shares(share_variance: float, sites: int) -> Mechanism:
    """The same counts summed over sites that each draw a share."""
    streams = [NoiseStream(seeded_key(2, site)) for site in range(sites)]
    return lambda mask: np.sum([mask, *(s.skellam(len(mask), share_variance) for s in streams)], axis=0).astype(float)


def cells_audit(mechanism: Callable[[Mask], Floats], epsilon: float) -> EpsilonAudit:
    """A canary's score is the count of its cell."""
    took_part = np.random.default_rng(21).random(4000) < 0.5
    return audit_scores(mechanism(took_part), took_part, claimed_epsilon=epsilon, delta=DELTA)


def test_noisy_counts_keep_what_they_claim() -> None:
    audit = cells_audit(site_counts(count_stddev(gdp_mu(3.0, DELTA))), 3.0)
    assert 0.75 <= audit.lower_bound <= 3.0, str(audit)


@pytest.mark.parametrize("factor", [0.0, 0.25])
def test_counts_with_too_little_noise_are_refuted(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = NoiseStream.rounded_gaussian
    monkeypatch.setattr(NoiseStream, "rounded_gaussian", lambda s, size, stddev: sound(s, size, factor * stddev))
    assert cells_audit(site_counts(count_stddev(gdp_mu(3.0, DELTA))), 3.0).refuted


def test_patients_who_count_ten_times_are_refuted() -> None:
    assert cells_audit(site_counts(count_stddev(gdp_mu(3.0, DELTA)), rows_each=10), 3.0).refuted


def test_counts_with_noise_in_shares_keep_both_claims() -> None:
    """All five shares, and the own one alone: what four colluding sites could compute."""
    event = PrivacyEvent("measure 0", "skellam", "train", 1.0, 1.0, 1.0, 1, 1.0, sites=5, colluders=1)
    noise = calibrate_event(event, epsilon=1.0, delta=DELTA)
    event = PrivacyEvent("measure 0", "skellam", "train", 1.0, noise, 1.0, 1, 1.0, sites=5, colluders=1)
    everybody = cells_audit(in_shares(event.share_variance, 4), epsilon_of([event], DELTA))
    own = cells_audit(in_shares(event.share_variance, 1), epsilon_alone([event], DELTA))
    assert not everybody.refuted
    assert not own.refuted
    assert own.lower_bound > everybody.lower_bound
    assert cells_audit(in_shares(event.share_variance / 64, 4), 1.0).refuted


@pytest.mark.parametrize(
    ("counts", "words"),
    [((10, 11, 5), "guesses"), ((10, 5, 6), "guesses"), ((10, 0, 0), "guesses"), ((10, 5, -1), "guesses")],
)
def test_impossible_counts_are_wrong_use(counts: tuple[int, int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lower_bound(canaries=counts[0], guesses=counts[1], right=counts[2], delta=DELTA)


def test_wrong_shapes_and_probabilities_are_wrong_use() -> None:
    with pytest.raises(ValueError, match="probabilities"):
        lower_bound(canaries=10, guesses=5, right=5, delta=1.0)
    with pytest.raises(ValueError, match="coins"):
        audit_scores(np.zeros(5), np.zeros(4, dtype=bool), claimed_epsilon=1.0, delta=DELTA)
    with pytest.raises(ValueError, match="guessed"):
        audit_scores(np.zeros(5), np.zeros(5, dtype=bool), claimed_epsilon=1.0, delta=DELTA, guessed=(0.0,))
    with pytest.raises(ValueError, match="released"):
        audit_sum(lambda mask: np.zeros(3), np.eye(4), claimed_epsilon=1.0, delta=DELTA, coins=np.random.default_rng(0))
