"""Draft where columns come from that no header of a table names: composed from others, or not recorded at all.

What belongs together is read from public knowledge alone: a dictionary's compositions, its rules (whatever implies a
flag is a part of it; whatever exists only where something is known tells that it is known), its names (`IDH2_R140` is
part of `IDH2`) and a form's branching logic. Every line is a proposal for a person to confirm.
"""

import json
from collections.abc import Mapping, Sequence

from synthfed.tables.dictionary import Dictionary
from synthfed.tables.redcap import RedcapDictionary
from synthfed.tables.rule_kinds import Implies, Structural
from synthfed.tables.rules import RuleSet
from synthfed.tables.schema import Column


def source_lines(
    wanted: Sequence[str],
    given: Mapping[str, str],
    dictionary: Dictionary,
    redcap: RedcapDictionary | None,
) -> tuple[list[str], list[str]]:
    """Draft lines for wanted columns that the table does not name.

    Args:
        wanted: Columns of the dictionary that the pipeline needs and nothing in the draft gives.
        given: The header of each column that the draft does name.

    Returns:
        Lines for the top of the mapping file, and lines of its section [compose].
    """
    rules = RuleSet.load(dictionary.folder, dictionary.schema) if wanted else None
    composed: list[str] = []
    absent: list[str] = []
    needed: list[str] = []
    for name in wanted:
        column = dictionary.schema[name]
        flags = [f for recipe in dictionary.composed if recipe.column == name for f, _ in recipe.parts if f in given]
        if flags:
            composed.append(f"# {name} is composed from {', '.join(flags)} by the dictionary; no line is needed")
        elif recipe := _recipe(column, given, rules, redcap):
            composed += ["# CONFIRM how it is composed, and that nothing else belongs to it", f"# {name} = {recipe}"]
        elif column.missing == "never":
            needed.append(name)
        else:
            absent.append(name)
    top = [
        f"# CONFIRM the source of {name}, which must be known for every patient, in [columns] or [compose]"
        for name in needed
    ]
    if absent:
        top += [
            "# CONFIRM that the hospital does not record these; some may be behind headers that are undecided below"
        ]
        top += [f"# not_recorded = {json.dumps(absent, ensure_ascii=False)}"]
    return top, composed


def _recipe(column: Column, given: Mapping[str, str], rules: RuleSet | None, redcap: RedcapDictionary | None) -> str:
    """The right-hand side of a line in [compose]; empty where nothing public tells."""
    if column.kind != "flag" or rules is None:
        return ""
    if column.missing == "never" and (children := known_with(column.name, rules, given)):
        shown = [_branching(given[child], redcap) for child in children]
        if shown[0] and len(set(shown)) == 1:
            return _inline("any", [shown[0]])
        return _inline("known", [given[child] for child in children])
    parts = [name for name in (*_implying(column.name, rules), *given) if name in given]
    parts = [name for name in dict.fromkeys(parts) if _is_part(name, column.name, rules)]
    return _inline("any", [given[name] for name in parts]) if parts else ""


def known_with(parent: str, rules: RuleSet, given: Mapping[str, str]) -> list[str]:
    """Given columns that exist only where `parent` is 1."""
    bodies = [rule.body for rule in rules.hard if isinstance(rule.body, Structural)]
    gated = [body for body in bodies if body.when.columns == {parent}]
    return [child for body in gated for child in body.children if child in given]


def _implying(target: str, rules: RuleSet) -> list[str]:
    """Flags of which a rule says that they make `target` 1."""
    found = []
    for body in (rule.body for rule in rules.hard if isinstance(rule.body, Implies)):
        if any(demand.column == target and demand.values == (1.0,) for demand in body.demands):
            found += [
                demand.column
                for alternative in body.when.alternatives
                for demand in alternative
                if len(alternative) == 1 and demand.values == (1.0,)
            ]
    return found


def _is_part(name: str, whole: str, rules: RuleSet) -> bool:
    return rules.schema[name].kind == "flag" and (name.startswith(f"{whole}_") or name in _implying(whole, rules))


def _branching(header: str, redcap: RedcapDictionary | None) -> str:
    owner = redcap.owner(header) if redcap is not None else None
    return owner[0].branching if owner is not None else ""


def _inline(way: str, parts: Sequence[str]) -> str:
    return f"{{ {way} = {json.dumps(list(parts), ensure_ascii=False)} }}"
