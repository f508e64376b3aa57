"""The tables of the OMOP common data model 5.4 that hold what synthfed needs, on disk.

Column names and order follow the public table definitions (github.com/OHDSI/CommonDataModel, inst/ddl/5.4). Tables of
millions of rows are read as integers that point into their distinct texts.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthfed.errors import UnreadableFile
from synthfed.tables.dictionary import header_key
from synthfed.tables.formats.events import Texts
from synthfed.tables.numbers import plain_number

_DEFINITION = """
person: person_id gender_concept_id year_of_birth month_of_birth day_of_birth birth_datetime race_concept_id
    ethnicity_concept_id location_id provider_id care_site_id person_source_value gender_source_value
    gender_source_concept_id race_source_value race_source_concept_id ethnicity_source_value
    ethnicity_source_concept_id
observation_period: observation_period_id person_id observation_period_start_date observation_period_end_date
    period_type_concept_id
condition_occurrence: condition_occurrence_id person_id condition_concept_id condition_start_date
    condition_start_datetime condition_end_date condition_end_datetime condition_type_concept_id
    condition_status_concept_id stop_reason provider_id visit_occurrence_id visit_detail_id condition_source_value
    condition_source_concept_id condition_status_source_value
measurement: measurement_id person_id measurement_concept_id measurement_date measurement_datetime measurement_time
    measurement_type_concept_id operator_concept_id value_as_number value_as_concept_id unit_concept_id range_low
    range_high provider_id visit_occurrence_id visit_detail_id measurement_source_value
    measurement_source_concept_id unit_source_value unit_source_concept_id value_source_value measurement_event_id
    meas_event_field_concept_id
observation: observation_id person_id observation_concept_id observation_date observation_datetime
    observation_type_concept_id value_as_number value_as_string value_as_concept_id qualifier_concept_id
    unit_concept_id provider_id visit_occurrence_id visit_detail_id observation_source_value
    observation_source_concept_id unit_source_value qualifier_source_value value_source_value observation_event_id
    obs_event_field_concept_id
death: person_id death_date death_datetime death_type_concept_id cause_concept_id cause_source_value
    cause_source_concept_id
cdm_source: cdm_source_name cdm_source_abbreviation cdm_holder source_description source_documentation_reference
    cdm_etl_reference source_release_date cdm_release_date cdm_version cdm_version_concept_id vocabulary_version
source_to_concept_map: source_code source_concept_id source_vocabulary_id source_code_description target_concept_id
    target_vocabulary_id valid_start_date valid_end_date invalid_reason
"""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    name: tuple(columns.split())
    for name, columns in re.findall(r"^(\w+): (.*(?:\n    .*)*)", _DEFINITION, re.MULTILINE)
}
"""The columns of each table, in the order of the model."""

# Other tables that may lie beside them and are not read.
_OTHERS = frozenset(
    re.findall(
        r"\w+",
        """
        visit_occurrence visit_detail drug_exposure procedure_occurrence device_exposure note note_nlp
        specimen fact_relationship location care_site provider payer_plan_period cost drug_era dose_era
        condition_era episode episode_event metadata concept vocabulary domain concept_class
        concept_relationship relationship concept_synonym concept_ancestor drug_strength cohort
        cohort_definition
        """,
    )
)

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
_DELIMITERS = (",", "\t", ";", "|")
_NULLS = frozenset(["(null)", "null", "\\n"])


def omop_files(folder: Path) -> dict[str, Path]:
    """The model's tables in a folder, by table name in lower case; empty when it is no such folder.

    Raises:
        UnreadableFile: One table lies there twice, or the tables of persons or of values are missing.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        name = file.stem.lower()
        if file.name.startswith((".", "~")) or file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        if name not in COLUMNS and name not in _OTHERS:
            continue
        if name in found:
            raise UnreadableFile(f"folder {folder} holds the table {name!r} twice ({found[name].name}, {file.name})")
        found[name] = file
    valued = found.keys() & {"measurement", "observation"}
    if "person" in found and valued:
        return found
    if len(found.keys() & COLUMNS.keys()) > 1 and ("person" in found or valued):
        lacking = "person" if valued else "measurement or observation"
        raise UnreadableFile(
            f"folder {folder} holds OMOP tables ({', '.join(sorted(found))}) but no {lacking}; add it or remove them"
        )
    return {}


