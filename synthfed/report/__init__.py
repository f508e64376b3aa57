"""A scored release as a page people can read: `build_report` makes `report.json`, `render_html` draws
it, `render_views` draws every form.

`report.json` is the truth; every other form is a view of it. Nothing here computes a score or looks at a patient row:
the numbers come from the scorecard, the ledger statement and the run facts, and an edition decides which may be shown.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthfed.report.build import RunBlock, build_report, report_bytes
    from synthfed.report.html import render_html
    from synthfed.report.validate import validate_report
    from synthfed.report.views import render_views

__all__ = ["RunBlock", "build_report", "render_html", "render_views", "report_bytes", "validate_report"]

_HOMES = {
    "RunBlock": "build",
    "build_report": "build",
    "render_html": "html",
    "render_views": "views",
    "report_bytes": "build",
    "validate_report": "validate",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
