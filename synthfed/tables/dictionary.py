"""Read a disease's `dictionary.toml` into a `Schema`, and say which columns can be put together from others.

A dictionary is public knowledge: it is written before any patient is seen, travels with the code, and everything that
depends on the shape of the data follows from it. `datasets/DICTIONARY.md` explains its keys. A dictionary that
contradicts itself is refused when it is loaded, so that everything after can trust it.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from synthfed.errors import DictionaryError
from synthfed.resources import dictionary_path
from synthfed.tables.schema import LEVEL_KINDS, NUMERIC_KINDS, Column, Schema, Survival

_KINDS = frozenset({"id"}) | NUMERIC_KINDS | LEVEL_KINDS
_CLOSED = {
    "kind": sorted(_KINDS),
    "scale": ["linear", "log"],
    "missing": ["never", "possible", "structural"],
    "known_at": ["baseline", "treatment", "outcome"],
}
_TOP = {"disease", "title", "ignored", "column", "survival"}
_COLUMN = ({f.name for f in fields(Column)} - {"lower", "upper"}) | {"bounds", "names", "compose", "compose_none"}
_SURVIVAL = {f.name for f in fields(Survival)}


@dataclass(frozen=True, slots=True)
class Composed:
    """A category that a file may hold as separate flags instead.

    Attributes:
        column: The category.
        parts: (flag, level) in order of precedence: the first flag that is 1 gives the level.
        none_level: The level when every known flag is 0.
    """

    column: str
    parts: tuple[tuple[str, str], ...]
    none_level: str


@dataclass(frozen=True, slots=True)
class Dictionary:
    """All that is publicly known about one disease's table.

    Attributes:
        schema: Every column of the disease; a pipeline selects some.
        composed: Categories that may arrive as flags.
        folder: Where `rules.toml` and `prior.toml` lie.
        ignored: Headers that are known and never read, such as free text.
    """

    schema: Schema
    composed: tuple[Composed, ...]
    folder: Path
    ignored: tuple[str, ...] = ()


def load_dictionary(name_or_path: str | Path) -> Dictionary:
    """Read the dictionary of a shipped disease (`aml`, `scd`) or of a path to a `.toml` file.

    Raises:
        DictionaryError: The file is missing, is not TOML, or a key is unknown or contradicts another. The message
            names the file, the column and the key.
    """
    path = dictionary_path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DictionaryError(f"dictionary {path} is not valid TOML: {error}") from error
    return parse_dictionary(text, folder=path.parent, origin=str(path))


def parse_dictionary(text: str, *, folder: Path, origin: str) -> Dictionary:
    """The dictionary in the text of a `dictionary.toml`.

    Args:
        folder: Where `rules.toml` and `prior.toml` lie.
        origin: Names the text in messages.

    Raises:
        DictionaryError: As `load_dictionary`.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DictionaryError(f"dictionary {origin} is not valid TOML: {error}") from error
    try:
        return _build(raw, folder)
    except DictionaryError as error:
        raise DictionaryError(f"{origin}: {error}") from error


def header_key(header: str) -> str:
    """Reduce a header to what is compared: lower case, single spaces, no byte-order mark."""
    return " ".join(header.replace("\ufeff", "").split()).casefold()


def loose_key(key: str) -> str:
    """A header's key without the difference between spaces, `-` and `_`."""
    return key.replace("_", " ").replace("-", " ")


def header_meanings(schema: Schema) -> dict[str, str]:
    """Column by header key; spellings that only differ in spaces, `-` and `_` count when they are unambiguous."""
    strict = {header_key(header): column.name for column in schema.columns for header in (column.name, *column.aliases)}
    owners: dict[str, set[str]] = {}
    for key, name in strict.items():
        owners.setdefault(loose_key(key), set()).add(name)
    return {key: names.pop() for key, names in owners.items() if len(names) == 1} | strict


def _build(raw: Mapping[str, Any], folder: Path) -> Dictionary:
    _known_keys(raw, _TOP, "the file")
    for key in ("disease", "column"):
        if not raw.get(key):
            raise DictionaryError(f"needs {key!r}; see datasets/DICTIONARY.md")
    entries = [entry for block in raw["column"] for entry in _expand(block)]
    schema = Schema(
        disease=str(raw["disease"]),
        columns=tuple(_column(entry) for entry in entries),
        survivals=tuple(_survival(entry) for entry in raw.get("survival", ())),
        title=str(raw.get("title", "")),
    )
    composed = tuple(_composed(entry, schema) for entry in entries if "compose" in entry)
    _check_headers(schema)
    _check_survivals(schema)
    return Dictionary(schema, composed, folder, tuple(raw.get("ignored", ())))


