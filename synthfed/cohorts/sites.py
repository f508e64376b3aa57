"""Cohorts: the named sites of one disease, each with its training rows and the hold-out that is never trained on.

`load_cohort` draws simulated patients; `read_cohort` reads hospitals' tables. Both give the same `Cohort`, and
`Cohort.simulated` says which it is, wherever it is shown.

Who is held out is decided first, patient by patient (`cohorts.holdout`).
"""

import functools
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from synthfed.cohorts.aml import simulate_aml
from synthfed.cohorts.drawing import Mask
from synthfed.cohorts.holdout import held_out
from synthfed.cohorts.patients import (
    ROWS_NAMED,
    Findings,
    OnViolation,
    merge_duplicates,
    number_patients,
    settle_violations,
)
from synthfed.cohorts.scd import simulate_scd
from synthfed.cohorts.skew import (
    Split,
    SplitRule,
    deal,
    label_columns,
    made_up_sites,
    site_counts,
    site_effects,
    unrecorded_columns,
)
from synthfed.errors import ConfigError, DataError, EmptySite, MissingColumn
from synthfed.tables.conditions import to_series
from synthfed.tables.dictionary import Dictionary, header_key, load_dictionary
from synthfed.tables.handover import list_tables, read_handover, site_name
from synthfed.tables.reading import ImportReport, type_table
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema

Source = Mapping[str, str | Path | pd.DataFrame] | pd.DataFrame | str | Path

_SIMULATORS: Mapping[str, Callable[..., pd.DataFrame]] = {"aml": simulate_aml, "scd": simulate_scd}


@dataclass(frozen=True)
class Cohort:
    """One disease's patients at named sites.

    Attributes:
        schema: The selected columns.
        rules: The rules that speak of them.
        sites: Training rows by site: typed tables, derived columns included.
        holdouts: Rows never trained on, by site.
        simulated: True when no row stems from a patient.
        origin: Where the rows come from, in words, for reports.
        reports: What was noticed while reading, by site. Counts of patients: stays at the site.
    """

    schema: Schema
    rules: RuleSet
    sites: Mapping[str, pd.DataFrame]
    holdouts: Mapping[str, pd.DataFrame]
    simulated: bool
    origin: str
    reports: Mapping[str, ImportReport]

    def select(self, columns: Sequence[str]) -> "Cohort":
        """The same patients with these columns only, and the rules that still apply.

        Raises:
            MissingColumn: The cohort lacks one of them.
        """
        absent = sorted(set(columns) - set(self.schema.names))
        if absent:
            raise MissingColumn(f"the cohort ({self.origin}) lacks columns {absent}, which the pipeline needs")
        if set(columns) == set(self.schema.names):
            return self
        schema = self.schema.select(columns)
        return replace(
            self,
            schema=schema,
            rules=self.rules.restrict(schema.names),
            sites={site: rows[[n for n in schema.names if n in rows]] for site, rows in self.sites.items()},
            holdouts={site: rows[[n for n in schema.names if n in rows]] for site, rows in self.holdouts.items()},
        )

    @property
    def site_names(self) -> tuple[str, ...]:
        return tuple(self.sites)

    @property
    def counts(self) -> Mapping[str, int]:
        """Training rows by site."""
        return {name: len(table) for name, table in self.sites.items()}

    @property
    def train(self) -> pd.DataFrame:
        """All training rows in one table; for simulated cohorts and evaluation inside one trust boundary."""
        return _pooled(self.sites)

    @property
    def holdout(self) -> pd.DataFrame:
        """All hold-out rows in one table."""
        return _pooled(self.holdouts)


