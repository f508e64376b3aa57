"""The report as one HTML file that needs nothing else: no script, no network, no font, and it prints.

The file repeats byte for byte for the same report. Everything written into it is escaped; the only markup that is
not the template's own is the SVG that `drawing.to_svg` made.
"""

from collections.abc import Mapping
from typing import Any

from synthfed.evaluation.scorecard import QUESTIONS
from synthfed.report.drawing import Panel
from synthfed.report.figure import size
from synthfed.report.figures import draw_figures
from synthfed.report.glossary import GLOSSARY
from synthfed.report.held_out import far_columns
from synthfed.report.making import secure_sums_in_words
from synthfed.report.verdict import number
from synthfed.resources import shipped

_BANNERS: Mapping[str, str] = {
    "internal": "Stays at the site",
    "release": "Release edition: no number computed from patients' rows",
    "simulated": "Simulated patients: no person behind any number on this page",
}
_FIGURES_OF: Mapping[str, tuple[str, ...]] = {
    "valid": (),
    "faithful": ("held-out", "marginals", "associations", "survival"),
    "useful": ("benefit",),
    "private": ("risks",),
    "guaranteed": ("budget", "rounds"),
}

_AHEAD: Mapping[str, str] = {
    "network": "network",
    "tree": "tree",
    "neither": "no difference",
    "unknown": "cannot tell",
}


def render_html(report: Mapping[str, Any]) -> str:
    """Draw `report.json` as a self-contained page.

    Args:
        report: What `build_report` returned, or `report.json` read back.

    Returns:
        UTF-8 HTML of at most about 1 MB.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(shipped("reports/templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, size=size, duration=_duration, date=_date, listed=_listed)
    environment.globals["svg"] = _Inline(Markup)
    page = environment.get_template("report.html.j2").render(
        report=report,
        figures=draw_figures(report),
        figures_of=_FIGURES_OF,
        questions=QUESTIONS,
        banner=banner(report),
        glossary=GLOSSARY,
        worst=badly_represented(report),
        ahead=_AHEAD,
        sums=secure_sums_in_words(report["run"].get("secure_sums")),
        style=Markup((shipped("reports/templates") / "report.css").read_text(encoding="utf-8")),
    )
    return str(page)


def banner(report: Mapping[str, Any]) -> str:
    """The first line of every form: which edition it is."""
    told = {metric["releasable"] for metric in report["metrics"]}
    if report["edition"] == "release" and "summed" in told:
        return "Release edition: of patients' rows, exact sums over those held out"
    if report["edition"] == "release" and "noisy" in told:
        return "Release edition: of patients' rows, what held-out patients' privacy budget paid for"
    return _BANNERS[report["edition"]]


class _Inline:
    """Lets the template place a panel's SVG unescaped, and nothing else."""

    def __init__(self, markup: type[Any]) -> None:
        self._markup = markup

    def __call__(self, panel: Panel) -> Any:
        return self._markup(panel.svg)


def badly_represented(report: Mapping[str, Any]) -> list[str]:
    """Columns and groups that the table tells worst, from the figures' own data."""
    figures = report["figures"]
    said = []
    for panel in figures["marginals"] or ():
        if panel["real"] is None or panel["score"] is None or panel["ceiling"] is None:
            continue
        if panel["ceiling"] - panel["score"] > 0.05:
            said.append(
                f"{panel['label']}: similarity {number(panel['score'])}, fresh patients {number(panel['ceiling'])}"
            )
    said = said[:5]
    curves = [c for c in figures["survival"] or () if c["group"] != "all" and c["km_area"] is not None]
    for curve in sorted(curves, key=lambda c: -c["km_area"])[:2]:
        if curve["km_area"] > 0.05:
            said.append(f"Survival, {curve['group_label']}: off by {100 * curve['km_area']:.1f} points on average")
    return said + far_columns(figures.get("counted"))[:5] if report["edition"] == "release" else said


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not stated"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _date(moment: str) -> str:
    day, _, clock = moment.partition("T")
    return f"{day} {clock[:5]} UTC" if clock else day


def _listed(value: Any) -> str:
    """A declared value: numbers as people write them, lists with commas, addresses and hashes as they are."""
    if isinstance(value, list):
        return ", ".join(map(_listed, value))
    return number(value) if isinstance(value, float) else str(value)
