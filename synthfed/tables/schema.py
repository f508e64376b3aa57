"""What a table may hold: columns with public bounds and levels, and the survival endpoints among them.

A `Schema` is public by declaration. Everything that later depends on the *shape* of the data (the encoder's grid,
the network's width, the size of every message) is computed from it and from nothing else, so that none of it can
tell one patient's presence. Values are read from `datasets/<disease>/dictionary.toml` by `tables.dictionary`.

A *typed table* is a `pandas.DataFrame` whose columns have these dtypes (`Schema.dtype`):

| kind         | dtype                        | missing | example            |
|--------------|------------------------------|---------|--------------------|
| `id`         | `string`                     | never   | patient_id         |
| `continuous` | `float64`                    | NaN     | hb_g_dl            |
| `count`      | `Int64`                      | NA      | platelets, os_days |
| `flag`       | `Int64`, 0 or 1              | NA      | NPM1               |
| `category`   | `category` of the levels     | NaN     | sex                |
| `ordinal`    | ordered `category`           | NaN     | ecog               |
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from synthfed.errors import DictionaryError, UnknownColumn

Kind = Literal["id", "continuous", "count", "flag", "category", "ordinal"]
Scale = Literal["linear", "log"]
Missing = Literal["never", "possible", "structural"]
KnownAt = Literal["baseline", "treatment", "outcome"]

NUMERIC_KINDS: frozenset[str] = frozenset({"continuous", "count"})
LEVEL_KINDS: frozenset[str] = frozenset({"flag", "category", "ordinal"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dictionary.

    Attributes:
        lower, upper: Public bounds, inclusive, in `unit`. Required for numbers.
        scale: How the grid between the bounds is spaced.
        decimals: Digits kept after the point when a value is written.
        knots: Public, increasing cell edges inside the bounds (published quantiles, never this cohort's).
        spikes: Single values that deserve a cell of their own, such as 0 or 100 %.
        levels: Allowed levels, in order. Flags have `("0", "1")`.
        other: The level that unknown spellings fall to; empty means an unknown spelling is an error.
        missing: `never`, `possible`, or `structural` (blank because another column makes it meaningless).
        derived: Computed by a rule from other columns; not modelled, unless it is a guide.
        guide: Derived, and yet learned beside the columns that it follows from (`tables.guides`).
        known_at: When a clinician would know it; outcome columns are dropped when the outcome is predicted.
        aliases: Other headers that mean this column.
        synonyms: Other spellings of levels, as (spelling in lower case, level).
        units: Other units, as (unit, factor to this column's unit).
    """

    name: str
    kind: Kind
    label: str = ""
    unit: str = ""
    lower: float | None = None
    upper: float | None = None
    scale: Scale = "linear"
    decimals: int = 0
    knots: tuple[float, ...] = ()
    spikes: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    other: str = ""
    missing: Missing = "possible"
    derived: bool = False
    guide: bool = False
    known_at: KnownAt = "baseline"
    group: str = "clinical"
    sensitive: bool = False
    aliases: tuple[str, ...] = ()
    synonyms: tuple[tuple[str, str], ...] = ()
    units: tuple[tuple[str, float], ...] = ()
    code: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.kind in NUMERIC_KINDS:
            self._check_number()
        if self.kind == "flag" and not self.levels:
            object.__setattr__(self, "levels", ("0", "1"))
        if self.kind in LEVEL_KINDS and len(set(self.levels)) < 2:
            raise DictionaryError(
                f"column {self.name!r} ({self.kind}) has levels {list(self.levels)}; "
                "it needs at least two different ones: add levels = [...]"
            )
        if self.other and self.other not in self.levels:
            raise DictionaryError(f"column {self.name!r}: other = {self.other!r} is not among its levels")

    def _check_number(self) -> None:
        if self.lower is None or self.upper is None or not self.lower < self.upper:
            raise DictionaryError(
                f"column {self.name!r} ({self.kind}) has bounds [{self.lower}, {self.upper}]; "
                "it needs public bounds lower < upper, chosen from knowledge and not from these rows"
            )
        if self.scale == "log" and self.lower <= 0:
            raise DictionaryError(f"column {self.name!r}: scale = 'log' needs lower > 0, found {self.lower}")
        if list(self.knots) != sorted(set(self.knots)) or any(not self.lower < k < self.upper for k in self.knots):
            raise DictionaryError(f"column {self.name!r}: knots must increase strictly between the bounds")

    @property
    def is_number(self) -> bool:
        return self.kind in NUMERIC_KINDS

    @property
    def has_levels(self) -> bool:
        return self.kind in LEVEL_KINDS


