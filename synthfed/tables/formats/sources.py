"""Tell what a hospital handed over by its names: OMOP tables, FHIR resources, or a flat table.

Nothing is guessed from values. A folder is one hospital's when it holds OMOP tables or a FHIR bulk export; otherwise
each file and each such subfolder in it is one hospital.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from synthfed.errors import UnreadableFile
from synthfed.tables.formats.omop_tables import omop_files

Kind = Literal["omop", "fhir"]

FHIR_FILES = (".json", ".ndjson", ".jsonl")
_BULK = re.compile(r"(\d+[.-])?(Patient|Observation|Condition)([.-]\d+)?\.(ndjson|jsonl)")
_RESOURCE = re.compile(rb'"resourceType"\s*:')


def kind_of(path: Path, *, inside: bool = False) -> Kind | None:
    """What a path holds, if it is one hospital's and no flat table.

    Args:
        inside: Whether the path lies in a folder of hospitals: then a folder of FHIR bundles is one hospital's, too.

    Raises:
        UnreadableFile: A folder holds two things, so that either could be meant.
    """
    if not path.is_dir():
        return "fhir" if path.suffix.lower() in FHIR_FILES else None
    tables, resources = omop_files(path), fhir_files(path, bundles=inside)
    if tables and resources:
        raise UnreadableFile(
            f"folder {path} holds OMOP tables ({', '.join(file.name for file in tables.values())}) and FHIR resources "
            f"({', '.join(file.name for file in resources[:3])}); keep one of them there"
        )
    return "omop" if tables else "fhir" if resources else None


def fhir_files(folder: Path, *, bundles: bool) -> list[Path]:
    """The files of a FHIR bulk export (`Patient.ndjson`, `Observation.ndjson`, ...), or bundles one beside another."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    bulk = [file for file in files if _BULK.fullmatch(file.name)]
    if bulk or not bundles:
        return bulk
    return [file for file in files if looks_like_fhir(file)]


def looks_like_fhir(file: Path) -> bool:
    """Whether a JSON file speaks of resources at its beginning."""
    if file.suffix.lower() not in FHIR_FILES:
        return False
    with file.open("rb") as stream:
        return _RESOURCE.search(stream.read(4096)) is not None


def refuse_mixture(folder: Path, kind: Kind, tables: Sequence[Path]) -> None:
    """A folder of one hospital holds no other tables.

    Raises:
        UnreadableFile: It does.
    """
    known = set(omop_files(folder).values())
    others = [file.name for file in tables if file not in known]
    if others:
        what = "OMOP tables" if kind == "omop" else "FHIR resources"
        raise UnreadableFile(
            f"folder {folder} holds {what} and other tables ({', '.join(others[:3])}); give each hospital's {what} a "
            "folder of their own, or remove the other tables"
        )
