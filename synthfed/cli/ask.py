"""`synthfed ask`: statistics over all hospitals' tables, while nobody sees one hospital's numbers."""

import json
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthfed.cli.options import (
    AnswersEpsilonOption,
    DataOption,
    IgnoreOption,
    JsonOption,
    PipelineArgument,
    QuestionsArgument,
    QuestionsOption,
    SetOption,
    SiteColumnOption,
    SmallestCountOption,
    SplitRuleOption,
    SplitSitesOption,
    load_patients,
    load_pipeline,
)

if TYPE_CHECKING:
    from synthfed.run.asking.answering import Answered
    from synthfed.run.asking.figures import Figure


def ask(
    pipeline: PipelineArgument,
    questions: QuestionsArgument = None,
    data: DataOption = None,
    site_column: SiteColumnOption = None,
    split_sites: SplitSitesOption = None,
    split_rule: SplitRuleOption = "random",
    ignore: IgnoreOption = None,
    settings: SetOption = None,
    questions_file: QuestionsOption = None,
    epsilon: AnswersEpsilonOption = 1.0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Without noise: for simulated patients, or with --sites-allow-exact.")
    ] = False,
    sites_allow_exact: Annotated[
        bool,
        typer.Option(
            "--sites-allow-exact", help="The policy of every hospital in --data allows answers without noise."
        ),
    ] = False,
    smallest_count: SmallestCountOption = 10,
    epsilon_limit: Annotated[
        float | None,
        typer.Option(min=0.0, help="Refuse to ask if these patients' ledgers would exceed this over all runs."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask all hospitals' tables at once; only sums over all of them are ever seen.

    Without --data the pipeline's simulated hospitals are asked. Bounds and levels come from the dictionary.

    | question | |
    |---|---|
    | `count`, `count by sex`, `count by sex, NPM1` | how many |
    | `mean age_years`, `sum`, `sd`, `variance` | of a number, or the share of a flag |
    | `median hb_g_dl`, `quantiles 5 50 95 of hb_g_dl` | in percent |
    | `histogram ldh_u_l`, `histogram age_years in 12 bins` | between public edges |
    | `correlation age_years, wbc_10e9_l`, `covariance ...` | of two or more |
    | `regression hb_g_dl on age_years, NPM1` | least squares over all rows |
    | `count where eln2022 == 'adverse'` | any question takes a `where` |
    | `mean ldh_u_l where ldh_u_l <= 2000` | narrower bounds, less noise |

    Example: synthfed ask aml "median age_years" "count by sex, NPM1" --data aml.csv --site-column hospital --epsilon 1
    """
    from synthfed.errors import ConfigError

    chosen = load_pipeline(pipeline, settings)
    texts = [*(questions or []), *(from_file(questions_file) if questions_file else [])]
    if exact and data is not None and not sites_allow_exact:
        raise ConfigError(
            "--exact answers about real patients without noise: leave it out, or add --sites-allow-exact if the policy "
            "of every hospital allows it"
        )
    cohort = load_patients(chosen, data, site_column, split_sites, split_rule, ignore)
    from synthfed.run.asking.answering import ask_cohort
    from synthfed.run.patients import ledger_home

    answered = ask_cohort(
        chosen,
        cohort,
        texts,
        exact=exact,
        epsilon=epsilon,
        smallest_count=smallest_count,
        ledgers=None if data is None else ledger_home(data, epsilon_limit),
    )
    if as_json:
        print(json.dumps(plain(answered), indent=1, allow_nan=False))
    else:
        tell(answered)


def from_file(file: Path) -> list[str]:
    """The questions of a TOML file.

    Raises:
        ConfigError: It holds something else than one list.
    """
    from synthfed.errors import ConfigError

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--questions {file} cannot be read as TOML ({type(error).__name__}): {error}") from error
    texts = content.get("questions")
    listed = isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
    if set(content) != {"questions"} or not listed:
        raise ConfigError(
            f'--questions {file} has keys {sorted(content)}; it holds one list: questions = ["mean age_years", ...]'
        )
    found: list[str] = texts  # type: ignore[assignment]  # checked above
    return found


def plain(answered: "Answered") -> dict[str, Any]:
    """Answers as JSON values."""
    from synthfed.run.asking.answering import ADJACENCY, UNIT

    return {
        "origin": answered.origin,
        "sites": answered.sites,
        "exact": answered.noise_for is None,
        "noise_for_epsilon": answered.noise_for,
        "epsilon": answered.epsilon,
        "delta": answered.delta,
        "unit": UNIT,
        "adjacency": ADJACENCY,
        "epsilon_over_all_runs": "inf" if answered.spent_over_runs == math.inf else answered.spent_over_runs,
        "rounds": answered.rounds,
        "bytes_up": answered.bytes_up,
        "bytes_down": answered.bytes_down,
        "answers": [
            {
                "question": answer.asking.text,
                "answers": answer.asking.verb,
                "columns": list(answer.asking.columns),
                "where": answer.asking.where.text if answer.asking.where else None,
                "figures": [
                    {
                        "name": figure.name,
                        "value": figure.value,
                        "low": figure.low,
                        "high": figure.high,
                        "note": figure.note or None,
                    }
                    for figure in answer.figures
                ],
            }
            for answer in answered.answers
        ],
        "words": list(answered.words),
    }


def tell(answered: "Answered") -> None:
    """Print answers as a table, with what they cost and what must be said of them."""
    from rich.console import Console
    from rich.table import Table

    from synthfed.run.asking.answering import ADJACENCY, UNIT

    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(soft_wrap=True, highlight=False, markup=False, width=120)
    console.print(f"{answered.sites} sites: {answered.origin}")
    console.print()
    exact = answered.noise_for is None
    headings = ["question", "figure", "value", *([] if exact else ["95 % interval"])]
    table = Table(*headings, box=None, pad_edge=False)
    table.columns[2].justify = "right"
    subjects: dict[str, set[tuple[str, ...]]] = {}
    for answer in answered.answers:
        subjects.setdefault(answer.asking.text, set()).add(answer.asking.columns)
    last = None
    for answer in answered.answers:
        asking = answer.asking
        about = f"{asking.columns[0]} " if len(subjects[asking.text]) > 1 else ""
        for figure in answer.figures:
            shown = "" if asking.text == last else asking.text
            last = asking.text
            row = [shown, about + figure.name, _value(figure)]
            table.add_row(*row, *([] if exact else [_interval(figure)]))
    console.print(table)
    console.print()
    plural = "" if answered.rounds == 1 else "s"
    console.print(
        f"asked     {answered.rounds} secure sum{plural} over {answered.sites} sites; "
        f"{answered.bytes_up / 1000:.1f} kB up, {answered.bytes_down / 1000:.1f} kB down, all sites together"
    )
    if answered.epsilon is not None:
        console.print(
            f"privacy   epsilon {answered.epsilon:g}, delta {answered.delta:g} per patient, of those who train and of "
            f"those held out alike ({ADJACENCY}; {UNIT})"
        )
    elif answered.noise_for is not None:
        console.print(f"privacy   noise as for epsilon {answered.noise_for:g}, but no formal guarantee; see below")
    else:
        console.print("privacy   no noise and no formal guarantee; see below")
    if answered.spent_over_runs is not None:
        console.print(
            f"ledgers   epsilon {answered.spent_over_runs:.2f} spent by these patients over all recorded runs"
        )
    for words in answered.words:
        console.print(f"- {words}")


def _value(figure: "Figure") -> str:
    return figure.note if figure.value is None else _number(figure.value, figure)


def _interval(figure: "Figure") -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    return f"{_number(figure.low, figure)} to {_number(figure.high, figure)}"


def _number(value: float, figure: "Figure") -> str:
    return f"{value:.0f}" if figure.kind == "count" else f"{value:.{figure.decimals}f}"
