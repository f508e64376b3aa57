"""Those who train and those held out stay two sets of patients over all runs of a site.

A patient is held out where a keyed hash of the id falls below the pipeline's fraction (`cohorts.holdout.is_held_out`),
so a run with a larger fraction holds out patients who trained in one with a smaller. Such a patient would pay in both
populations, while a release counts the larger of the two. Scoring is therefore refused with a larger fraction than any
training run of the site had, and training with a smaller one than any scoring run had.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthfed.errors import BudgetRefused
from synthfed.federation.manifest import Manifest, RunManifest
from synthfed.federation.refused import Refused
from synthfed.federation.scoring import Scoring

_TRAINING, _SCORING = "synthfed.manifest/", "synthfed.scoring/"  # whatever version


def require_disjoint(manifest: RunManifest, folder: Path) -> None:
    """Refuse a run after which a patient could have trained and been scored as held out; and a second exact scoring.

    Args:
        folder: The site's folder; runs that it enrolled in are looked at.

    Raises:
        Refused: `holdout`, or `policy.exact_answers`: exact sums were given for this table before. Repeated with
            other cells they would tell of single patients.
    """
    if not isinstance(manifest, Manifest | Scoring):
        return  # questions charge both populations
    others = [body for name, body in _enrolled(folder) if name != manifest.hash()]
    fraction = manifest.parse_pipeline().cohort.holdout_fraction
    trained, scored = _fractions(others, _TRAINING), _fractions(others, _SCORING)
    if isinstance(manifest, Manifest):
        if fraction < max(scored, default=0.0):
            raise Refused("holdout")
        return
    if fraction > min(trained, default=1.0):
        raise Refused("holdout")
    same = [body for body in others if body["schema"] == manifest.schema_name and body["table"] == manifest.table]
    if manifest.exact and same:
        raise Refused("policy.exact_answers")


def require_fraction(homes: Mapping[str, Path], fraction: float, *, scores: bool) -> None:
    """The same before a run on one host is begun, with words for the person who can change the setting.

    Args:
        scores: Whether the run will score held-out patients.

    Raises:
        BudgetRefused: An earlier run recorded there held out other patients.
    """
    for site, home in homes.items():
        others = [body for _, body in _enrolled(home)]
        scored, trained = (
            max(_fractions(others, _SCORING), default=0.0),
            min(_fractions(others, _TRAINING), default=1.0),
        )
        if fraction < scored:
            raise BudgetRefused(
                f"site {site!r}: an earlier run scored a release on held-out patients with cohort.holdout_fraction = "
                f"{scored:g}; with {fraction:g} some of them would train now: use at least {scored:g}"
            )
        if scores and fraction > trained:
            raise BudgetRefused(
                f"site {site!r}: an earlier run trained with cohort.holdout_fraction = {trained:g}; with {fraction:g} "
                f"some who trained then would be scored as held out: use at most {trained:g}, or set "
                "evaluation.release = 'synthetic-only'"
            )


def _enrolled(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Hash and content of every run that the site enrolled in."""
    for path in sorted((folder / "runs").glob("*/manifest.json")):
        yield path.parent.name, json.loads(path.read_bytes())


def _fractions(bodies: list[dict[str, Any]], schema: str) -> list[float]:
    """Of runs whose schema, of whatever version, begins so."""
    named = [json.loads(body["pipeline"]) for body in bodies if str(body["schema"]).startswith(schema)]
    return [float(pipeline["cohort"]["holdout_fraction"]) for pipeline in named]
