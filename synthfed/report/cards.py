"""Datasheet and model card: the report as Markdown, for repositories that keep one beside the data.

Sections follow Gebru et al. 2021 (arXiv 1803.09010) and Mitchell et al. 2019 (arXiv 1810.03993). Nothing is filled in
for the data holder: a field that `[catalogue]` leaves open reads "not stated by the data holder".
"""

import re
from collections.abc import Mapping
from typing import Any

from synthfed.evaluation.scorecard import QUESTIONS
from synthfed.report.catalogue import open_fields
from synthfed.report.html import badly_represented, banner
from synthfed.report.stated import NOT_STATED, identifier, stated, title
from synthfed.report.verdict import number
from synthfed.resources import shipped


def render_datasheet(report: Mapping[str, Any]) -> str:
    """Draw `datasheet.md`."""
    return _render(report, "datasheet.md.j2")


def render_model_card(report: Mapping[str, Any]) -> str:
    """Draw `model_card.md`."""
    return _render(report, "model_card.md.j2")


class _Stated(dict[str, Any]):
    """A field that was not stated is empty."""

    def __missing__(self, key: str) -> str:
        return ""


def _render(report: Mapping[str, Any], template: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(shipped("reports/templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_plain,
    )
    environment.filters["number"] = number
    text = environment.get_template(template).render(
        report={"made": None, **report},
        stated=_Stated(stated(report)),
        title=title(report),
        identifier=identifier(report),
        banner=banner(report),
        gap=NOT_STATED,
        open=open_fields(report),
        questions=QUESTIONS,
        sensitive=[field["label"] or field["name"] for field in report.get("fields", ()) if field["sensitive"]],
        worst=badly_represented(report),
        values=_values,
        interval=_interval,
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _plain(value: Any) -> Any:
    """Text from outside stays text: no HTML, no new line, no new cell of a table."""
    if not isinstance(value, str):
        return value
    return " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")


def _values(field: Mapping[str, Any]) -> str:
    if field["levels"]:
        return ", ".join(field["levels"])
    if field["lower"] is None:
        return "–"
    unit = f" {field['unit']}" if field["unit"] else ""
    return f"{number(field['lower'])} to {number(field['upper'])}{unit}"


def _interval(interval: Mapping[str, Any]) -> str:
    ends = [number(interval[end]) for end in ("low", "high")]
    return "–" if ends == ["–", "–"] else f"{ends[0]} to {ends[1]}"
