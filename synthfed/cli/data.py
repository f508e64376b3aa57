"""Verbs about tables: `check` what a site has, write a simulated `cohort` to try things on."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from synthfed.cli.options import (
    DataOption,
    IgnoreOption,
    JsonOption,
    PipelineArgument,
    SetOption,
    SiteColumnOption,
    SplitRuleOption,
    SplitSitesOption,
    load_patients,
    load_pipeline,
)

Split = Literal["hospitals", "iid", "quantity", "label", "age"]
Profile = Literal["beat", "trial"]


def check(
    pipeline: PipelineArgument,
    data: DataOption = None,
    site_column: SiteColumnOption = None,
    split_sites: SplitSitesOption = None,
    split_rule: SplitRuleOption = "random",
    ignore: IgnoreOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    suggest_mapping: Annotated[
        bool,
        typer.Option("--suggest-mapping", help="Draft a mapping file beside each table that has none, and stop."),
    ] = False,
) -> None:
    """Read the tables, say what was found, and train nothing.

    What is printed was counted on patients' rows and is for the site itself.

    Example: synthfed check aml --data aml.csv --site-column hospital
    """
    from synthfed.generators.words import together
    from synthfed.run.training import check_before_training

    chosen = load_pipeline(pipeline, settings)
    if suggest_mapping:
        _suggest(chosen, data)
        return
    cohort = load_patients(chosen, data, site_column, split_sites, split_rule, ignore)
    if as_json:
        findings = {
            site: [{"kind": f.kind, "column": f.column, "count": f.count, "note": f.note} for f in report.findings]
            for site, report in cohort.reports.items()
        }
        sizes = {
            site: {"train": len(rows), "holdout": len(cohort.holdouts[site])} for site, rows in cohort.sites.items()
        }
        print(json.dumps({"origin": cohort.origin, "sites": sizes, "findings": findings}, indent=1))
    else:
        _show(cohort)
    if len(cohort.sites) == 1:
        if not as_json:
            typer.echo("one hospital's table, and it fits; to take part in a federation: synthfed site init --help")
            typer.echo("`synthfed run` alone needs several hospitals: --site-column, --split-sites, or a file for each")
        return
    check_before_training(chosen, cohort)
    if not as_json:
        for columns in together(chosen):
            typer.echo(f"{columns}: counted as one table and kept together (generator.focus)")
        _compare_with_plan(chosen, cohort)
        typer.echo("ready: give the same words to `synthfed run`")


def _suggest(pipeline: Any, data: Path | None) -> None:
    from synthfed.errors import ConfigError
    from synthfed.tables.dictionary import load_dictionary
    from synthfed.tables.handover import draft_mappings

    if data is None:
        raise ConfigError("--suggest-mapping needs --data: the table or folder to draft a mapping for")
    drafts = draft_mappings(data, load_dictionary(pipeline.disease), wanted=pipeline.cohort.columns)
    for file in drafts:
        asked = file.read_text(encoding="utf-8").count("\n# CONFIRM ")
        typer.echo(f"{file}: a draft; {asked} lines after # CONFIRM are for you to decide")
    if not drafts:
        typer.echo("every table has a mapping already; remove one to have it drafted anew")


def _compare_with_plan(pipeline: Any, cohort: Any) -> None:
    """Warn on the site's own screen when the public guess of the cohort's size is far off; it sets the step size."""
    found, guessed = sum(cohort.counts.values()), pipeline.privacy.expected_patients
    if not 0.5 <= found / guessed <= 2:
        typer.echo(
            f"note: privacy.expected_patients is {guessed}, far from the number of training patients here; "
            "set it to a rounded guess that may be public, or training will be too slow or too coarse"
        )


def _show(cohort: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{cohort.origin}. The counts below come from the rows and stay at the site.")
    sizes = Table("site", "train", "hold-out", box=None, pad_edge=False)
    for site, rows in cohort.sites.items():
        sizes.add_row(site, str(len(rows)), str(len(cohort.holdouts[site])))
    console.print(sizes)
    for (note, count), places in _same_findings(cohort).items():
        sites = sorted({site for site, _ in places})
        columns = list(dict.fromkeys(column for _, column in places))
        where = "" if len(sites) == len(cohort.sites) else f" at {', '.join(sites)}"
        console.print(f"- {', '.join(columns)}: {note}" + (f" ({count} rows)" if count else "") + where)


def _same_findings(cohort: Any) -> dict[tuple[str, int], list[tuple[str, str]]]:
    """Findings that say the same, with the (site, column) pairs they were made at."""
    same: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for site, report in cohort.reports.items():
        for finding in report.findings:
            same.setdefault((finding.note, finding.count), []).append((site, finding.column))
    return same


def cohort(
    pipeline: PipelineArgument,
    out: Annotated[Path, typer.Option(help="Folder for one CSV per simulated hospital.")],
    patients: Annotated[int | None, typer.Option(min=1, help="Patients of all hospitals together.")] = None,
    sites: Annotated[str | None, typer.Option(help="Hospitals: a number, or names such as lyon,milano,berlin.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same patients.")] = None,
    split: Annotated[
        Split, typer.Option(help="How hospitals differ: in their own patients, not at all, in size, disease or age.")
    ] = "hospitals",
    skew: Annotated[float, typer.Option(min=0.0, help="How much they differ: 0 not at all, 1 clearly.")] = 1.0,
    missing: Annotated[float, typer.Option(min=0.0, help="Multiplies the missing values; 0 for none.")] = 1.0,
    unrecorded: Annotated[int, typer.Option(min=0, help="Columns that each hospital but the first lacks.")] = 0,
    profile: Annotated[
        Profile, typer.Option(help="AML: all ages and treatments (beat), or a trial of intensive treatment up to 65.")
    ] = "beat",
    all_columns: Annotated[
        bool, typer.Option("--all-columns", help="All columns the simulator draws, not only the pipeline's.")
    ] = False,
    messy: Annotated[
        bool,
        typer.Option("--messy", help="As hospitals hand tables over: other headers, units, codes, dates, marks."),
    ] = False,
    settings: SetOption = None,
) -> None:
    """Write simulated hospitals as CSV files, to try the other verbs on. No row stems from a patient.

    Example: synthfed cohort aml --out simulated && synthfed run aml --data simulated

    Example: synthfed cohort scd --out other --sites 5 --patients 4000 --split label --skew 0.5 --missing 0

    With --messy the tables need mapping files, which `synthfed check --suggest-mapping` drafts: a rehearsal for one's
    own table. `answers/` holds, for each hospital, a mapping that reads it and the clean table it then is.
    """
    import pandas as pd

    from synthfed.cohorts.sites import load_cohort
    from synthfed.tables.dictionary import load_dictionary
    from synthfed.tables.mapping import SUFFIX, mapping_text
    from synthfed.tables.messy_writing import MANNERS, write_messy
    from synthfed.tables.writing import to_csv_bytes

    chosen = load_pipeline(pipeline, settings)
    usual = chosen.cohort
    names: Any = usual.simulated_sites
    if sites is not None:
        names = int(sites) if sites.isdecimal() else [name.strip() for name in sites.split(",")]
    drawn = chosen.seed if seed is None else seed
    simulated = load_cohort(
        chosen.disease,
        sites=names,
        patients=usual.simulated_patients if patients is None else patients,
        shares=usual.simulated_shares if sites is None else None,
        seed=drawn,
        skew=skew,
        split=split,
        missing=missing,
        unrecorded=unrecorded,
        profile=profile,
        columns="all" if all_columns else usual.columns,
        holdout_fraction=usual.holdout_fraction,
    )
    answers = out / "answers" if messy else out
    answers.mkdir(parents=True, exist_ok=True)
    for place, (site, rows) in enumerate(simulated.sites.items()):
        whole = pd.concat([rows, simulated.holdouts[site]], ignore_index=True)
        (answers / f"{site}.csv").write_bytes(to_csv_bytes(whole, simulated.schema))
        if messy:
            manner, words = MANNERS[place % len(MANNERS)], load_dictionary(chosen.disease)
            content, mapping = write_messy(whole, words, manner, seed=drawn + place)
            (out / f"{site}.csv").write_bytes(content)
            text = mapping_text(mapping, title=f"Reads the simulated hand-over {site}.csv")
            (answers / f"{site}{SUFFIX}").write_text(text, encoding="utf-8")
        typer.echo(f"{out / f'{site}.csv'}: {len(whole)} simulated patients")
