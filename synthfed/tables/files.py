"""Turn a file into a table of texts: delimiter, encoding, line ends, sheets and blank rows, and no meaning yet."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import pandas as pd

from synthfed.errors import UnreadableFile
from synthfed.tables.cells import as_text

_TEXT_FILES = (".csv", ".tsv", ".txt")
_DELIMITERS = (";", ",", "\t")


def read_frame(path: Path) -> pd.DataFrame:
    """Read a CSV, Excel or Parquet file as texts, with stripped headers and without blank rows.

    CSV: `,`, `;` or tab; UTF-8, UTF-16 with a mark, or Windows-1252; any line ends. Excel: the first sheet.

    Raises:
        UnreadableFile: The file is absent, of another kind, empty or ragged.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise UnreadableFile(
            f"{path} is not a file; give the path of a .csv, .xlsx or .parquet file, of a FHIR .json or .ndjson file, "
            "or of a folder of OMOP tables"
        )
    try:
        if suffix in _TEXT_FILES:
            return _read_text(path)
        if suffix in (".xlsx", ".xlsm"):
            frame = pd.read_excel(path, dtype=object, na_filter=False)
        elif suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            raise UnreadableFile(
                f"{path.name} ends in {suffix or 'nothing'}; synthfed reads .csv, .tsv, .xlsx, .parquet, .json, .ndjson"
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UnreadableFile(f"{path.name} cannot be read ({type(error).__name__}); save it again as .csv") from error
    return _tidy(
        [str(name) for name in frame.columns], [as_text(frame.iloc[:, i]) for i in range(frame.shape[1])], path
    )


def _read_text(path: Path) -> pd.DataFrame:
    text = _decode(path)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    if not lines.strip():
        raise UnreadableFile(f"{path.name} is empty; it needs a header line and one line per patient")
    delimiter = max(_DELIMITERS, key=lambda sign: len(next(csv.reader(io.StringIO(lines), delimiter=sign))))
    try:
        header, *rows = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter)
    except csv.Error as error:
        raise UnreadableFile(f"{path.name} is not a table of {delimiter!r}-separated values: {error}") from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    width = len(header)
    for number, row in enumerate(rows, start=1):
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            raise UnreadableFile(
                f"{path.name}: row {number} has {len(row)} cells, the header has {width}; "
                f"quote cells that hold a {delimiter!r} and export the file again"
            )
    columns = [pd.Series([row[i] for row in rows], dtype="object") for i in range(width)]
    return _tidy(header, [as_text(column) for column in columns], path)


def _decode(path: Path) -> str:
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path.name} is neither UTF-8 nor Windows-1252; export it as UTF-8") from error


def _tidy(header: Sequence[str], columns: Sequence[pd.Series], path: Path) -> pd.DataFrame:
    """Clean headers, drop blank columns without a header and blank rows."""
    names = [" ".join(name.replace("\ufeff", "").split()) for name in header]
    kept = {
        place: name
        for place, name in enumerate(names)
        if not ((name == "" or name.startswith("Unnamed:")) and (columns[place] == "").all())
    }
    names_kept = list(kept.values())
    twice = [str(place + 1) for place, name in kept.items() if names_kept.count(name) > 1]
    if twice:  # by place: without a header line the names would be the first patient's values
        raise UnreadableFile(
            f"{path.name}: columns {', '.join(twice)} (counted from 1) share names in the first line; "
            "rename or remove all but one of each name"
        )
    frame = pd.DataFrame({name: columns[place] for place, name in kept.items()}, dtype="object")
    blank = (frame == "").all(axis=1)
    return frame.loc[~blank].reset_index(drop=True)