def load_cohort(
    disease: str = "aml",
    *,
    sites: int | Sequence[str] = 4,
    patients: int = 2000,
    shares: Sequence[float] | None = None,
    seed: int = 7,
    skew: float = 1.0,
    split: Split = "hospitals",
    missing: float = 1.0,
    unrecorded: int = 0,
    profile: Literal["beat", "trial"] = "beat",
    columns: Sequence[str] | Literal["all"] | None = None,
    holdout_fraction: float = 0.2,
) -> Cohort:
    """Simulate a cohort: no row stems from a patient.

    Args:
        sites: Number of hospitals, or their names.
        patients: All patients together, hold-out included.
        shares: Each site's share of them; equal when left out.
        seed: Same seed, same rows.
        skew: How much the hospitals differ: 0 not at all, 1 clearly.
        split: In what they differ, see `cohorts.skew`.
        missing: Multiplies the shares of missing values; 0 leaves structural blanks only.
        unrecorded: So many columns, others at each site but the first, are blank there as if never recorded.
        profile: AML only, `beat` (all ages and treatments) or `trial` (intensive, up to 65 years).
        columns: Columns to keep; those of the shipped pipeline when left out, or `all` that the simulator draws.

    Raises:
        ConfigError: An unknown disease, a profile it does not have, or shares that do not fit the sites.
        EmptySite: A site that would get no training patient.

    Example: `load_cohort("aml", sites=["lyon", "milano", "berlin"], patients=900, seed=1).train`
    """
    if disease not in _SIMULATORS:
        raise ConfigError(f"no simulator for {disease!r}; simulated diseases: {', '.join(_SIMULATORS)}")
    if profile != "beat" and disease != "aml":
        raise ConfigError(f"profile {profile!r} exists for 'aml' only; leave it out for {disease!r}")
    names = [f"site_{i}" for i in range(1, sites + 1)] if isinstance(sites, int) else list(sites)
    counts = site_counts(patients, names, shares)
    dictionary = load_dictionary(disease)
    chosen = {"profile": profile} if disease == "aml" else {}
    wanted = columns if columns is None or columns == "all" else (*columns, *label_columns(disease))
    simulate = functools.partial(_SIMULATORS[disease], missing=missing, columns=wanted, **chosen)
    draws = [int(draw) for draw in np.random.SeedSequence([seed, 1]).generate_state(len(names))]
    if split == "hospitals":
        effects = site_effects(counts, seed, skew)
        parts = zip(names, counts, effects, draws, strict=True)
        tables = {name: simulate(count, seed=draw, site=effect) for name, count, effect, draw in parts}
    else:
        whole = simulate(patients, seed=draws[0])
        dealt = deal(whole, names, counts, disease=disease, split=split, skew=skew, seed=seed)
        tables = {name: whole.iloc[rows].reset_index(drop=True) for name, rows in dealt.items()}
    for name, table in tables.items():
        table["patient_id"] = pd.Series(
            [f"SIM-{name}-{i:06d}" for i in range(1, len(table) + 1)], dtype=pd.StringDtype(), index=table.index
        )
    drawn = next(iter(tables.values())).columns
    schema = dictionary.schema.select(drawn if columns is None or columns == "all" else columns)
    absent = [name for name in schema.names if name not in drawn]
    if absent:
        raise MissingColumn(f"the {disease!r} simulator does not draw {absent}; leave these columns out")
    rules = RuleSet.load(dictionary.folder, dictionary.schema).restrict(schema.names)
    for name, blank in unrecorded_columns(schema, rules, names, unrecorded, seed).items():
        nothing, index = np.full(len(tables[name]), np.nan), tables[name].index
        tables[name] = tables[name].assign(**{c: to_series(nothing, schema[c], schema, index) for c in blank})
    tables = {name: rules.derive(table[list(schema.names)]) for name, table in tables.items()}
    reports = {name: ImportReport(len(table), ()) for name, table in tables.items()}
    key = hashlib.sha256(f"synthfed simulated split {seed}".encode()).digest()
    origin = f"simulated {disease} cohort, {patients} patients, seed {seed}: no row stems from a patient"
    held = {site: held_out(table, None, key, site, holdout_fraction) for site, table in tables.items()}
    return _cohort(schema, rules, tables, held, reports, simulated=True, origin=origin, min_rows=1)


