"""Every form of a report that is not `report.json` itself, by file name.

All of them follow from `report.json` alone, byte for byte under the same versions of synthfed and of the libraries
that draw, so that a reader can render them again and see whether they say what the numbers say.
"""

from collections.abc import Mapping
from typing import Any

from synthfed.report.html import render_html


def render_views(report: Mapping[str, Any]) -> dict[str, bytes]:
    """Content by file name.

    Args:
        report: What `build_report` returned, or `report.json` read back.
    """
    return {"report.html": render_html(report).encode()}
