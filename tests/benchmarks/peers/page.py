"""Writes what is measured so far: a page with the short table, all tables, the numbers, and the pictures."""

import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.pages import page, rounded, table
from tests.benchmarks.peers.pictures import draw
from tests.benchmarks.peers.plan import Comparison, Contestant
from tests.benchmarks.peers.summary import Cell, Summary, check_aims, sits_out

FOLDER = Path(__file__).parents[3] / "reports" / "reference" / "peers"
SHORT = ("flchain", "beat aml")
COLUMNS = {  # of the full tables: heading, score, digits
    "TV1": ("TV1", 3),
    "TV2": ("TV2", 3),
    "KM": ("KM", 3),
    "gap C": ("gap C", 3),
    "gap AUC": ("gap AUC", 3),
    "gap AUC t": ("gap AUC t", 3),
    "members": ("members", 3),
    "by chance": ("by chance", 3),
    "copies": ("copies", 3),
    "inside": ("inside", 3),
    "CPU s": ("cpu_s", 0),
    "MB": ("peak_mb", 0),
}


def write_page(plan: Comparison, summary: Summary, folder: Path = FOLDER) -> None:
    """`README.md`, `tables.md`, `measured.json` and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "measured.json").write_text(as_json(summary), encoding="utf-8")
    (folder / "tables.md").write_text(all_tables(plan, summary), encoding="utf-8")
    (folder / "README.md").write_text(front(plan, summary), encoding="utf-8")
    draw(plan, summary, folder)


def as_json(summary: Summary) -> str:
    """Every number of every split, four digits."""

    def cell(one: Cell) -> dict[str, Any]:
        epsilon = "inf" if math.isinf(one.epsilon) else one.epsilon
        return {"contestant": one.contestant, "epsilon": epsilon, **_splits(one), "failures": list(one.failures)}

    tables: dict[str, Any] = {}
    for name, sizes in summary.sizes.items():
        tables[name] = {
            **dict(zip(("train", "fresh", "columns"), sizes, strict=True)),
            "real": _splits(summary.real[name]),
            "shuffled": _splits(summary.floors[name]),
            "fresh patients": _splits(summary.ceilings[name]),
            "cells": [cell(one) for one in summary.cells if one.table == name],
        }
    lines = json.dumps(rounded(tables, 4), indent=1, sort_keys=True)
    return _short_lists(lines) + "\n"


def front(plan: Comparison, summary: Summary) -> str:
    """The page: what was compared and how, the short table, what others have, limits."""
    shown = [name for name in SHORT if name in summary.sizes]
    sizes = "; ".join(f"{name} {summary.sizes[name][0]} and {summary.sizes[name][1]}" for name in summary.sizes)
    aims = check_aims(plan, summary)
    return page(
        [
            "# Beside what people would use instead",
            f"""Every tool gets the same training rows, draws {plan.rows} rows, and is scored alike on patients that
            nobody trained on (training and fresh rows: {sizes}). Nothing is tuned: defaults for all, delta
            {plan.delta:g}, one thread, {plan.cpu_seconds} CPU seconds a fit. Bounds and levels of the dictionary go to
            every tool that takes them; out-of-range cells are clipped for free. A seed is a split and a run. Each tool
            has an environment of its own, with pinned versions. All of it comes from""",
            "    make bench-peers",
            f"""synthfed {version("synthfed")}. Gap in AUC: death predicted by trees trained on real rows, less the same
            by trees trained on drawn rows; 0 is perfect. Medians, splits in brackets. More scores, failures, versions
            and **what each epsilon covers** are in [tables.md](tables.md), every number is in `measured.json`.""",
            _short_table(plan, summary, shown),
            _absent(plan, summary),
            "![Gap in AUC by budget](prediction.png)",
            "![Prediction against likeness of pairs](map.png)",
            f"Of {len(aims)} aims set beforehand {sum(aim.met for aim in aims)} are met; "
            "[tables.md](tables.md#aims) names all."
            if aims
            else "",
            *Path(__file__).with_name("words.md").read_text(encoding="utf-8").strip().split("\n\n"),
        ]
    )


def all_tables(plan: Comparison, summary: Summary) -> str:
    """Who was compared, every table at every budget, the aims."""
    parts = [
        "# All tables",
        "Written by `make bench-peers`; see [README.md](README.md).",
        "## Who",
        table(
            "tool | version | licence | splits planned | what its epsilon covers",
            [_who(plan, one) for one in plan.contestants],
        ),
        "## Scores",
        """`TV1`, `TV2`: mean total variation of columns and of pairs to the training rows; `KM`: largest distance of
        the survival curves; `gap C`, `gap AUC`, `gap AUC t`: what training rows reach on fresh patients less what drawn
        rows reach (Cox model; trees for death; trees for the other targets); `members`: share of training patients
        whom the best of several attacks names, beyond the share of outsiders that it names, and `by chance`: what it
        would still get in one of twenty tables that tell it nothing; `copies`: share of drawn rows equal to a training
        row, beyond that of fresh rows; `inside`: share of cells inside the dictionary, decimals included, before
        clipping and rounding. Lower is better, but for `inside`. Medians; `splits` says over how many. Shuffled columns
        keep TV1 by construction.""",
    ]
    for name in summary.sizes:
        train, fresh, columns = summary.sizes[name]
        parts.append(f"## {name}")
        parts.append(f"{train} training rows, {fresh} fresh ones, {columns} columns.")
        parts += [_scores(plan, summary, name, epsilon) for epsilon in _budgets(summary, name)]
    parts += [
        "## Aims",
        "Set before any of this was measured, for five splits; three digits decide.",
        _aims(plan, summary),
    ]
    return page(parts)


def _short_table(plan: Comparison, summary: Summary, shown: list[str]) -> str:
    budgets = sorted({epsilon for one in plan.contestants for epsilon in one.epsilons})
    heading = " | ".join(["gap in AUC", *(f"{name} {_budget(e)}" for name in shown for e in budgets), "CPU s"])
    rows = []
    for one in plan.contestants:
        if sits_out(one, summary) or not any(cell.contestant == one.name for cell in summary.cells):
            continue
        cells = [_short(one, summary.cell(name, one.name, e), e) for name in shown for e in budgets]
        used = [run["cpu_s"] for cell in summary.cells if cell.contestant == one.name for run in cell.runs]
        rows.append(" | ".join([f"**{one.name}**" if one.ours else one.name, *cells, _span(used)]))
    for name, anchors in (("shuffled columns", summary.floors), ("fresh patients", summary.ceilings)):
        values = [_number(anchors[each].median("gap AUC"), 3) for each in shown for _ in budgets]
        rows.append(" | ".join([f"*{name}*", *values, ""]))
    return table(heading, rows)


def _absent(plan: Comparison, summary: Summary) -> str:
    """Who has no number, and why."""
    tried = {cell.contestant for cell in summary.cells}
    reasons = {one.name: sits_out(one, summary) if one.name in tried else "not run yet" for one in plan.contestants}
    said = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    return f"Without any number: {', '.join(said)}." if said else ""


def _short(contestant: Contestant, cell: Cell | None, epsilon: float) -> str:
    if epsilon not in contestant.epsilons:
        return ""
    if cell is None:
        return "not run"
    if not cell.runs:
        return "failed"
    return f"{_number(cell.median('gap AUC'), 3)} ({len(cell.runs)})"


def _scores(plan: Comparison, summary: Summary, name: str, epsilon: float) -> str:
    cells = summary.ranked(name, epsilon)
    train, fresh, _ = summary.sizes[name]
    sample = f"*fresh patients, {min(train, fresh // 2)}*"
    anchors = [(sample, summary.ceilings[name]), ("*shuffled columns*", summary.floors[name])]
    ours = {one.name for one in plan.contestants if one.ours}
    named = [(f"**{one.contestant}**" if one.contestant in ours else one.contestant, one) for one in cells if one.runs]
    every = [*anchors, *named]
    shown = {head: what for head, what in COLUMNS.items() if any(cell.values(what[0]) for _, cell in every)}
    rows = [
        " | ".join(
            [who, *(_number(cell.median(score), digits) for score, digits in shown.values()), str(len(cell.runs))]
        )
        for who, cell in every
    ]
    body = table(" | ".join([f"epsilon {_budget(epsilon)}", *shown, "splits"]), rows)
    failed = [f"- {one.contestant}: {reason}" for one in cells for reason in dict.fromkeys(one.failures)]
    return body + ("\n\n" + "\n".join(failed) if failed else "")


def _aims(plan: Comparison, summary: Summary) -> str:
    rows = [
        f"{aim.table} | {aim.contestant} | {_budget(aim.epsilon)} | {aim.score} | {aim.aimed:.3f} | "
        f"{_number(aim.reached, 3)} | {aim.splits} | {'met' if aim.met else 'not met'}"
        for aim in check_aims(plan, summary)
    ]
    return table("table | kind | epsilon | score | aim | reached | splits | ", rows)


def _who(plan: Comparison, one: Contestant) -> str:
    packages = [package for package in plan.environments[one.environment].packages if not package.startswith("torch")]
    if not packages:
        packages = [f"{name}=={version(name)}" for name in ([one.name.split()[0].lower()])]
    return f"{one.name} | {packages[0]} | {one.licence} | {one.seeds} | {one.covers}"


def _budgets(summary: Summary, name: str) -> list[float]:
    return sorted({one.epsilon for one in summary.cells if one.table == name})


def _budget(epsilon: float) -> str:
    return "∞" if math.isinf(epsilon) else f"{epsilon:g}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}".replace("-0.000", "0.000")


def _span(values: list[float]) -> str:
    return f"{min(values):.0f}-{max(values):.0f}" if values else ""


def _splits(cell: Cell) -> Mapping[str, list[float]]:
    names = sorted({name for run in cell.runs for name in run})
    return {name: cell.values(name) for name in names}


def _short_lists(text: str) -> str:
    """Lists of numbers on one line."""
    import re

    return re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
