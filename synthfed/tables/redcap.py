"""Read a REDCap data dictionary: what the fields of a raw export mean.

The export holds codes; the 18-column dictionary beside it holds the choices, the units (in the field note), the type,
the valid range and the branching logic. A checkbox becomes one column per box, `field___code`, and every box is 0
where the field was never shown: only the branching logic tells that from "none of these".
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from synthfed.errors import UnreadableFile
from synthfed.tables.branching import BranchingError, box_name, parse_branching
from synthfed.tables.cells import MISSING_CODES
from synthfed.tables.dictionary import header_key
from synthfed.tables.files import read_frame

# header in the file and in the application's interface -> attribute
_HEADERS = {
    "variable / field name": "name",
    "field_name": "name",
    "form name": "form",
    "form_name": "form",
    "field type": "kind",
    "field_type": "kind",
    "field label": "label",
    "field_label": "label",
    "choices, calculations, or slider labels": "choices",
    "select_choices_or_calculations": "choices",
    "field note": "note",
    "field_note": "note",
    "text validation type or show slider number": "validation",
    "text_validation_type_or_show_slider_number": "validation",
    "text validation min": "minimum",
    "text_validation_min": "minimum",
    "text validation max": "maximum",
    "text_validation_max": "maximum",
    "identifier?": "identifier",
    "identifier": "identifier",
    "branching logic (show field only if...)": "branching",
    "branching_logic": "branching",
}
_CHOICE_KINDS = ("radio", "dropdown", "checkbox")
_ADMINISTRATIVE = re.compile(
    r"redcap_(data_access_group|event_name|repeat_instrument|repeat_instance|survey_identifier)|.*_timestamp"
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form.

    Attributes:
        kind: `text`, `radio`, `dropdown`, `yesno`, `truefalse`, `checkbox`, `calc`, `slider`, `notes`, `descriptive`,
            `file`.
        label: What the form shows beside the field.
        choices: (code, label) in order, without the codes for missing.
        missing: Codes whose choice stands for missing.
        note: The field note, where the unit is.
        minimum, maximum: Valid range of a number, as written.
        branching: When the field is shown; empty means always.
    """

    name: str
    form: str
    kind: str
    label: str
    choices: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    note: str
    validation: str
    minimum: str
    maximum: str
    identifier: bool
    branching: str

    @property
    def is_free_text(self) -> bool:
        """Whether it holds words or files, which never enter a table."""
        return self.kind in ("notes", "descriptive", "file", "signature")

    @property
    def is_yes_or_no(self) -> bool:
        """Whether it only says yes or no."""
        return self.kind in ("yesno", "truefalse")


@dataclass(frozen=True, slots=True)
class RedcapDictionary:
    """The fields of a project, by name."""

    fields: Mapping[str, Field]

    def owner(self, header: str) -> tuple[Field, str | None] | None:
        """The field behind an exported column, and the box's code where it is a box of a checkbox."""
        key = header_key(header)
        if key in self.fields and self.fields[key].kind != "checkbox":
            return self.fields[key], None
        name, separator, _ = key.partition("___")
        field = self.fields.get(name)
        if not separator or field is None:
            return None
        codes = [code for code, _ in field.choices] + list(field.missing)
        return next(((field, code) for code in codes if box_name(name, code) == key), None)

    def asked_fields(self) -> frozenset[str]:
        """Columns that the branching logic looks at; a condition not understood is refused where a column needs it."""
        names: set[str] = set()
        for field in self.fields.values():
            with suppress(BranchingError):
                names |= parse_branching(field.branching).fields if field.branching else frozenset()
        return frozenset(names)

    def is_administrative(self, header: str) -> bool:
        """Whether the export adds this column by itself: form status, access group, event."""
        key = header_key(header)
        forms = {field.form for field in self.fields.values()}
        return _ADMINISTRATIVE.fullmatch(key) is not None or key in {f"{form}_complete" for form in forms}


def load_redcap(path: Path) -> RedcapDictionary:
    """Read a REDCap data dictionary as downloaded (CSV).

    Raises:
        UnreadableFile: It is no such dictionary.
    """
    frame = read_frame(path)
    places = {_HEADERS[header_key(name)]: name for name in frame.columns if header_key(name) in _HEADERS}
    absent = sorted(set(_HEADERS.values()) - set(places))
    if absent:
        raise UnreadableFile(
            f"{path.name} is not a REDCap data dictionary: it lacks {', '.join(absent)}; "
            "download it under Designer > Download the current data dictionary"
        )
    rows = frame[list(places.values())].set_axis(list(places), axis=1).to_dict("records")
    fields = [_field({str(key): str(value) for key, value in row.items()}) for row in rows]
    return RedcapDictionary({field.name: field for field in fields})


def _field(row: Mapping[str, str]) -> Field:
    kind = row["kind"].casefold()
    pairs = _choices(row["choices"]) if kind in _CHOICE_KINDS else []
    return Field(
        name=row["name"].casefold(),
        form=row["form"].casefold(),
        kind=kind,
        label=row["label"],
        choices=tuple(pair for pair in pairs if not _is_missing_code(pair[0])),
        missing=tuple(code for code, _ in pairs if _is_missing_code(code)),
        note=row["note"],
        validation=row["validation"].casefold(),
        minimum=row["minimum"],
        maximum=row["maximum"],
        identifier=row["identifier"].casefold() in ("y", "yes", "1"),
        branching=row["branching"],
    )


def _choices(text: str) -> list[tuple[str, str]]:
    """`1, Male | 0, Female` as pairs; a label may hold commas."""
    pairs = [part.partition(",") for part in text.split("|") if part.strip()]
    return [(code.strip(), label.strip()) for code, _, label in pairs]


def _is_missing_code(code: str) -> bool:
    """Negative registry codes: REDCap's -991 to -997, and -9, -99, -999."""
    return re.fullmatch(r"-\d{1,3}", code) is not None and int(code) in MISSING_CODES
