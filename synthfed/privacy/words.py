"""What a release ledger says beside its numbers: the promise, whom it needs trust in, what it covers and what not.

`mode` is what `statement.py` writes under that name: where the noise came from, how many sites, how many may collude.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from synthfed.pipeline import Pipeline
from synthfed.privacy.history import plain

NO_GUARANTEE = "no formal guarantee"
EXACT_SUMS = "Exact sums over held-out patients left the sites as well; no epsilon covers them."
UNIT = "one patient: all rows of that patient at one site, capped at one row"

_SECRET = "AES-256-CTR under a fresh 32-byte key of the operating system per stint, normals by Box and Muller"
_SEEDED = "AES-256-CTR under keys derived from the public seed of the pipeline, normals by Box and Muller"
_FLOATS = (
    "noise on weight changes and their sums are floating-point numbers; the proof is for real numbers. Noise on counts "
    "is whole numbers and their sums are exact; a number is off by one with probability 1e-14 times its deviation at "
    "most"
)

_WHOLE = (
    "shared noise and its sums are whole numbers and exact; what 53-bit uniforms leave of error in the sampler "
    "(transformed rejection) is estimated at 1e-14 in total variation per number"
)

_LEFT_THE_SITE = "every weight change and every noisy count that left a site, in every round"
_LEFT_IN_SUMS = "every sum over the sites that was opened, in every round"
_COVERED = (
    "the model, the synthetic table, the rules enforced on it and all that is computed from these alone: "
    "post-processing, at no further cost",
    "bounds, levels, missing levels, how many codes a column has, network shapes, number of steps: public by "
    "declaration, not read from rows, so they cost nothing; where a dictionary publishes no cell limits they follow "
    "from noisy histograms, whose charge is listed",
)


def guarantee(
    epsilon: float, alone: float, delta: float, mode: Mapping[str, Any], *, seeded: bool, simulated: bool
) -> str:
    """The promise in one sentence, or that there is none."""
    patients = " The patients are simulated." if simulated else ""
    if math.isinf(epsilon):
        return f"{NO_GUARANTEE}: differential privacy was switched off.{patients}"
    if seeded:
        return (
            f"{NO_GUARANTEE}: the noise follows from a public seed, and who knows it can subtract the noise.{patients}"
        )
    against = ""
    if mode["noise"] == "shared":
        against = (
            f" It holds against readers, the server and {_up_to(mode['colluders'])} of {mode['sites']}; against all "
            f"other sites together epsilon is {alone:.6g}."
        )
    return (
        f"({epsilon:.6g}, {delta:g})-differential privacy for {UNIT}; neighbours add or remove one patient."
        f"{against}{patients}"
    )


def trust(epsilon: float, alone: float, mode: Mapping[str, Any]) -> str:
    """Against whom the number holds, and who has to be trusted for it."""
    if mode["noise"] == "local":
        return (
            f"Every site adds its own full noise before anything leaves it: epsilon {epsilon:.6g} holds against "
            "readers, the server and all other sites together, and even if the secure sum fails. A patient has to "
            "trust the own site and the software that runs there."
        )
    return (
        f"Each of {mode['sites']} sites adds a share of the noise, and only the sum is opened: epsilon {epsilon:.6g} "
        f"holds against readers, the server and {_up_to(mode['colluders'])} that tell what they drew or draw "
        f"nothing. Against all other sites together, and if the secure sum fails, epsilon is {alone:.6g}. A patient "
        "has to trust the own site, the software that runs there, the secure sum and the other sites' shares."
    )


def _up_to(sites: int) -> str:
    return f"up to {sites} sites" if sites > 1 else "one site" if sites else "no site"


def covered(mode: Mapping[str, Any]) -> list[str]:
    """What the number is about."""
    return [_LEFT_IN_SUMS if mode["noise"] == "shared" else _LEFT_THE_SITE, *_COVERED]


def implementation(pipeline: Pipeline, mode: Mapping[str, Any], *, seeded: bool) -> dict[str, str]:
    """How the noise was drawn, and what of that is outside the proof."""
    return {
        "randomness": _SEEDED if seeded else _SECRET,
        "sampling": "full batch" if pipeline.federation.sample_rate == 1 else "Poisson, one coin per patient",
        "floating_point": _FLOATS,
        **({"whole_numbers": _WHOLE} if mode["noise"] == "shared" else {}),
    }


def not_covered(pipeline: Pipeline, sites: int, mode: Mapping[str, Any]) -> list[str]:
    """What the number is not about."""
    privacy = pipeline.privacy
    lines = [
        "side channels: time, memory, power, sizes of logs, and what an administrator of a site sees",
        "relatives, and others about whom a patient's rows tell: the unit is one patient",
        "what is true of the disease and would be learned without the patient: inference about populations",
        f"that each site has at least {pipeline.cohort.min_rows} training patients: a smaller site is refused",
        "who was eligible, that a site took part, and when: the server sees it",
        "a patient treated at two sites: the sites' costs add up",
        "words and numbers about attacks, and every score measured against real rows but those that population "
        "'holdout' paid for: they stay at the site, and where one is shown it is outside this epsilon",
        "bounds, levels and units of the dictionary: public by declaration; whoever took them from these rows "
        "released them without paying",
        "choices made by people after looking at the rows, and earlier releases of the same patients by other software",
        "floating point: " + _FLOATS,
    ]
    if privacy.delta > 1 / (10 * privacy.expected_patients):
        lines.append(
            f"delta {privacy.delta:g} is more than 1/(10 x {privacy.expected_patients} expected patients): "
            "the chance of a larger loss is not small for a cohort of that size"
        )
    if mode["noise"] == "shared":
        lines.append(
            "that a site drew its share of the noise: nothing proves it to the others, and a site that does not is one "
            f"of the {mode['colluders']} sites that epsilon allows for"
        )
    if sites == 1:
        lines.append("one site: nothing was added to its contribution but its own noise")
    return lines


def public(pipeline: Pipeline, merged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each number that was public by declaration, and where it was declared."""
    privacy = pipeline.privacy
    noise = sorted({event["noise_multiplier"] for event in merged})
    declared = {
        "columns": (len(pipeline.cohort.columns), "pipeline.toml: cohort.columns"),
        "bounds, levels, scales, decimals, missing levels": ("as written", "dictionary.toml"),
        "expected_patients": (privacy.expected_patients, "pipeline.toml: privacy"),
        "epsilon": (plain(privacy.epsilon), "pipeline.toml: privacy"),
        "delta": (privacy.delta, "pipeline.toml: privacy"),
        "clip_norm": (privacy.clip_norm, "pipeline.toml: privacy"),
        "noise_multiplier": (noise, "calibrated from epsilon, delta, sample_rate and steps"),
        **(_trained(pipeline) if pipeline.training_rounds else {}),
        "min_rows": (pipeline.cohort.min_rows, "pipeline.toml: cohort"),
        "holdout_fraction": (pipeline.cohort.holdout_fraction, "pipeline.toml: cohort"),
        "generator": (pipeline.generator.kind, "pipeline.toml: generator"),
        **_scored(pipeline, merged),
        "pipeline_sha256": (pipeline.digest(), "pipeline.toml"),
    }
    return [{"name": name, "value": value, "declared_in": place} for name, (value, place) in declared.items()]


def _scored(pipeline: Pipeline, merged: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, str]]:
    """What was counted of held-out patients is public too: it follows from dictionary and synthetic table."""
    if not any(event["population"] == "holdout" for event in merged):
        return {}
    return {
        "epsilon_holdout": (plain(pipeline.holdout_epsilon or math.inf), "pipeline.toml: evaluation"),
        "cells counted of held-out patients": ("dictionary and synthetic table", "holdout_counts.json"),
    }


def _trained(pipeline: Pipeline) -> dict[str, tuple[float, str]]:
    federation, place = pipeline.federation, "pipeline.toml: federation"
    return {
        "rounds": (federation.rounds, place),
        "local_steps": (federation.local_steps, place),
        "sample_rate": (federation.sample_rate, place),
        "delta_bound": (federation.delta_bound, place),
    }