@dataclass(frozen=True, slots=True)
class Survival:
    """A time and its event flag, modelled as one token and drawn as one curve.

    Attributes:
        time: Column with days since the start.
        event: Flag column, 1 when the event happened at `time`, 0 when follow-up ended there.
        horizon_days: The public end of the plots and areas (tau).
    """

    name: str
    time: str
    event: str
    label: str = ""
    horizon_days: float = 1826.0
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one disease's table, in order, and its survival endpoints."""

    disease: str
    columns: tuple[Column, ...]
    survivals: tuple[Survival, ...] = ()
    title: str = ""
    _by_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {column.name: column for column in self.columns}
        if len(by_name) != len(self.columns):
            names = [column.name for column in self.columns]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DictionaryError(f"columns named twice: {twice}")
        object.__setattr__(self, "_by_name", by_name)
        for endpoint in self.survivals:
            if endpoint.time not in by_name or endpoint.event not in by_name:
                raise DictionaryError(
                    f"survival {endpoint.name!r} needs columns {endpoint.time!r} and {endpoint.event!r}; one is missing"
                )

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Column:
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownColumn(f"column {name!r} is not in the {self.disease!r} dictionary") from None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def primary_survival(self) -> Survival | None:
        """The endpoint that leads reports: the one marked primary, else the first."""
        for endpoint in self.survivals:
            if endpoint.primary:
                return endpoint
        return self.survivals[0] if self.survivals else None

    @property
    def modelled(self) -> tuple[Column, ...]:
        """Columns a generator learns: neither identity nor derived, but guides."""
        return tuple(column for column in self.columns if column.kind != "id" and (column.guide or not column.derived))

    def select(self, names: Iterable[str]) -> "Schema":
        """Keep `names` (in dictionary order) and the endpoints whose two columns both stay."""
        wanted = set(names)
        unknown = sorted(wanted - set(self.names))
        if unknown:
            raise UnknownColumn(
                f"columns {unknown} are not in the {self.disease!r} dictionary; known: {', '.join(self.names)}"
            )
        return replace(
            self,
            columns=tuple(column for column in self.columns if column.name in wanted),
            survivals=tuple(s for s in self.survivals if s.time in wanted and s.event in wanted),
        )

    def dtype(self, name: str) -> Any:
        """The pandas dtype of a typed column (table in the module's docstring)."""
        column = self[name]
        if column.kind == "id":
            return pd.StringDtype()
        if column.kind == "continuous":
            return "float64"
        if column.kind in ("count", "flag"):
            return pd.Int64Dtype()
        return pd.CategoricalDtype(list(column.levels), ordered=column.kind == "ordinal")

    def cast(self, table: pd.DataFrame) -> pd.DataFrame:
        """Give every column of `table` its typed dtype, in dictionary order; values are not checked."""
        return pd.DataFrame(
            {
                c.name: table[c.name].astype(self.dtype(c.name), copy=False)
                for c in self.columns
                if c.name in table.columns
            },
            index=table.index,
        )

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, enough to rebuild the schema with `from_dict`; only guides say what they are."""
        return {
            "disease": self.disease,
            "title": self.title,
            "columns": [
                {key: value for key, value in asdict(column).items() if key != "guide" or value}
                for column in self.columns
            ],
            "survivals": [asdict(endpoint) for endpoint in self.survivals],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "Schema":
        """Rebuild a schema written by `to_dict`."""
        columns = []
        for raw in data["columns"]:  # type: ignore[attr-defined]
            fields = dict(raw)
            for key in ("knots", "spikes", "levels", "aliases"):
                fields[key] = tuple(fields[key])
            for key in ("synonyms", "units"):
                fields[key] = tuple(tuple(pair) for pair in fields[key])
            columns.append(Column(**fields))
        endpoints = tuple(Survival(**raw) for raw in data["survivals"])  # type: ignore[attr-defined]
        return cls(str(data["disease"]), tuple(columns), endpoints, str(data["title"]))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hex; sites compare it before anything is learned."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
