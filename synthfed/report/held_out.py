"""The figure of held-out patients as the sites' noisy counts show them: the only patients that a release may draw.

Whoever draws them says so: dashes for the patients, a band for how far noise and sampling may have moved them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synthfed.report import curves
from synthfed.report.figure import Figure
from synthfed.report.verdict import number

_FURTHEST = 12  # columns in the table
FAR = 0.05  # distance of a column that a reader would notice


def held_out_figure(report: Mapping[str, Any]) -> Figure | None:
    """Noisy curves beside the synthetic ones, and the columns that lie furthest apart; None if nobody was counted."""
    data = report["figures"].get("counted")  # reports of version 0.1 have none
    if not data or not data["columns"]:
        return None
    scores = {m["id"]: m for m in report["metrics"] if m["id"].startswith("counted.")}
    paid = next((m["cost"] for m in scores.values() if m.get("cost")), None)
    area = scores.get("counted.km_area")
    likeness = scores.get("counted.shapes")
    return Figure(
        key="held-out",
        title=_title(data["patients"], likeness, area),
        caption=f"Held-out patients never trained the generator. {_price(paid)} Dashed: patients, with the band that "
        "noise and sampling leave; solid: the synthetic table, in the same intervals. The table lists the columns "
        "furthest from the patients, with what noise alone would show.",
        panels=tuple(curves.noisy_survival(entry, f"held-out-{i}") for i, entry in enumerate(data["survival"])),
        head=("column", "distance (total variation)", "noise alone, 97.5 %"),
        rows=tuple(
            (row["label"], number(row["distance"]), number(row["noise"])) for row in data["columns"][:_FURTHEST]
        ),
        shape="pair" if len(data["survival"]) > 1 else "single",
        legend=(("real", "held-out patients, from noisy counts"), ("synthetic", "synthetic")),
    )


def far_columns(data: Mapping[str, Any] | None) -> list[str]:
    """Columns further from held-out patients than noise would put them, in words."""
    rows: Sequence[Mapping[str, Any]] = data["columns"] if data else ()
    return [
        f"{row['label']}: {number(row['distance'])} from held-out patients, where noise alone would show "
        f"{number(row['noise'])}"
        for row in rows
        if row["distance"] is not None and row["distance"] > max(FAR, 1.25 * (row["noise"] or 0.0))
    ]


def _title(patients: int, likeness: Mapping[str, Any] | None, area: Mapping[str, Any] | None) -> str:
    said = []
    if area is not None and area["light"] != "grey":
        said.append(f"survival differs by {100 * area['value']:.1f} points on average")
    if likeness is not None and likeness["light"] != "grey":
        said.append(f"single columns are {100 * likeness['value']:.0f} % alike")
    words = ", ".join(said) or "the noise hides what differs"
    return f"Against about {patients:,} held-out patients: {words}"


def _price(cost: Mapping[str, Any] | None) -> str:
    if cost is None:
        return ""
    if isinstance(cost["epsilon"], str):
        return "The sites gave exact sums of them, which no epsilon covers."
    return (
        f"The sites counted them with noise: epsilon {number(cost['epsilon'])} at delta {number(cost['delta'])} for "
        "each of them, and none for those who trained."
    )
