"""Draws every view of a dossier again from `report.json`, and derives again what of that follows from the rest."""

import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from synthfed.dossier.basis import Basis
from synthfed.dossier.findings import Finding
from synthfed.errors import SynthfedError

_DRAW = ("synthfed", "matplotlib", "pillow", "jinja2", "zlib")  # what the bytes of a view depend on


def check_derived(report: Mapping[str, Any], basis: Basis, ledger: Mapping[str, Any]) -> list[Finding]:
    """Lights, verdict, limits, privacy statement and settings of the report, derived again.

    Args:
        report: It must follow the published schema.
    """
    from synthfed.report.build import canonical
    from synthfed.report.derived import derived

    try:
        again = canonical(derived(report, pipeline=basis.pipeline, schema=basis.schema, ledger=ledger))
    except (SynthfedError, KeyError, TypeError, ValueError) as error:
        return [Finding("report", "report.json", f"cannot be derived again ({type(error).__name__}: {error})")]
    places = [place for key in again if key in report for place in _differences(report[key], again[key], key)]
    return [
        Finding("report", "report.json", f"{place} does not follow from the files beside it{_versions(report)}")
        for place in places[:10]
    ]


def check_views(report: Mapping[str, Any], files: Mapping[str, bytes]) -> list[Finding]:
    """The page and all other forms of the report, drawn again and compared byte by byte."""
    from synthfed.report.views import render_views

    try:
        again = render_views(report)
    except (SynthfedError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return [Finding("report", "report.json", f"cannot be drawn again ({type(error).__name__}: {error})")]
    return [
        Finding(
            "view", name, f"is not what report.json draws: {_first_difference(files[name], content)}{_versions(report)}"
        )
        for name, content in again.items()
        if name in files and files[name] != content
    ]


def _differences(stated: Any, again: Any, place: str) -> Iterator[str]:
    """Where two JSON values part, as paths."""
    if isinstance(stated, Mapping) and isinstance(again, Mapping):
        for key in sorted(set(stated) | set(again)):
            if key not in stated or key not in again:
                yield f"{place}.{key}"
            else:
                yield from _differences(stated[key], again[key], f"{place}.{key}")
    elif isinstance(stated, list) and isinstance(again, list) and len(stated) == len(again):
        for index, (one, other) in enumerate(zip(stated, again, strict=True)):
            yield from _differences(one, other, f"{place}[{index}]")
    elif stated != again:
        yield place


def _first_difference(stated: bytes, again: bytes) -> str:
    place = next((i for i, (one, other) in enumerate(zip(stated, again, strict=False)) if one != other), None)
    if place is None:
        return f"{len(stated):,} bytes, drawn again {len(again):,}"
    line = stated.count(b"\n", 0, place) + 1
    return f"they part at byte {place:,}, line {line:,}"


def _versions(report: Mapping[str, Any]) -> str:
    """Which of the versions that draw differ from the report's: then a difference may be theirs."""
    stated = report["software"]
    other = [f"{name} {stated[name]}" for name in _DRAW if name in stated and stated[name] != _installed(name)]
    return f" (made with {', '.join(other)}: verify with these versions to be sure)" if other else ""


def _installed(name: str) -> str:
    if name == "zlib":
        return zlib.ZLIB_RUNTIME_VERSION
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
