"""One row per patient, and what becomes of rows that break hard rules: the last steps of reading a hospital's table."""

from typing import Literal

import pandas as pd

from synthfed.errors import DataError
from synthfed.tables.findings import Finding
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Schema

OnViolation = Literal["missing", "keep", "drop"]
Findings = tuple[Finding, ...]

ROWS_NAMED = 5
_SETTLED = {"missing": "the cells are read as missing", "keep": "the cells are kept", "drop": "the rows are left out"}


def number_patients(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Row numbers where a table came without patient ids: then every row is taken for another patient."""
    numbers = pd.Series([str(i) for i in range(1, len(table) + 1)], index=table.index, dtype="string")
    missing = [column.name for column in schema.columns if column.kind == "id" and column.name not in table]
    return table.assign(**dict.fromkeys(missing, numbers))


def merge_duplicates(table: pd.DataFrame, schema: Schema, site: str) -> tuple[pd.DataFrame, Findings]:
    """One row per patient: identical rows are merged, complementary ones united, contradicting ones refused.

    Raises:
        DataError: Two rows of one patient differ in a cell that both know; the row numbers and the columns are named,
            never the id.
    """
    identity = next((c.name for c in schema.columns if c.kind == "id" and c.name in table.columns), None)
    if identity is None or not len(table):
        return table, ()
    ids = table[identity]
    if ids.isna().any():
        rows = [int(i) + 1 for i in table.index[ids.isna()][:ROWS_NAMED]]
        raise DataError(f"site {site!r}: {int(ids.isna().sum())} rows have no {identity!r} (first: {rows}); add it")
    if ids.is_unique:
        return table, ()
    merged = table.drop_duplicates()
    findings = []
    if len(table) > len(merged):
        note = "identical rows of one patient were merged"
        findings.append(Finding("duplicate", identity, len(table) - len(merged), note))
    again = merged[merged.duplicated(identity, keep=False)]
    if not len(again):
        return merged, tuple(findings)
    known = again.groupby(identity, sort=False, observed=True).nunique()
    contradicting = known.index[(known > 1).any(axis=1)]
    if len(contradicting):
        rows = [int(i) + 1 for i in again.index[again[identity].isin(contradicting)][: 2 * ROWS_NAMED]]
        columns = [str(name) for name in known.columns[(known > 1).any()]]
        raise DataError(
            f"site {site!r}: rows {rows} share a {identity!r} and contradict each other in {', '.join(columns)}; "
            "resolve them in the file"
        )
    union = _united(merged, identity)
    note = "rows of one patient that complete each other were united"
    findings.append(Finding("duplicate", identity, len(merged) - len(union), note))
    return union, tuple(findings)


def _united(table: pd.DataFrame, identity: str) -> pd.DataFrame:
    """The first row of each patient, its blanks filled from the patient's other rows."""
    others = [name for name in table.columns if name != identity]
    again = table[table.duplicated(identity, keep=False)]
    filled = table.copy()
    for name in others:
        known = again.loc[again[name].notna()].drop_duplicates(identity).set_index(identity)[name]
        blank = filled.index[filled[name].isna() & filled[identity].isin(known.index)]
        filled.loc[blank, name] = known.reindex(filled.loc[blank, identity]).to_numpy()
    return filled.drop_duplicates(identity)


def settle_violations(table: pd.DataFrame, rules: RuleSet, on_violation: OnViolation) -> tuple[pd.DataFrame, Findings]:
    """Derive what is derived and settle broken hard rules; counts and row numbers go to the site's own report."""
    if not rules.rules:
        return table, ()
    blanked, rows_of = rules.blank(table)
    text = {rule.id: rule.text for rule in rules.rules}
    findings = tuple(
        Finding("rule", rule, len(rows), f"{text[rule]} Broken {_named(table.index[rows])}; {_SETTLED[on_violation]}")
        for rule, rows in rows_of.items()
    )
    if on_violation == "missing":
        return blanked, findings
    derived = rules.derive(table)
    if on_violation == "keep":
        return derived, findings
    broken = rules.check(derived)[[rule.id for rule in rules.hard]].any(axis=1)
    return derived[~broken], findings


def _named(labels: pd.Index) -> str:
    """Row numbers as in the file, the header not counted."""
    numbers = [str(int(label) + 1) for label in labels[:ROWS_NAMED]]
    more = "" if len(labels) <= ROWS_NAMED else f" and {len(labels) - ROWS_NAMED} more"
    return f"in row{'s' * (len(labels) > 1)} {', '.join(numbers)}{more}"
