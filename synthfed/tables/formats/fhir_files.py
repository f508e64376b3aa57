"""Read the resources of FHIR files one by one: a resource, a bundle (of bundles), or NDJSON with one per line.

Numbers stay as they are written. A message names the file and the place, never what stands there.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthfed.errors import UnreadableFile
from synthfed.tables.formats.fhir_values import dicts_in

_LARGEST_BUNDLE = 400_000_000  # bytes; the objects of a bundle take about ten times as many
_LINES = (".ndjson", ".jsonl")


def resources_in(file: Path) -> Iterator[Mapping[str, Any]]:
    """Every resource of a file, those of bundles one by one."""
    if file.suffix.lower() in _LINES:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield from _unpacked(_parsed(line, f"{file.name}, line {number}"), f"{file.name}, line {number}")
        return
    size = file.stat().st_size
    if size > _LARGEST_BUNDLE:
        raise UnreadableFile(
            f"{file.name} is a bundle of {size / 1e6:.0f} MB; export NDJSON instead, which is read line by line"
        )
    yield from _unpacked(_parsed(file.read_bytes(), file.name), file.name)


def _parsed(content: bytes, where: str) -> Any:
    try:
        text = content.decode("utf-8-sig")
        return json.loads(text, parse_float=str, parse_int=str)  # numbers as written
    except UnicodeDecodeError:
        raise UnreadableFile(f"{where} is not UTF-8, which FHIR requires; export it again") from None
    except json.JSONDecodeError as error:
        whole = "it ends too early: copy it again" if error.pos >= len(error.doc.rstrip()) - 1 else "export it again"
        raise UnreadableFile(f"{where} is not valid JSON ({error.msg} at character {error.pos}); {whole}") from None
    except RecursionError:
        raise UnreadableFile(f"{where} is nested too deeply to be FHIR") from None


def _unpacked(content: Any, where: str) -> Iterator[Mapping[str, Any]]:
    if not isinstance(content, dict) or not isinstance(content.get("resourceType"), str):
        raise UnreadableFile(f"{where} is JSON, but no FHIR resource: it has no resourceType")
    if content["resourceType"] != "Bundle":
        yield content
        return
    for entry in dicts_in(content.get("entry")):
        resource = entry.get("resource")
        if isinstance(resource, dict) and isinstance(resource.get("resourceType"), str):
            if resource["resourceType"] != "Bundle" and isinstance(entry.get("fullUrl"), str):
                resource = {**resource, "_fullUrl": entry["fullUrl"]}
            yield from _unpacked(resource, where)