def _expand(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One entry per column: a block with `names` stands for several."""
    if ("name" in block) == ("names" in block):
        raise DictionaryError("every [[column]] needs either name or names")
    if "name" in block:
        yield dict(block)
        return
    for name in block["names"]:
        entry = {key: value for key, value in block.items() if key != "names"}
        yield entry | {"name": name, "label": str(block.get("label", "{name}")).replace("{name}", name)}


def _column(entry: Mapping[str, Any]) -> Column:
    name = str(entry["name"])
    _known_keys(entry, _COLUMN, f"column {name!r}")
    for key, allowed in _CLOSED.items():
        if key in entry and entry[key] not in allowed:
            raise DictionaryError(f"column {name!r}: {key} = {entry[key]!r}; allowed: {', '.join(allowed)}")
    if "kind" not in entry:
        raise DictionaryError(f"column {name!r}: needs kind; allowed: {', '.join(_CLOSED['kind'])}")
    values = {key: value for key, value in entry.items() if key not in ("bounds", "compose", "compose_none")}
    if "bounds" in entry:
        values["lower"], values["upper"] = _bounds(entry, name)
    for key in ("knots", "spikes"):
        values[key] = tuple(float(value) for value in entry.get(key, ()))
    for key in ("levels", "aliases"):
        values[key] = tuple(str(value) for value in entry.get(key, ()))
    values["synonyms"] = tuple((str(word).casefold(), str(level)) for word, level in entry.get("synonyms", {}).items())
    values["units"] = tuple((str(unit), float(factor)) for unit, factor in entry.get("units", {}).items())
    column = Column(**values)
    strange = sorted({level for _, level in column.synonyms} - set(column.levels))
    if strange:
        raise DictionaryError(f"column {name!r}: synonyms lead to {strange}; levels are {list(column.levels)}")
    _check_loinc(column)
    outside = [spike for spike in column.spikes if not _inside(spike, column)]
    if outside:
        raise DictionaryError(f"column {name!r}: spikes {outside} lie outside bounds [{column.lower}, {column.upper}]")
    return column


def _check_loinc(column: Column) -> None:
    """A LOINC number ends in a check digit (mod 10, every second digit doubled); wrong ones circulate."""
    for number, check in re.findall(r"LOINC (\d+)-(\d)", column.code):
        doubled = "".join(str(int(digit) * (2 if place % 2 == 0 else 1)) for place, digit in enumerate(number[::-1]))
        right = -sum(map(int, doubled)) % 10
        if right != int(check):
            raise DictionaryError(
                f"column {column.name!r}: LOINC {number}-{check} has a wrong check digit; look it up again"
            )


def _bounds(entry: Mapping[str, Any], name: str) -> tuple[float, float]:
    bounds = entry["bounds"]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise DictionaryError(f"column {name!r}: bounds = {bounds!r}; write bounds = [lower, upper]")
    return float(bounds[0]), float(bounds[1])


def _inside(value: float, column: Column) -> bool:
    return column.lower is not None and column.upper is not None and column.lower <= value <= column.upper


def _survival(entry: Mapping[str, Any]) -> Survival:
    where = f"survival {entry.get('name', '(unnamed)')!r}"
    _known_keys(entry, _SURVIVAL, where)
    missing = sorted({"name", "time", "event"} - set(entry))
    if missing:
        raise DictionaryError(f"{where}: needs {', '.join(missing)}")
    return Survival(**{**entry, "horizon_days": float(entry.get("horizon_days", 1826.0))})


def _composed(entry: Mapping[str, Any], schema: Schema) -> Composed:
    column = schema[str(entry["name"])]
    parts = tuple((str(flag), str(level)) for flag, level in entry["compose"].items())
    none_level = str(entry.get("compose_none", ""))
    for level in (none_level, *(level for _, level in parts)):
        if level not in column.levels:
            raise DictionaryError(f"column {column.name!r}: compose leads to {level!r}, which is not one of its levels")
    for flag, _ in parts:
        if flag not in schema or schema[flag].kind != "flag":
            raise DictionaryError(f"column {column.name!r}: compose names {flag!r}, which is not a flag here")
    return Composed(column.name, parts, none_level)


def _check_headers(schema: Schema) -> None:
    """One header must mean one column, or reading would have to guess."""
    owners = {
        (header_key(header), column.name) for column in schema.columns for header in (column.name, *column.aliases)
    }
    shared = Counter(key for key, _ in owners)
    for key, times in shared.items():
        if times > 1:
            columns = sorted(name for other, name in owners if other == key)
            raise DictionaryError(f"header {key!r} means columns {columns}; give each header to one column")


def _check_survivals(schema: Schema) -> None:
    for endpoint in schema.survivals:
        if not schema[endpoint.time].is_number or schema[endpoint.event].kind != "flag":
            raise DictionaryError(
                f"survival {endpoint.name!r}: {endpoint.time!r} must be a number and {endpoint.event!r} a flag"
            )


def _known_keys(entry: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(entry) - known)
    if unknown:
        raise DictionaryError(f"{where} has unknown keys {unknown}; allowed: {', '.join(sorted(known))}")
