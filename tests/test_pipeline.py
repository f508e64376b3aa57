"""Pipelines: one file says everything public, and a wrong key is named."""

from pathlib import Path

import pytest

from synthfed.errors import PipelineError
from synthfed.pipeline import Pipeline


@pytest.mark.parametrize("name", ["aml", "scd", "smoke"])
def test_shipped_pipelines_load(name: str) -> None:
    pipeline = Pipeline.load(name)
    assert pipeline.cohort.columns
    steps = pipeline.federation.rounds * pipeline.federation.local_steps
    assert pipeline.total_steps == (0 if pipeline.generator.kind == "marginal" else steps)


def test_wrong_key_is_named_with_its_section() -> None:
    with pytest.raises(PipelineError, match=r"privacy\.epsilo: unknown key"):
        Pipeline.load("aml").with_settings(["privacy.epsilo=2"])


def test_value_out_of_range_is_named() -> None:
    with pytest.raises(PipelineError, match=r"privacy\.epsilon.*greater than 0.*-1"):
        Pipeline.load("aml").with_settings(["privacy.epsilon=-1"])


def test_unknown_section_lists_the_sections() -> None:
    with pytest.raises(PipelineError, match="names no section 'privcy'"):
        Pipeline.load("aml").with_settings(["privcy.epsilon=1"])


def test_assignment_without_equals_shows_how() -> None:
    with pytest.raises(PipelineError, match=r"write --set privacy\.epsilon=2"):
        Pipeline.load("aml").with_settings(["privacy.epsilon"])


def test_missing_pipeline_lists_the_shipped_ones() -> None:
    with pytest.raises(PipelineError, match="aml, scd, smoke"):
        Pipeline.load("amk")


def test_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("title = ")
    with pytest.raises(PipelineError, match="not valid TOML"):
        Pipeline.load(broken)


def test_digest_ignores_order_and_comments_but_not_values(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "pipelines" / "smoke.toml").read_text()
    commented = tmp_path / "commented.toml"
    commented.write_text("# another comment\n" + text)
    smoke = Pipeline.load("smoke")
    assert Pipeline.load(commented).digest() == smoke.digest()
    assert smoke.replace(privacy__epsilon=9.0).digest() != smoke.digest()


def test_infinite_epsilon_switches_privacy_off_and_has_a_digest() -> None:
    off = Pipeline.load("smoke").with_settings(["privacy.epsilon=inf"])
    assert not off.privacy.enabled
    assert len(off.digest()) == 64


def test_another_generator_kind_starts_from_its_own_defaults() -> None:
    gan = Pipeline.load("smoke").with_settings(["generator.kind=ctgan"])
    assert gan.generator.kind == "ctgan"
    assert gan.generator == Pipeline.load("smoke").replace(generator__kind="ctgan").generator


@pytest.mark.parametrize(
    ("setting", "meant"),
    [("privacy.epsilom=3", "epsilon"), ("generator.hiden=3", "hidden")],
)
def test_a_misspelled_key_is_told_the_nearest_right_one(setting: str, meant: str) -> None:
    with pytest.raises(PipelineError, match=f"did you mean {meant}"):
        Pipeline.load("aml").with_settings([setting])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator__focus": (("NPM1", "sex", "NPM1"),)}, r"generator.*focus.*'NPM1'\] twice"),
        ({"generator__focus": (("NPM1",),)}, "1 columns.*name two to four"),
        ({"generator__focus": (("a", "b", "c", "d", "e"),)}, "5 columns.*name two to four"),
        ({"generator__kind": "tvae", "generator__start": "cold"}, "leave focus out, or set start = 'marginals'"),
    ],
)
def test_a_focus_that_cannot_be_asked_for_is_named(changes: dict[str, object], message: str) -> None:
    kept = Pipeline.load("smoke").replace(generator__kind="marginal", generator__focus=(("NPM1", "sex"),))
    with pytest.raises(PipelineError, match=message):
        kept.replace(**changes)


@pytest.mark.parametrize("kind", ["tvae", "ctgan"])
def test_every_kind_keeps_the_focus(kind: str) -> None:
    kept = Pipeline.load("smoke").replace(generator__kind="marginal", generator__focus=(("NPM1", "sex"),))
    assert kept.replace(generator__kind=kind).generator.focus == (("NPM1", "sex"),)
