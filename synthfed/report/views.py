"""Every form of a report that is not `report.json` itself, by file name.

All of them follow from `report.json` alone, byte for byte under the same versions of synthfed and of the libraries
that draw, so that a reader can render them again and see whether they say what the numbers say.
"""

from collections.abc import Mapping
from typing import Any

from synthfed.report.cards import render_datasheet, render_model_card
from synthfed.report.catalogue import render_catalogue
from synthfed.report.croissant import render_croissant
from synthfed.report.html import render_html
from synthfed.report.summary import render_summary


def render_views(report: Mapping[str, Any]) -> dict[str, bytes]:
    """Content by file name: the page, one page to print, two cards, two catalogue records.

    The internal edition has no cards and no records: those are made to be passed on.

    Args:
        report: What `build_report` returned, or `report.json` read back.
    """
    pages = {"report.html": render_html(report).encode(), "summary.pdf": render_summary(report)}
    if report["edition"] == "internal":
        return pages
    return {
        **pages,
        "datasheet.md": render_datasheet(report).encode(),
        "model_card.md": render_model_card(report).encode(),
        "catalogue.jsonld": render_catalogue(report).encode(),
        "croissant.json": render_croissant(report).encode(),
    }