def read_cohort(
    source: Source,
    *,
    dictionary: str | Path = "aml",
    columns: Sequence[str] | None = None,
    site_column: str | None = None,
    split_sites: int | None = None,
    split_rule: SplitRule = "random",
    seed: int = 7,
    holdout_fraction: float = 0.2,
    min_rows: int = 1,
    on_out_of_range: Literal["error", "missing"] = "error",
    on_violation: OnViolation = "missing",
    split_key: bytes | None = None,
    ignore: Sequence[str] = (),
) -> Cohort:
    """Read real patients from one file or table per site, a folder of them, or one table to be split.

    A file is read through the mapping beside it (`lyon.mapping.toml` for `lyon.csv`) where there is one.

    Args:
        source: `{"lyon": "lyon.csv", ...}`, a folder with one file per site (named after it), a file, or a DataFrame.
        dictionary: A shipped disease or the path of a dictionary.toml.
        columns: Columns to keep; all of the dictionary's that every table has when left out.
        site_column: The column of a single table that names the site.
        split_sites: Split a single table into this many made-up sites, by `split_rule`: `random` in equal parts,
            `size` in shares 1 : 1/2 : 1/3 ..., `age` from young to old. The origin says so.
        min_rows: Fewest training rows a site may have.
        on_violation: What becomes of cells that break hard rules: missing, kept, or the row dropped.
        split_key: 32 bytes that decide who is held out. Keep it secret and keep it: another key, another hold-out.
            A new random one when left out.
        ignore: Headers that are not in the dictionary and may be left out in silence.

    Raises:
        DataError: A table does not fit its dictionary or its mapping, or one patient's rows contradict each other.
        MappingError: A mapping file contradicts the dictionary.
        EmptySite: A site has fewer training rows than `min_rows`.
        ConfigError: `site_column` and `split_sites` together, or either of them with several tables.
    """
    known = load_dictionary(dictionary)
    extra = (*ignore, *(() if site_column is None else (site_column,)))
    handed = _tables_of(source, known, extra)
    tables = {name: table for name, (table, _) in handed.items()}
    noticed = {name: findings for name, (_, findings) in handed.items()}
    names = list(handed)
    del handed
    if (site_column or split_sites) and len(tables) > 1:
        raise ConfigError("site_column and split_sites need one table; the source has one per site already")
    if site_column and split_sites:
        raise ConfigError("give site_column or split_sites, not both")
    if split_sites is not None and split_sites < 2:
        raise ConfigError(f"split_sites is {split_sites}; it needs at least 2")
    unrecorded = {f.column for findings in noticed.values() for f in findings if f.kind == "not_recorded"}
    shared = [name for name in _shared_columns(tables, known, extra) if name not in unrecorded]
    wanted = shared if columns is None else list(columns)
    schema = known.schema.select(wanted)
    rules = RuleSet.load(known.folder, known.schema).restrict(schema.names)
    typed: dict[str, pd.DataFrame] = {}
    reports: dict[str, ImportReport] = {}
    for name in names:
        labels = _site_labels(tables[name], site_column, name)
        table, report = type_table(  # which drops the texts: a tall table of them is larger than the typed one
            tables.pop(name), known, list(schema.names), origin=name, extra=extra, on_out_of_range=on_out_of_range
        )
        absent = {finding.column for finding in noticed[name] if finding.kind == "not_recorded"}
        said = (finding for finding in report.findings if not (finding.kind == "empty" and finding.column in absent))
        found = (*noticed[name], *said)
        table = number_patients(table, schema)
        unanswerable = {rule.id for rule in rules.rules if rule.body.writes and set(rule.body.writes) <= absent}
        for site in dict.fromkeys(labels):
            rows = labels == site
            part, merged = merge_duplicates(table if rows.all() else table[rows], schema, site)
            typed[site], broken = settle_violations(part, rules, on_violation)
            broken = tuple(finding for finding in broken if finding.column not in unanswerable)
            reports[site] = ImportReport(int(rows.sum()), (*found, *merged, *broken))
            del part
        del table  # as it was before the rules: a tall one should not be there twice
    origin = f"{', '.join(names)}" if len(names) <= 6 else f"{len(names)} tables"
    key = secrets.token_bytes(32) if split_key is None else split_key
    identity = next((column.name for column in schema.columns if column.kind == "id"), None)
    held = {site: held_out(table, identity, key, site, holdout_fraction) for site, table in typed.items()}
    if split_sites is not None:
        (name, table), report = next(iter(typed.items())), next(iter(reports.values()))
        parts = made_up_sites(table, split_sites, split_rule, seed)
        typed = {site: table.iloc[rows].reset_index(drop=True) for site, rows in parts.items()}
        held = {site: held[name][rows] for site, rows in parts.items()}
        reports = {site: replace(report, rows=len(rows)) for site, rows in parts.items()}
        origin += f", split by {split_rule!r} into {split_sites} made-up sites (seed {seed})"
    return _cohort(schema, rules, typed, held, reports, simulated=False, origin=origin, min_rows=min_rows)


