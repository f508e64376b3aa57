"""Questions to hospitals that run on their own: planned and signed at the coordinator, decided on by each site.

A question run is a folder at the coordinator like one that trains. What is asked lies in it before the first site
hears of it (`questions.json`, `manifest.json`), so that a run that was stopped goes on, and its answers can be read
again. No row is here, and no site's own sum.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthfed.errors import ConfigError, FederationError
from synthfed.pipeline import Pipeline
from synthfed.run.asking.answering import Answered, plan_questions, spent_at_most, words_of_answers
from synthfed.run.asking.figures import read_answers
from synthfed.tables.dictionary import load_dictionary

if TYPE_CHECKING:
    from synthfed.tables.schema import Schema


_QUESTIONS = "questions.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a question run asks for.

    Attributes:
        texts: Questions; none at all describe every column.
        epsilon: What all answers together may cost one patient; None asks without noise.
        smallest_count: Counts below it are withheld where answers are shown.
    """

    texts: tuple[str, ...]
    epsilon: float | None
    smallest_count: int

    def __post_init__(self) -> None:
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ConfigError(
                f"epsilon is {self.epsilon}; wanted a positive, finite number (--exact asks without noise)"
            )


def is_question_run(folder: Path) -> bool:
    """Whether a run's folder is one of questions."""
    return (folder / _QUESTIONS).exists()


def begin_asking(folder: Path, wanted: Wanted) -> None:
    """Plan the questions and sign the run's manifest; no site is asked yet.

    Args:
        folder: A run's folder as `CoordinatorHome.begin_run` makes it, with the pipeline whose dictionary is asked.

    Raises:
        ConfigError: A question is not understood or does not fit the dictionary.
    """
    from synthfed.federation.durable import write_durably
    from synthfed.federation.inquiry import Inquiry
    from synthfed.federation.manifest import synthfed_version
    from synthfed.federation.server_app import keep_manifest, relay_and_roster
    from synthfed.federation.steps import SumSettings

    pipeline, schema = _asked_of(folder)
    planned = plan_questions(wanted.texts, schema, exact=wanted.epsilon is None)
    relay, roster = relay_and_roster(folder)
    inquiry = Inquiry(
        plan=planned.plan.to_json(),
        settings=SumSettings(),
        epsilon=wanted.epsilon,
        stated_at=pipeline.privacy.delta,
        noise_seed=0,
        roster=roster.digest().hex(),
        sites=tuple(member.site for member in roster.members),
        randomness="secure",
        simulated=False,
        version=synthfed_version(),
        nonce=os.urandom(32).hex(),
    )
    inquiry.check()
    body = {"questions": wanted.texts, "epsilon": wanted.epsilon, "smallest_count": wanted.smallest_count}
    write_durably(folder / _QUESTIONS, json.dumps(body, indent=1).encode())
    keep_manifest(folder, inquiry, relay)


def answers_in(folder: Path) -> Answered:
    """The answers of a question run that every site closed.

    Raises:
        FederationError: It is not one, not closed, or its folder is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from synthfed.federation.checkpoints import Checkpoints
    from synthfed.federation.deployment.runs import is_closed
    from synthfed.federation.inquiry import Inquiry, InquiryCourse
    from synthfed.federation.server_app import kept_manifest, relay_and_roster
    from synthfed.federation.words import inquiry_sentences, reduced_sentences

    if not is_question_run(folder):
        raise FederationError(f"run {folder.name!r} asked no questions; see `synthfed coordinator status`")
    if not is_closed(folder):
        raise FederationError(
            f"run {folder.name!r} is not answered by every site yet; go on with: synthfed coordinator submit --resume"
        )
    _, roster = relay_and_roster(folder)
    manifest = kept_manifest(folder, roster.relay_key)
    assert isinstance(manifest, Inquiry), "questions.json lies beside another manifest"
    try:
        wanted = _wanted_in(folder)
        sums = load_file(folder / "released.safetensors")
        standing = {f"round/{index}": sums[f"round/{index}"] for index in range(manifest.rounds)}
        ledgers: dict[str, dict[str, Any]] = json.loads((folder / "ledgers.json").read_bytes())
        away = {int(index): tuple(sites) for index, sites in json.loads((folder / "missing.json").read_bytes()).items()}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise FederationError(f"run {folder.name!r} lacks a usable file ({error}); restore its folder") from error
    _, schema = _asked_of(folder)
    exact = manifest.exact
    planned = plan_questions(wanted.texts, schema, exact=exact)
    if planned.plan.to_json() != manifest.plan:
        raise FederationError(f"questions.json of run {folder.name!r} is not what was asked; restore its folder")
    counted = len(manifest.sites) - max((len(sites) for sites in away.values()), default=0)
    stddevs = None if exact else manifest.noise_of_sums(counted=counted)[0]
    point = Checkpoints(folder / manifest.hash()).latest()
    said = inquiry_sentences(roster, manifest.sums, epsilon=manifest.epsilon, seeded=False, in_process=False)
    return Answered(
        answers=read_answers(
            planned,
            InquiryCourse(manifest).query(standing),
            schema,
            stddevs=stddevs,
            smallest_count=wanted.smallest_count,
        ),
        origin=f"tables that stayed at their hospitals: {', '.join(manifest.sites)}",
        sites=len(manifest.sites),
        noise_for=manifest.epsilon,
        epsilon=manifest.epsilon,
        delta=manifest.delta,
        spent_over_runs=None if exact else spent_at_most(ledgers),
        rounds=manifest.rounds,
        bytes_up=point.bytes_up if point else 0,
        bytes_down=point.bytes_down if point else 0,
        words=(
            *said,
            *reduced_sentences(away),
            *words_of_answers(planned, stddevs, epsilon=manifest.epsilon, smallest_count=wanted.smallest_count),
        ),
    )


def _asked_of(folder: Path) -> tuple[Pipeline, "Schema"]:
    pipeline = Pipeline.load(str(folder / "pipeline.toml"))
    return pipeline, load_dictionary(pipeline.disease).schema.select(pipeline.cohort.columns)


def _wanted_in(folder: Path) -> Wanted:
    raw: Mapping[str, Any] = json.loads((folder / _QUESTIONS).read_bytes())
    texts: Sequence[str] = raw["questions"]
    return Wanted(tuple(texts), raw["epsilon"], raw["smallest_count"])
