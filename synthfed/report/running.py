"""Figures of the run itself: how the table was made, what the budget went into, what happened in the rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from synthfed.generators.words import calibrates
from synthfed.report import diagram, strips
from synthfed.report.figure import Figure, percent, size
from synthfed.report.guarantee import against_all_others
from synthfed.report.verdict import capital, number


def made_figure(report: Mapping[str, Any]) -> Figure | None:
    """From the sites to the table, as a flow."""
    made = report.get("made")  # reports of version 0.1 have none
    if not made:
        return None
    sites = [site["id"] for site in report["sites"]]
    counts, network = made["counts"], made["network"]
    rows = []
    if counts:
        rows += [(f"counting {name}", "secure sum of noisy counts", "–") for name in counts["rounds"]]
        rows.append(("tree of tables", "fitted to the totals", percent(counts["share"])))
    if network:
        if counts:
            rows.append(("distilling", "the network learns the tree", "none"))
        if network["rounds"]:
            what = "rounds of DP-SGD" if made["noise"] != "none" else "rounds without privacy"
            rows.append((f"network ({network['kind']})", f"{network['rounds']} {what}", percent(network["share"])))
        if counts and network["rounds"] and calibrates(network["kind"]):
            rows.append(("calibrating", "the network is drawn back to the totals", "none"))
    return Figure(
        key="made",
        title=f"{capital(made['engine'])}: from {len(sites)} sites to one table of {report['rows']:,} rows",
        caption="From the patients' rows, which stay, to the table."
        + (" Dashed: what goes back to the sites." if network and network["rounds"] else ""),
        steps=tuple(made["sentences"]),
        panels=(diagram.flow(made, sites, report["rows"], "made"),),
        head=("step", "what happens", "share of the budget"),
        rows=(*rows, ("synthetic table", "rows are drawn", "none")),
    )


def budget_figure(privacy: Mapping[str, Any], settings: Mapping[str, Any]) -> Figure | None:
    """Epsilon spent at each site beside the budget, and what it was spent on."""
    spent = [(s["site"], s["epsilon"]) for s in privacy["sites"] if isinstance(s["epsilon"], (int, float))]
    limit = settings["epsilon"]
    if not spent or not isinstance(limit, (int, float)):
        return None
    name, most = max(spent, key=lambda pair: pair[1])
    title = (
        f"The most spent at a site is epsilon {number(most)} of {number(limit)} ({name})"
        if privacy["formal"]
        else f"Under secret noise a site would spend epsilon {number(most)} of {number(limit)}; here none is promised"
    )
    bars = strips.bars(
        spent, "budget", title="Epsilon per site", limit=float(limit), limit_label=f"budget {number(limit)}"
    )
    parts = [(_charged(e), e["share"]) for e in privacy["events"] if e.get("share") is not None]
    panels = [replace(bars, heading="epsilon per site")] if len(parts) > 1 else [bars]
    caption = (
        f"Epsilon per site at delta {number(privacy['delta'])}; one patient is at one site, so the release costs the "
        "largest, not the sum. "
    )
    if privacy.get("noise") == "shared":
        caption += f"The sites share the noise: {against_all_others(privacy)}, and if a secure sum fails. "
    if len(parts) > 1:
        title += f". {_largest_part(parts)}"
        caption += "Shares are of mu squared, the measure of loss that adds up. "
        panels.append(
            replace(strips.shares(parts, "budget-shares", title="Shares of the budget"), heading="what it was spent on")
        )
    return Figure(
        key="budget",
        title=title,
        caption=caption + "The table lists every event that touched patients' rows.",
        panels=tuple(panels),
        head=("event", "mechanism", "noise multiplier", "sampling rate", "steps", "share of the budget"),
        rows=tuple(
            (
                _charged(e),
                e["mechanism"],
                number(e["noise_multiplier"]),
                number(e["sample_rate"]),
                str(e["steps"]),
                percent(e.get("share")),
            )
            for e in privacy["events"]
        ),
        shape="pair" if len(panels) > 1 else "single",
    )


def _charged(event: Mapping[str, Any]) -> str:
    return f"{event['purpose']} (×{event['events']})" if event["events"] > 1 else str(event["purpose"])


def _largest_part(parts: Sequence[tuple[str, float]]) -> str:
    counts = sum(part for name, part in parts if name.startswith("counting"))
    if counts > 1 - 1e-9:
        return "All of it went into counts"
    if counts:
        return f"{100 * counts:.0f} % of it went into counts, {100 * (1 - counts):.0f} % into training"
    name, part = max(parts, key=lambda part: part[1])
    return f"{100 * part:.0f} % of it went into {name}"


def rounds_figure(run: Mapping[str, Any]) -> Figure | None:
    """What happened in the rounds: budget spent and size of the released sum, where there was training."""
    history = run["history"]
    if len([row for row in history if not _counted(row)]) < 2:
        return None
    kinds = [
        ("epsilon", "epsilon spent so far", ""),
        ("update_norm", "size of the sites' summed update", "Euclidean norm of the released sum"),
    ]
    panels = []
    for key, heading, unit in kinds:
        pairs = [(row["round"], row[key]) for row in history if isinstance(row.get(key), (int, float))]
        if len(pairs) > 1:
            words = f"{heading}: from {number(pairs[0][1])} to {number(pairs[-1][1])}."
            panels.append(
                strips.line(
                    [p[0] for p in pairs],
                    [p[1] for p in pairs],
                    f"rounds-{key}",
                    heading=heading,
                    unit=unit,
                    words=words,
                )
            )
    if not panels:
        return None
    title = f"{len(history)} rounds"
    if run["bytes"]:
        title += f" moved {size(run['bytes'])} of masked sums and no patient row"
    counted = [index for index, row in enumerate(history) if _counted(row)]
    caption = "Both are post-processing of what was released in each round; no loss on patients' rows leaves a site."
    if counted:
        caption += (
            f" The first {len(counted)} rounds counted: the budget rises steeply there, and counts have no update norm."
        )
    chosen = sorted({*counted, *(int(i * (len(history) - 1) / 9) for i in range(10))})
    return Figure(
        key="rounds",
        title=title,
        caption=caption,
        panels=tuple(panels),
        head=("round", "what it did", "epsilon so far", "norm of the sum", "bytes so far"),
        rows=tuple(
            (
                str(history[i]["round"]),
                history[i].get("stage") or "training",
                number(history[i].get("epsilon")),
                number(history[i].get("update_norm")),
                size(history[i]["bytes"]) if history[i].get("bytes") else "–",
            )
            for i in chosen
        ),
        shape="pair",
    )


def _counted(row: Mapping[str, Any]) -> bool:
    return str(row.get("stage", "")).startswith("counting")