def read_columns(file: Path, wanted: Sequence[str], *, needed: Sequence[str]) -> dict[str, Texts]:
    """Some columns of a table; those it lacks are empty texts.

    Args:
        needed: Columns without which it is not this table.

    Raises:
        UnreadableFile: It cannot be read, or lacks a needed column.
    """
    import pyarrow

    headers = _headers(file)
    absent = [name for name in needed if name not in headers]
    if absent:
        raise UnreadableFile(f"{_shown(file)} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(absent)}")
    spelled = {name: headers[name] for name in wanted if name in headers}
    try:
        read = _read_parquet if file.suffix.lower() == ".parquet" else _read_csv
        table = read(file, list(spelled.values()))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        # the library's message would repeat a line of the file
        raise UnreadableFile(
            f"{_shown(file)} cannot be read as a table ({type(error).__name__}): every line needs as many cells as the "
            "header; export it again with quotes around cells that hold the delimiter"
        ) from None
    rows = table.num_rows
    empty = Texts(np.zeros(rows, dtype=np.int32), ("",))
    return {name: _texts(table.column(spelled[name])) if name in spelled else empty for name in wanted}


def _shown(file: Path) -> str:
    """A table by its hospital's folder and its name."""
    return f"{file.parent.name}/{file.name}"


def _headers(file: Path) -> dict[str, str]:
    """Header as spelled by its name in lower case."""
    if file.suffix.lower() == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            names = list(pyarrow.parquet.read_schema(file).names)
        except (OSError, pyarrow.ArrowException) as error:
            raise UnreadableFile(f"{_shown(file)} cannot be read ({type(error).__name__}); export it again") from None
    else:
        line, delimiter, _ = _first_line(file)
        names = [name.strip().strip('"') for name in line.split(delimiter)]
    keys = [header_key(name) for name in names]
    if len(set(keys)) != len(keys):
        raise UnreadableFile(f"{_shown(file)}: two columns share a name in the first line; remove one")
    return dict(zip(keys, names, strict=True))


def _first_line(file: Path) -> tuple[str, str, str]:
    """The header line, its delimiter and the file's encoding."""
    with file.open("rb") as stream:
        start = stream.read(65536)
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    line = start.decode(encoding, errors="replace").lstrip("\r\n").splitlines()[:1]
    if not line or not line[0].strip():
        raise UnreadableFile(f"{_shown(file)} is empty; it needs a header line")
    return line[0], max(_DELIMITERS, key=line[0].count), encoding


def _read_csv(file: Path, columns: list[str]) -> Any:
    from pyarrow import ArrowInvalid, csv, dictionary, int32, string

    _, delimiter, encoding = _first_line(file)

    def read(encoding: str) -> Any:
        return csv.read_csv(
            file,
            read_options=csv.ReadOptions(encoding=encoding),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, dictionary(int32(), string())),
                include_columns=columns,
                strings_can_be_null=False,
            ),
        )

    try:
        return read("utf8" if encoding == "utf-8-sig" else encoding)
    except ArrowInvalid as error:
        if "UTF8" not in str(error).upper().replace("-", ""):
            raise
        return read("cp1252")


def _read_parquet(file: Path, columns: list[str]) -> Any:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(file, columns=columns)
    arrays = [table.column(name) for name in columns]
    texts = [array.cast(pyarrow.string()) if not _is_text(array.type) else array for array in arrays]
    return pyarrow.table([array.dictionary_encode() for array in texts], names=columns)


def _is_text(kind: Any) -> bool:
    import pyarrow.types

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _texts(column: Any) -> Texts:
    """A dictionary-encoded column with stripped texts and nulls empty."""
    array = column.unify_dictionaries().combine_chunks()
    if hasattr(array, "num_chunks"):  # no rows
        return Texts(np.zeros(0, dtype=np.int32), ("",))
    words = [_plain(str(word)) for word in array.dictionary.to_pylist()]
    distinct = {word: place for place, word in enumerate(dict.fromkeys(["", *words]))}
    places = np.array([distinct[word] for word in words] or [0], dtype=np.int32)
    indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return Texts(np.where(indices < 0, 0, places[indices]).astype(np.int32), tuple(distinct))


def _plain(text: str) -> str:
    plain = " ".join(text.split())
    return "" if plain.casefold() in _NULLS else plain


def plain_code(text: str) -> str:
    """`1.0` as `1`; most identifiers and concepts are whole already."""
    return text if text.isdigit() else plain_number(text)
