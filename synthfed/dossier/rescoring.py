"""Scores the table of a dossier again, as far as that needs no patient, and compares with what its report says.

Rules and structure by the dossier's own dictionary and rules, every metric of the synthetic table alone, the synthetic
half of every figure, and that the table is the same in all its formats.
"""

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from synthfed.dossier.basis import TABLE, Basis
from synthfed.dossier.findings import Finding

if TYPE_CHECKING:
    from synthfed.evaluation.scorecard import Scorecard

_NEAR = 1e-5  # relative: report.json rounds to six significant digits
_DRAWN = 1.01e-4  # figures keep four digits, and another processor may round the last one the other way


def check_table(
    report: Mapping[str, Any], basis: Basis, files: Mapping[str, bytes], ledger: Mapping[str, Any]
) -> tuple[tuple[str, ...], list[Finding]]:
    """What was computed again, in sentences, and where it contradicts the report.

    Args:
        report: It must follow the published schema.
        ledger: `ledger.json`.
    """
    from synthfed.evaluation.evaluate import evaluate

    wanted, found = list(basis.schema.names), [str(name) for name in basis.table.columns]
    if found != wanted or basis.table.empty:
        return (), [
            Finding("table", TABLE, f"holds {len(found)} columns and {len(basis.table)} rows, not those declared")
        ]
    card = evaluate(
        basis.table,
        schema=basis.schema,
        rules=basis.rules,
        train=None,
        holdout=None,
        settings=basis.pipeline.evaluation,
        seed=basis.pipeline.seed,
        privacy=ledger,
    )
    findings = [Finding("table", TABLE, note) for note in _against_metrics(report, basis, card, ledger)]
    findings += [Finding("table", TABLE, note) for note in _against_figures(report, basis, card)]
    findings += _check_formats(basis, files)
    return (_structure_in_words(basis, card), _rules_in_words(basis, card)), findings


def _against_metrics(
    report: Mapping[str, Any], basis: Basis, card: "Scorecard", ledger: Mapping[str, Any]
) -> Iterator[str]:
    from synthfed.report.build import canonical, metric_entries
    from synthfed.report.derived import privacy_block

    if report["rows"] != len(basis.table):
        yield f"has {len(basis.table)} rows; report.json says {report['rows']}"
    stated = {metric["id"]: metric for metric in report["metrics"]}
    for again in canonical(metric_entries(card, privacy_block(ledger, simulated=report["simulated"]))):
        name = again["id"]
        if name not in stated:
            yield f"{name} is {again['value']}; report.json leaves it out"
        elif different := [key for key in again if not _alike(stated[name].get(key), again[key], _NEAR)]:
            key = different[0]
            broken = f" ({_rules_in_words(basis, card)})" if name == "valid.hard_rules" else ""
            yield f"{name}: {key} computed again is {again[key]}{broken}; report.json says {stated[name].get(key)}"


def _against_figures(report: Mapping[str, Any], basis: Basis, card: "Scorecard") -> Iterator[str]:
    stated, again = report["figures"], card.figures
    panels = {panel["column"]: panel for panel in stated["marginals"] or ()}
    for panel in again["marginals"]:
        shown = panels.get(panel["column"])
        keys = ("kind", "edges", "levels", "synthetic")
        if shown is not None and not all(_alike(shown.get(key), panel.get(key), _DRAWN) for key in keys):
            yield f"column {panel['column']} is not distributed as figures.marginals draws it"
    pairs = stated["associations"]
    if pairs is not None and not all(
        _alike(pairs[k], again["associations"][k], _DRAWN) for k in ("columns", "synthetic")
    ):
        yield "its columns do not depend on each other as figures.associations says"
    for curve in stated["survival"] or ():
        if not _alike(curve["synthetic"], _curve_again(basis, curve["name"], curve["group"]), _DRAWN):
            yield f"survival {curve['name']} of {curve['group']} does not run as figures.survival draws it"


def _curve_again(basis: Basis, endpoint: str, group: str) -> dict[str, Any] | None:
    from synthfed.evaluation.figures import curve_points
    from synthfed.evaluation.rows import Shape, read_rows
    from synthfed.evaluation.survival import Group

    found = next((one for one in basis.schema.survivals if one.name == endpoint), None)
    name, _, level = group.partition("=")
    if found is None or (level and (name not in basis.schema or level not in basis.schema[name].levels)):
        return None
    chosen = Group(name, basis.schema[name].levels.index(level), group) if level else None
    return curve_points(read_rows(basis.table, Shape.of(basis.schema)), found, chosen)


def _check_formats(basis: Basis, files: Mapping[str, bytes]) -> list[Finding]:
    """The Parquet table holds the same cells as the CSV one."""
    import pandas as pd

    from synthfed.tables.writing import to_csv_bytes

    name = "synthetic.parquet"
    if name not in files:
        return []
    try:
        typed = basis.schema.cast(pd.read_parquet(io.BytesIO(files[name])))
        same = to_csv_bytes(typed, basis.schema) == files[TABLE]
    except (OSError, ValueError, TypeError) as error:  # pyarrow's errors are among them
        return [Finding("table", name, f"cannot be read ({type(error).__name__})")]
    return [] if same else [Finding("table", name, f"does not hold the rows of {TABLE}")]


def _structure_in_words(basis: Basis, card: "Scorecard") -> str:
    cells = len(basis.table) * sum(column.kind != "id" for column in basis.schema.columns)
    share = card["valid.structure"].value
    return f"{share:.4%} of {cells:,} cells of {TABLE} are inside dictionary.toml"


def _rules_in_words(basis: Basis, card: "Scorecard") -> str:
    from synthfed.evaluation.rows import coerced

    hard = [rule.id for rule in basis.rules.hard]
    broken = basis.rules.check(coerced(basis.table, basis.schema))[hard]
    which = [name for name in hard if broken[name].any()]
    rows = int(broken.any(axis=1).sum())
    if not which:
        return f"{len(hard)} hard rules of rules.toml hold in all {len(basis.table):,} rows"
    return f"{rows:,} of {len(basis.table):,} rows break hard rules of rules.toml: {', '.join(which)}"


def _alike(stated: Any, again: Any, slack: float) -> bool:
    """Equal, numbers up to a relative (above 1) or absolute slack."""
    if isinstance(again, Mapping):
        return (
            isinstance(stated, Mapping)
            and set(stated) == set(again)
            and all(_alike(stated[key], again[key], slack) for key in again)
        )
    if isinstance(again, (list, tuple)):
        return (
            isinstance(stated, (list, tuple))
            and len(stated) == len(again)
            and all(_alike(one, other, slack) for one, other in zip(stated, again, strict=True))
        )
    if isinstance(again, float) and isinstance(stated, (int, float)):
        return abs(stated - again) <= slack * max(1.0, abs(again))
    return bool(stated == again)
