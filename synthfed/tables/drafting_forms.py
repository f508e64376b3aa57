"""Draft a dictionary from a REDCap data dictionary: a form's own choices, ranges and units are public knowledge.

Fields that identify somebody, free text, files and dates are left out; a field that is only shown where another says
so becomes a rule. The raw export is then read with a mapping file that names the form (`redcap_dictionary = "..."`).
"""

import re

import pandas as pd

from synthfed.tables.branching import box_name
from synthfed.tables.cells import read_levels
from synthfed.tables.dictionary import Dictionary, header_meanings, loose_key
from synthfed.tables.drafting import Draft, known_columns, listed, open_bounds, open_levels, quoted, slug
from synthfed.tables.redcap import Field, RedcapDictionary
from synthfed.tables.schema import Column

_SHOWN_IF = re.compile(r"\s*\[(\w+)(?:\((\w+)\))?\]\s*=\s*['\"]([^'\"]*)['\"]\s*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def draft_from_form(form: RedcapDictionary) -> Draft:
    """Draft a dictionary for the export of a REDCap project."""
    known, draft = known_columns(), Draft()
    names: dict[tuple[str, str], tuple[str, str]] = {}  # field and code -> column and level
    for place, field in enumerate(form.fields.values()):
        reason = _reason_to_leave_out(field)
        if place == 0:  # REDCap's first field is the record
            lines = ['kind = "id"', f"label = {quoted(field.label or field.name)}", 'missing = "never"']
            draft.add("patient_id", [*lines, f"aliases = {listed([field.name])}"])
        elif reason:
            draft.ignored.append((field.name, reason))
        elif field.kind == "checkbox":
            for code, label in field.choices:
                name = f"{field.name}_{slug(code).removeprefix('x_')}"
                alias = f"aliases = {listed([box_name(field.name, code)])}"
                draft.add(name, ['kind = "flag"', f"label = {quoted(label)}", alias])
                names[field.name, code] = (name, "1")
        else:
            _add_field(draft, field, known, names)
    for field in form.fields.values():
        draft.rules += _rule(field, draft, names)
    draft.survivals = [s for s in known.schema.survivals if {s.time, s.event} <= set(draft.names)]
    return draft


def _reason_to_leave_out(field: Field) -> str:
    if field.identifier:
        return "marked as identifying"
    if field.is_free_text or (field.kind == "text" and not field.validation):
        return "free text"
    if field.validation.startswith(("date", "time")):
        return "dates; only their differences enter a table, see [differences] in a mapping"
    if field.kind == "text" and not field.validation.startswith(("integer", "number")):
        return f"text of the kind {field.validation}"
    if field.kind == "calc":
        return "calculated by the form; declare it yourself if it is wanted"
    return ""


def _add_field(draft: Draft, field: Field, known: Dictionary, names: dict[tuple[str, str], tuple[str, str]]) -> None:
    label = [f"label = {quoted(field.label or field.name)}"]
    if field.is_yes_or_no or _is_yes_or_no(field):
        synonyms = {text.casefold(): _flag(text) for _, text in field.choices}
        extra = [f"synonyms = {_inline(synonyms)}"] if synonyms else []
        draft.add(field.name, ['kind = "flag"', *label, *extra])
        for code, text in field.choices or (("0", "no"), ("1", "yes")):
            names[field.name, code] = (draft.names[-1], _flag(text))
    elif field.kind in ("radio", "dropdown"):
        twin = _known(field, known)
        levels = _levels(field, twin)
        if len(set(levels.values())) < 2:
            draft.add(field.name, ['kind = "category"', *label, *open_levels()], is_open=True)
            return
        synonyms = {text.casefold(): level for text, level in levels.items() if text.casefold() != level.casefold()}
        extra = [f"synonyms = {_inline(synonyms)}"] if synonyms else []
        kind = "ordinal" if twin is not None and twin.kind == "ordinal" else "category"
        distinct = list(dict.fromkeys(levels.values()))
        draft.add(field.name, [f'kind = "{kind}"', *label, f"levels = {listed(distinct)}", *extra])
        for code, text in field.choices:
            names[field.name, code] = (draft.names[-1], levels[text])
    else:
        draft.add(field.name, _number_lines(field, label), is_open=_range(field) is None)


def _number_lines(field: Field, label: list[str]) -> list[str]:
    whole = field.kind == "slider" or field.validation == "integer"
    bounds = _range(field)
    lines = ['kind = "count"' if whole else 'kind = "continuous"', *label]
    lines += [] if whole else [f"decimals = {_decimals(field)}  # CONFIRM"]
    lines += [f"unit = {quoted(field.note)}"] if field.note else ['unit = ""  # CONFIRM']
    if bounds is None:
        return [*lines, *open_bounds()]
    return [*lines, f"bounds = [{bounds[0]}, {bounds[1]}]  # CONFIRM: the range that the form allows"]


def _range(field: Field) -> tuple[str, str] | None:
    low, high = (
        (field.minimum or "0", field.maximum or "100") if field.kind == "slider" else (field.minimum, field.maximum)
    )
    if not _NUMBER.fullmatch(low) or not _NUMBER.fullmatch(high) or float(low) >= float(high):
        return None
    return low, high


def _decimals(field: Field) -> int:
    places = re.search(r"(\d)dp", field.validation)
    return int(places[1]) if places else 1


def _known(field: Field, known: Dictionary) -> Column | None:
    meanings = {loose_key(key): name for key, name in header_meanings(known.schema).items()}
    for text in (field.name, field.label.casefold()):
        if (name := meanings.get(loose_key(text))) is not None and known.schema[name].has_levels:
            return known.schema[name]
    return None


def _levels(field: Field, twin: Column | None) -> dict[str, str]:
    """A level for each choice's label: the known column's where it knows them all."""
    labels = [text for _, text in field.choices]
    if twin is not None:
        found = read_levels(pd.Series(labels, dtype="object"), twin).values
        if all(level is not None for level in found):
            return {text: str(level) for text, level in zip(labels, found, strict=True)}
    return {text: slug(text).removeprefix("x_") or text for text in labels}


def _is_yes_or_no(field: Field) -> bool:
    labels = [text for _, text in field.choices]
    return len(labels) == 2 and {_flag(text) for text in labels} == {"0", "1"}


def _flag(text: str) -> str:
    value = read_levels(pd.Series([text], dtype="object"), Column("x", "flag")).values[0]
    return "" if value is None else str(value)


def _rule(field: Field, draft: Draft, names: dict[tuple[str, str], tuple[str, str]]) -> list[str]:
    """A rule for a field that is shown only where another has one value; other logic is left to the reader."""
    match = _SHOWN_IF.fullmatch(field.branching)
    if match is None:
        return []
    parent, box, code = match.groups()
    column, level = names.get((parent, box or code), ("", ""))
    boxes = [names[field.name, choice][0] for choice, _ in field.choices if (field.name, choice) in names]
    children = [name for name in (boxes if field.kind == "checkbox" else [field.name]) if name in draft.names]
    if not column or not children or (box and code != "1"):
        return []
    shown = level if level in ("0", "1") else quoted(level)
    lines = ["[[rule]]", f"id = {quoted(f'B{len(draft.rules) + 1:02d}')}", 'kind = "structural"', 'class = "hard"']
    lines += [f"columns = {listed(children)}", f"when = {{ {quoted(column)} = {shown} }}"]
    lines += [
        'source = "branching logic of the form"',
        f"note = {quoted(f'{field.label or field.name}: asked only then')}",
    ]
    return ["\n".join(lines)]


def _inline(table: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{quoted(key)} = {quoted(value)}" for key, value in table.items()) + " }"
