"""Which figures a report shows, and those of the scores.

A figure without data is not drawn, and the page says why; nothing is invented to fill a panel.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from synthfed.report import columns, curves, strips
from synthfed.report.benefit import benefit_figure
from synthfed.report.figure import Figure, percent
from synthfed.report.held_out import held_out_figure
from synthfed.report.running import budget_figure, made_figure, rounds_figure
from synthfed.report.verdict import number

_PATIENTS = ("real", "patients")
_SYNTHETIC = ("synthetic", "synthetic")
# Attacks whose value is a gain over the same attack on outsiders; an area under a curve has another scale.
_GAINS = {"private.exact", "private.near_copy", "private.membership", "private.membership_rare"}
_GAINS |= {"private.unique_value", "private.attribute", "private.singling_out", "private.linkability"}
FAR_APART = 0.2  # difference of two associations that a reader would notice


def draw_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """All figures the report has data for, by key."""
    data = report["figures"]
    drawn = [
        made_figure(report),
        anchors_figure(data["anchors"]),
        marginals_figure(data["marginals"], report),
        associations_figure(data["associations"]),
        survival_figure(data["survival"], report),
        held_out_figure(report),
        benefit_figure(data.get("benefit")),
        membership_figure(data["membership"], report),
        risks_figure(data["risks"]),
        budget_figure(report["privacy"], report["pipeline"]["settings"]["privacy"]),
        rounds_figure(report["run"]),
    ]
    return {figure.key: figure for figure in drawn if figure is not None}


def anchors_figure(rows: Sequence[Mapping[str, Any]] | None) -> Figure | None:
    """Floor, ceiling and value of every score that has both anchors apart; those with a light of their own first."""
    scored = [row for row in rows or () if _has_anchors(row)]
    usable = [row for row in scored if strips.apart(row)]
    if not usable:
        return None
    judged = [row for row in usable if row["light"] != "grey"] or usable
    others = [row for row in usable if row not in judged]
    lead = next((row for row in usable if row["id"] == "faithful.association"), judged[0])
    share = strips.anchored(lead, lead["value"])
    way = f"{100 * max(0.0, min(1.0, share)):.0f} %"
    title = f"{lead['label']} comes {way} of the way from shuffled columns to fresh patients"
    return Figure(
        key="anchors",
        title=title,
        caption="Every score runs from shuffled columns (left) to patients the generator never saw (right), at the "
        "same number of rows; a mark beyond a line is drawn at its end. Circle: shown; diamond: partly shown; "
        "cross: not met; square: no light of its own, for information."
        + (
            f" Left out: {len(scored) - len(usable)} whose two ends lie too close together." if scored != usable else ""
        ),
        panels=(strips.anchors(judged, "anchors"),),
        more=(strips.anchors(others, "anchors-more"),) if others else (),
        fold=f"Show {len(others)} more that decide nothing",
        head=("score", "shuffled", "value", "fresh patients", "95 % band"),
        rows=tuple(
            (r["label"], number(r["floor"]), number(r["value"]), number(r["ceiling"]), _interval(r["low"], r["high"]))
            for r in usable
        ),
        legend=(("band", "95 % of the scores that fresh patients get"),),
    )


def _has_anchors(row: Mapping[str, Any]) -> bool:
    needed = (row["value"], row["floor"], row["ceiling"])
    return all(v is not None for v in needed) and abs(row["ceiling"] - row["floor"]) > 1e-9


def marginals_figure(
    panels: Sequence[Mapping[str, Any]] | None, report: Mapping[str, Any], first: int = 10
) -> Figure | None:
    """Small multiples of all columns, worst first."""
    if not panels:
        return None
    drawn = tuple(columns.marginal(panel, f"marginal-{index}") for index, panel in enumerate(panels))
    worst = panels[0]
    with_real = worst["real"] is not None
    if with_real and worst["score"] is not None:
        title = f"Worst column: {worst['label']}, similarity {number(worst['score'])}"
        if worst["ceiling"] is not None:
            title += f" where fresh patients reach {number(worst['ceiling'])}"
    else:
        title = f"{len(panels)} columns of the synthetic table"
    caption = (
        "Each small picture is one column, worst first: share of rows per cell between public edges (drawn equally "
        f"wide); the bar at the right is the share that is missing, out of all rows. {report['rows']:,} synthetic rows."
    )
    rows = []
    for panel in panels:
        names, synthetic, real = columns.cell_names(panel), panel["synthetic"], panel["real"]
        if real is None:
            at = _largest(synthetic)
            rows.append((panel["label"], "–", "–", names[at], "–", percent(synthetic[at])))
            continue
        at = _largest([(s or 0.0) - (r or 0.0) for s, r in zip(synthetic, real, strict=True)])
        rows.append(
            (
                panel["label"],
                number(panel["score"]),
                number(panel["ceiling"]),
                names[at],
                percent(real[at]),
                percent(synthetic[at]),
            )
        )
    return Figure(
        key="marginals",
        title=title,
        caption=caption + " The numbers are the similarity (1 is equal) and what fresh patients reach."
        if with_real
        else caption + " Patients' distributions are not shown in this edition.",
        panels=drawn[:first],
        more=drawn[first:],
        head=("column", "similarity", "fresh patients", "largest difference at", "patients", "synthetic"),
        rows=tuple(rows),
        shape="small",
        legend=(_PATIENTS, _SYNTHETIC) if with_real else (_SYNTHETIC,),
    )


def _largest(values: Sequence[float | None]) -> int:
    return max(range(len(values)), key=lambda i: abs(values[i] or 0.0))


def associations_figure(data: Mapping[str, Any] | None) -> Figure | None:
    """Pair associations of patients, of synthetic rows, and their difference."""
    if not data:
        return None
    names, synthetic, real, groups = data["columns"], data["synthetic"], data["real"], data["groups"]
    order = sorted(range(len(names)), key=lambda i: (groups.index(groups[i]), i))
    names, groups = [names[i] for i in order], [groups[i] for i in order]
    synthetic = [[synthetic[i][j] for j in order] for i in order]
    where = _group_words(groups)
    if real is None:
        return Figure(
            key="associations",
            title=f"Associations between {len(names)} columns of the synthetic table",
            caption=f"Opacity is strength, blue positive, orange negative. {where} The patients' matrix is not shown "
            "in this edition.",
            panels=(
                columns.matrix(synthetic, groups, "association-synthetic", title="synthetic", words="Synthetic rows."),
            ),
            head=("column", "column", "synthetic"),
            rows=tuple((a, b, number(s)) for a, b, _, s in _strongest(names, synthetic, synthetic)),
        )
    real = [[real[i][j] for j in order] for i in order]
    gap = [
        [None if s is None or r is None else s - r for s, r in zip(one, two, strict=True)]
        for one, two in zip(synthetic, real, strict=True)
    ]
    pairs = [value for i in range(len(names)) for j in range(i) if (value := gap[i][j]) is not None]
    far = sum(abs(value) > FAR_APART for value in pairs)
    words = f"{far} of {len(pairs):,} pairs differ by more than {FAR_APART}."
    return Figure(
        key="associations",
        title=f"{far} of {len(pairs):,} pairs of columns differ by more than {FAR_APART}",
        caption=f"Rank or Cramér association of every pair; opacity is strength, blue positive, orange negative; in "
        f"the difference, blue means the synthetic table overstates. {where}",
        panels=(
            columns.matrix(real, groups, "association-real", title="patients", words="Associations among patients."),
            columns.matrix(
                synthetic, groups, "association-synthetic", title="synthetic", words="Among synthetic rows."
            ),
            columns.matrix(gap, groups, "association-gap", title="difference", words=words),
        ),
        head=("column", "column", "patients", "synthetic"),
        rows=tuple((a, b, number(r), number(s)) for a, b, r, s in _furthest(names, real, synthetic)),
        shape="triple",
    )


def _group_words(groups: Sequence[str]) -> str:
    edges = columns.group_edges(groups)
    if len(edges) < 3:
        return ""
    parts = [f"{groups[start]} ({end - start})" for start, end in pairwise(edges)]
    return f"Thin lines part the dictionary's groups, from the top left: {', '.join(parts)}."


_Pair = tuple[str, str, float | None, float | None]


def _furthest(names: Sequence[str], real: Any, synthetic: Any, count: int = 15) -> list[_Pair]:
    pairs = [
        (names[i], names[j], real[i][j], synthetic[i][j])
        for i in range(len(names))
        for j in range(i)
        if real[i][j] is not None and synthetic[i][j] is not None
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[2] - pair[3]))[:count]


def _strongest(names: Sequence[str], real: Any, synthetic: Any, count: int = 15) -> list[_Pair]:
    pairs = [
        (names[i], names[j], real[i][j], synthetic[i][j])
        for i in range(len(names))
        for j in range(i)
        if synthetic[i][j] is not None
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[3]))[:count]


def survival_figure(entries: Sequence[Mapping[str, Any]] | None, report: Mapping[str, Any]) -> Figure | None:
    """Kaplan-Meier curves, all patients first, then groups worst first."""
    if not entries or not any(entry["synthetic"] or entry["real"] for entry in entries):
        return None
    drawn = [entry for entry in entries if entry["synthetic"] or entry["real"]]
    overall = [entry for entry in drawn if entry["group"] == "all"]
    groups = sorted((e for e in drawn if e["group"] != "all"), key=lambda e: -(e["km_area"] or 0.0))
    ordered = [*overall, *groups]
    with_real = any(entry["real"] for entry in entries)
    lead = ordered[0]
    years = lead["tau_days"] / 365.25
    if with_real and lead["km_area"] is not None:
        title = f"Survival to {years:.0f} years differs by {100 * lead['km_area']:.1f} points on average"
        measured = [g for g in groups if g["km_area"] is not None]
        if measured:
            title += f", by {100 * measured[0]['km_area']:.1f} in the worst group ({measured[0]['group_label']})"
    else:
        title = f"{lead['label']} of the synthetic patients"
    rows = []
    for entry in ordered:
        for name in ("real", "synthetic"):
            if entry[name]:
                said = [_at(entry[name], entry["tau_days"] * part) for part in (0.25, 0.5, 1.0)]
                start = entry[name]["at_risk"][0][1] if entry[name]["at_risk"] else "–"
                rows.append((entry["group_label"], "patients" if name == "real" else name, str(start), *said))
    return Figure(
        key="survival",
        title=title,
        caption=f"{lead['label']}: Kaplan-Meier with 95 % band (patients hatched, synthetic shaded); figures under the "
        "axis are numbers at risk. The band of the synthetic curve counts rows, not patients, and is too narrow.",
        panels=tuple(curves.survival(entry, f"survival-{index}") for index, entry in enumerate(ordered)),
        head=("group", "who", "at risk at start", *(f"at {years * part:.2g} y" for part in (0.25, 0.5, 1.0))),
        rows=tuple(rows),
        shape="pair",
        legend=(_PATIENTS, _SYNTHETIC, ("band", "95 % band of the patients' curve")) if with_real else (_SYNTHETIC,),
    )


def _at(curve: Mapping[str, Any], day: float) -> str:
    value = 1.0
    for when, share in zip(curve["days"], curve["survival"], strict=True):
        if when <= day and share is not None:
            value = share
    return percent(value)


def membership_figure(data: Mapping[str, Any] | None, report: Mapping[str, Any]) -> Figure | None:
    """The membership attack's ROC beside what guessing gives."""
    if not data or not data.get("fpr"):
        return None
    point = data.get("point") or {}
    title = "How often an attacker recognises a training patient"
    if point.get("tpr") is not None:
        title = (
            f"An attacker finds {1000 * point['tpr']:.0f} in 1,000 training patients where guessing finds "
            f"{1000 * point['fpr']:.0f}"
        )
    chosen = [int(i * (len(data["fpr"]) - 1) / 11) for i in range(12)]
    return Figure(
        key="membership",
        title=title,
        caption="The dotted line is guessing; the hatched band holds 95 % of the curves, rate by rate, when "
        "member labels are permuted. A curve that leaves it upwards gives patients away; "
        "the exact test stands with the scores.",
        panels=(curves.membership(data, "membership"),),
        head=("outsiders accused", "patients found", "band of guessing"),
        rows=tuple(
            (percent(data["fpr"][i]), percent(data["tpr"][i]), _interval(data["band_low"][i], data["band_high"][i]))
            for i in sorted(set(chosen))
        ),
        legend=(("synthetic", "the attack"), ("band", "guessing, 95 %")),
    )


def risks_figure(rows: Sequence[Mapping[str, Any]] | None) -> Figure | None:
    """What each attack gains over the same attack on outsiders."""
    gains = [row for row in rows or () if row["id"] in _GAINS]
    measured = [row for row in gains if row["value"] is not None]
    if not measured:
        return None
    worst = max(measured, key=lambda row: row["value"])
    below = worst["value"] <= strips.RISK_LINE
    title = f"{'Every attack stays below' if below else 'The largest risk is above'} {strips.RISK_LINE:g}: "
    title += f"{worst['label']} {number(worst['value'])}"
    return Figure(
        key="risks",
        title=title,
        caption="What each attack gains over the same attack on outsiders. Dashed at 0.09: "
        "the re-identification probability of EMA Policy 0070 and Health Canada, used by analogy.",
        panels=(strips.risks(gains, "risks"),),
        head=("attack", "gain", "95 % interval", "fresh patients"),
        rows=tuple(
            (r["label"], number(r["value"]), _interval(r["low"], r["high"]), number(r.get("ceiling"))) for r in gains
        ),
        legend=(("synthetic", "gain of the attack, 95 % interval"), ("real", "the same attack on fresh patients")),
    )


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{number(low)} to {number(high)}"
