"""Exchange a schema with SDV's metadata: the one place that knows SDV's format.

SDV 2 writes the public range of a column (`range_min`, `range_max`, `range_values`, `range_is_nullable`,
`decimal_places`), so both directions are possible. Reading asks for those ranges: nothing is ever detected from rows,
because a detected range tells who is in the table. SDV has no survival endpoints, scales, knots, aliases or rules; they
are lost on the way out and must be given on the way in.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthfed.errors import DictionaryError
from synthfed.tables.schema import Column, Schema, Survival

if TYPE_CHECKING:
    from sdv.metadata import Metadata as SdvMetadata

_READABLE = ("boolean", "categorical", "id", "numerical", "ordinal")


@dataclass(frozen=True, slots=True)
class Metadata:
    """One table's schema, convertible from and to SDV's metadata.

    Example: `Metadata.from_schema(load_dictionary("aml").schema).to_sdv()`.
    """

    schema: Schema

    @classmethod
    def from_schema(cls, schema: Schema) -> "Metadata":
        """Wrap a schema."""
        return cls(schema)

    @classmethod
    def from_sdv(
        cls, source: "Mapping[str, Any] | str | Path | SdvMetadata", *, survivals: Sequence[Survival] = ()
    ) -> "Metadata":
        """Read SDV metadata: its dict, its object or the path of its JSON (V2 or the older single-table form).

        Args:
            survivals: Endpoints among the columns, which SDV cannot say.

        Raises:
            DictionaryError: More than one table, a column type with no counterpart, or a column without its public
                range.
        """
        name, table = _only_table(_as_dict(source))
        key = table.get("primary_key")
        columns = tuple(_column(column, raw, is_key=column == key) for column, raw in table["columns"].items())
        return cls(Schema(name, columns, tuple(survivals), title=name))

    @classmethod
    def load(cls, path: str | Path, *, survivals: Sequence[Survival] = ()) -> "Metadata":
        """Read the JSON file that `save` or SDV wrote."""
        return cls.from_sdv(Path(path), survivals=survivals)

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, readable by SDV's `Metadata.load_from_json`."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """The schema as SDV's V2 metadata dict."""
        table: dict[str, Any] = {"columns": {column.name: _sdv_column(column) for column in self.schema.columns}}
        key = next((column.name for column in self.schema.columns if column.kind == "id"), None)
        if key is not None:
            table["primary_key"] = key
        return {"tables": {self.schema.disease: table}, "relationships": [], "METADATA_SPEC_VERSION": "V2"}

    def to_sdv(self) -> "SdvMetadata":
        """SDV's own object, validated by SDV."""
        from sdv.metadata import Metadata as SdvMetadata

        metadata = SdvMetadata.load_from_dict(self.to_dict())
        metadata.validate()
        return metadata


def _as_dict(source: "Mapping[str, Any] | str | Path | SdvMetadata") -> Mapping[str, Any]:
    if isinstance(source, str | Path):
        try:
            source = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DictionaryError(f"{source} cannot be read as SDV metadata JSON: {error}") from error
    plain = source if isinstance(source, Mapping) else source.to_dict()
    if not isinstance(plain, Mapping):
        raise DictionaryError("SDV metadata must be a JSON object with tables or columns")
    return plain


def _only_table(plain: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    tables: Mapping[str, Any] = plain.get("tables", {"table": plain})
    if len(tables) != 1:
        raise DictionaryError(f"SDV metadata has {len(tables)} tables; synthfed reads one: remove the others")
    name, table = next(iter(tables.items()))
    if not table.get("columns"):
        raise DictionaryError(f"SDV metadata of table {name!r} has no columns")
    return str(name), table


def _column(name: str, raw: Mapping[str, Any], *, is_key: bool) -> Column:
    kind = raw.get("sdtype")
    nullable = "possible" if raw.get("range_is_nullable", True) else "never"
    if is_key or kind == "id":
        return Column(name, "id", missing="never")
    if kind == "boolean":
        return Column(name, "flag", missing=nullable)  # type: ignore[arg-type]  # one of the two words above
    if kind == "numerical":
        if "range_min" not in raw or "range_max" not in raw:
            raise DictionaryError(
                f"column {name!r}: SDV metadata lacks range_min or range_max; add public bounds, never the data's"
            )
        decimals = int(raw.get("decimal_places", 2))
        return Column(
            name,
            "count" if decimals == 0 else "continuous",
            lower=float(raw["range_min"]),
            upper=float(raw["range_max"]),
            decimals=decimals,
            missing=nullable,  # type: ignore[arg-type]  # one of the two words above
        )
    if kind in ("categorical", "ordinal"):
        levels = tuple(str(value) for value in raw.get("range_values", ()))
        if not levels:
            raise DictionaryError(f"column {name!r}: SDV metadata has no range_values; list the allowed levels")
        as_kind = "flag" if levels == ("0", "1") else "category" if kind == "categorical" else "ordinal"
        return Column(name, as_kind, levels=levels, missing=nullable)  # type: ignore[arg-type]  # as above
    raise DictionaryError(
        f"column {name!r} has sdtype {kind!r}; synthfed reads {', '.join(_READABLE)}: remove it or change its sdtype"
    )


def _sdv_column(column: Column) -> dict[str, Any]:
    nullable = column.missing != "never"
    if column.kind == "id":
        return {"sdtype": "id"}
    if column.is_number:
        return {
            "sdtype": "numerical",
            "range_min": column.lower,
            "range_max": column.upper,
            "decimal_places": column.decimals,
            "range_is_nullable": nullable,
        }
    values: list[Any] = [int(level) for level in column.levels] if column.kind == "flag" else list(column.levels)
    sdtype = "ordinal" if column.kind == "ordinal" else "categorical"
    return {"sdtype": sdtype, "range_values": values, "range_is_nullable": nullable}