def _pooled(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(tables.values()), ignore_index=True)


def _tables_of(source: Source, known: Dictionary, extra: Sequence[str]) -> dict[str, tuple[pd.DataFrame, Findings]]:
    """Each table as texts, recoded where a mapping lies beside it, and what that did."""
    if isinstance(source, pd.DataFrame):
        return {"site": (source, ())}
    if isinstance(source, Mapping):
        if not source:
            raise DataError("the source names no site; give at least one file or table")
        return {
            name: (table, ()) if isinstance(table, pd.DataFrame) else read_handover(Path(table), known, extra=extra)
            for name, table in source.items()
        }
    path = Path(source)
    files = list_tables(path, known) if path.is_dir() else [path]
    return {site_name(file): read_handover(file, known, extra=extra) for file in files}


def _shared_columns(tables: Mapping[str, pd.DataFrame], known: Dictionary, extra: Sequence[str]) -> list[str]:
    """The dictionary's columns that every table has, and those derived or composed from them."""
    tolerated = {header_key(name) for name in extra}
    shared: set[str] | None = None
    for table in tables.values():
        headers = {header_key(str(header)) for header in table.columns} - tolerated
        present = {
            column.name
            for column in known.schema.columns
            if headers & {header_key(name) for name in (column.name, *column.aliases)}
        }
        for recipe in known.composed:
            if {flag for flag, _ in recipe.parts} <= present:
                present = (present - {flag for flag, _ in recipe.parts}) | {recipe.column}
        shared = present if shared is None else shared & present
    kept = {name for name in shared or set() if not known.schema[name].derived}
    rules = RuleSet.load(known.folder, known.schema)
    derived = {column.name for column in known.schema.columns if column.derived}
    kept |= {rule.derives for rule in rules.restrict(kept | derived).hard if rule.derives}
    return sorted(kept)


def _site_labels(raw: pd.DataFrame, site_column: str | None, name: str) -> pd.Series:
    if site_column is None:
        return pd.Series([name] * len(raw), dtype="object")
    if site_column not in raw.columns:
        raise MissingColumn(f"{name}: no column {site_column!r} to name the sites; columns: {list(raw.columns)[:20]}")
    labels = raw[site_column].astype("string").fillna("").str.strip().reset_index(drop=True)
    if (labels == "").any():
        unnamed = np.flatnonzero(labels == "")
        rows = [int(i) + 1 for i in unnamed[:ROWS_NAMED]]
        raise DataError(
            f"{name}: column {site_column!r} is empty in {len(unnamed)} rows (first: {rows}); name the site"
        )
    return labels.astype("object")


def _cohort(
    schema: Schema,
    rules: RuleSet,
    tables: dict[str, pd.DataFrame],
    held: Mapping[str, Mask],
    reports: Mapping[str, ImportReport],
    *,
    simulated: bool,
    origin: str,
    min_rows: int,
) -> Cohort:
    """Part every table in two; takes the tables away from `tables`, so that a tall one is not there twice."""
    train, holdout = {}, {}
    for site in list(tables):
        table = tables.pop(site)
        train[site] = table[~held[site]].reset_index(drop=True)
        holdout[site] = table[held[site]].reset_index(drop=True)
        del table
    for site, table in train.items():
        if len(table) < min_rows:
            raise EmptySite(
                f"site {site!r} has {len(table)} training rows after {len(holdout[site])} were held out; "
                f"it needs at least {min_rows} (cohort.min_rows): add patients or leave the site out"
            )
    kept = schema.select(next(iter(train.values())).columns)
    return Cohort(kept, rules.restrict(kept.names), train, holdout, simulated, origin, dict(reports))
