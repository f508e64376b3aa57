"""Options that several verbs share, said once."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

PipelineArgument = Annotated[str, typer.Argument(help="A shipped pipeline (aml, scd) or the path of a pipeline .toml.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="A table (CSV, XLSX, Parquet), a FHIR bundle or NDJSON, a folder of OMOP tables, or a folder with one of "
        "these per site; NAME.mapping.toml beside each is used.",
    ),
]
SiteColumnOption = Annotated[
    str | None, typer.Option("--site-column", help="Column of the table that names each patient's site.")
]
SplitSitesOption = Annotated[
    int | None, typer.Option("--split-sites", min=3, max=50, help="Split one table into this many artificial sites.")
]
SplitRule = Literal["random", "size", "age"]
SplitRuleOption = Annotated[
    SplitRule, typer.Option("--split-rule", help="How to split: random (equal), size (unequal), age (by age, unequal).")
]
IgnoreOption = Annotated[
    list[str] | None, typer.Option("--ignore", help="A column of the table to leave out. May be repeated.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change one setting, e.g. --set privacy.epsilon=3. May be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON for machines.")]
QuestionsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Questions, each in quotes. Default: describe every column.", show_default=False),
]
QuestionsOption = Annotated[
    Path | None, typer.Option("--questions", help='A TOML file with questions = ["mean age_years", ...].')
]
AnswersEpsilonOption = Annotated[
    float, typer.Option("--epsilon", min=0.001, max=100.0, help="What all answers together may cost one patient.")
]
SmallestCountOption = Annotated[
    int, typer.Option("--smallest-count", min=5, max=1000, help="Smaller counts are withheld.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def load_pipeline(name: str, settings: list[str] | None) -> Any:
    """The pipeline with its `--set` changes."""
    from synthfed.pipeline import Pipeline

    pipeline = Pipeline.load(name)
    return pipeline.with_settings(settings) if settings else pipeline


def load_patients(
    pipeline: Any,
    data: Path | None,
    site_column: str | None,
    split_sites: int | None,
    split_rule: SplitRule,
    ignore: list[str] | None = None,
) -> Any:
    """The cohort a verb works on: the given tables, or the pipeline's simulated patients."""
    from synthfed.cohorts.simulated import simulated_cohort
    from synthfed.cohorts.sites import read_cohort
    from synthfed.errors import ConfigError
    from synthfed.run.patients import split_key_of

    settings = pipeline.cohort
    if data is None:
        if site_column or split_sites:
            raise ConfigError("--site-column and --split-sites need --data; without it the simulated cohort is used")
        return simulated_cohort(pipeline)
    return read_cohort(
        data,
        dictionary=pipeline.disease,
        columns=settings.columns,
        site_column=site_column,
        split_sites=split_sites,
        split_rule=split_rule,
        seed=pipeline.seed,
        holdout_fraction=settings.holdout_fraction,
        on_violation=settings.on_violation,
        split_key=split_key_of(data),
        ignore=ignore or (),
    )
