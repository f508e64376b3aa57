"""Turn a file into a table of texts: delimiter, encoding, line ends, sheets and blank rows, and no meaning yet."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pandas as pd

from synthfed.errors import UnreadableFile
from synthfed.tables.cells import as_text
from synthfed.tables.plain_csv import is_plain, read_plain

_TEXT_FILES = (".csv", ".tsv", ".txt")
_DELIMITERS = (";", ",", "\t")
_ROWS_TRIED = 50
_ROWS_AT_ONCE = 20_000
_CELLS_AT_ONCE = 5_000_000
_TEXTS_KEPT = 50_000  # distinct cells of a column that are remembered; more are ids, which do not repeat
_LETTERS_AT_ONCE = 1 << 20


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
            return _tidy(*_parquet_columns(path), path)
        else:
            raise UnreadableFile(
                f"{path.name} ends in {suffix or 'nothing'}; synthfed reads .csv, .tsv, .xlsx, .parquet, .json, .ndjson"
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UnreadableFile(f"{path.name} cannot be read ({type(error).__name__}); save it again as .csv") from error
    return _tidy(
        [str(name) for name in frame.columns], [as_text(frame.iloc[:, i]) for i in range(frame.shape[1])], path
    )


def _parquet_columns(path: Path) -> tuple[list[str], list[pd.Series]]:
    """The header, and the columns as texts; a few at a time, as a tall table of both kinds would fill the memory."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
    index = (schema.pandas_metadata or {}).get("index_columns", ())
    names = [name for name in schema.names if name not in index]
    at_once = max(1, _CELLS_AT_ONCE // max(rows, 1)) if len(set(names)) == len(names) else len(names)
    columns: list[pd.Series] = []
    for first in range(0, len(names), at_once):
        some = None if at_once >= len(names) else names[first : first + at_once]
        frame = pd.read_parquet(path, columns=some)
        columns += [as_text(frame.iloc[:, place]).reset_index(drop=True) for place in range(frame.shape[1])]
    return names, columns


def _read_text(path: Path) -> pd.DataFrame:
    encoding = _encoding(path)
    with path.open(encoding=encoding) as text:
        first = next((line for line in text if line != "\n"), "")
        if not (first.strip() or any(line.strip() for line in text)):
            raise UnreadableFile(f"{path.name} is empty; it needs a header line and one line per patient")
    delimiter = max(_DELIMITERS, key=lambda sign: _fit(path, encoding, sign))
    try:
        header, columns = _whole(path, encoding, delimiter)
    except csv.Error as error:
        raise UnreadableFile(f"{path.name} is not a table of {delimiter!r}-separated values: {error}") from error
    return _tidy(header, columns, path)


def _fit(path: Path, encoding: str, delimiter: str) -> tuple[float, int]:
    """How well a delimiter fits: rows as wide as the header, then its width; `(1=m, 2=f)` in a header is no column."""
    with suppress(csv.Error):
        header, *rows = itertools.islice(_records(path, encoding, delimiter), _ROWS_TRIED)
        alike = sum(len(row) == len(header) for row in rows) / len(rows) if rows else 1.0
        return (alike if len(header) > 1 else 0.0), len(header)
    return 0.0, 0


def _whole(path: Path, encoding: str, delimiter: str) -> tuple[list[str], list[pd.Series]]:
    """The header, and the columns as clean texts."""
    if is_plain(path, encoding):
        header = next(_records(path, encoding, delimiter))
        with path.open(encoding=encoding) as text:
            lines = 1 + sum(1 for _ in itertools.takewhile(lambda line: line == "\n", text))
        columns = read_plain(path, delimiter, width=len(header), lines_before=lines)
        if columns is not None:
            return header, columns
    return _columns(_records(path, encoding, delimiter), path, delimiter)


def _records(path: Path, encoding: str, delimiter: str) -> Iterator[list[str]]:
    """The file's records, with any line ends and without empty lines before the first."""
    with path.open(encoding=encoding) as text:  # `\r`, `\n` and `\r\n` all arrive as `\n`
        yield from csv.reader(itertools.dropwhile(lambda line: line == "\n", text), delimiter=delimiter)


def _columns(records: Iterator[list[str]], path: Path, delimiter: str) -> tuple[list[str], list[pd.Series]]:
    """The header, and the columns as clean texts; equal cells share one text, so a tall table stays small."""
    header = next(records)
    width, count = len(header), 0
    texts = [_Texts() for _ in header]
    parts: list[list[npt.NDArray[np.object_]]] = [[] for _ in header]
    while chunk := list(itertools.islice(records, _ROWS_AT_ONCE)):
        rows = [row for row in chunk if any(map(str.strip, row))]
        _check_widths(rows, width, count, path, delimiter)
        count += len(rows)
        for place, cells in enumerate(itertools.islice(zip(*rows, strict=False), width)):
            parts[place].append(np.array([*map(texts[place].__getitem__, cells)], dtype=object))
            if len(texts[place]) > _TEXTS_KEPT:
                texts[place].clear()
    return header, [pd.Series(np.concatenate(part) if part else [], dtype="object") for part in parts]


class _Texts(dict[str, str]):
    """Cells as they were met, each with its text: stripped, and with single spaces."""

    def __missing__(self, cell: str) -> str:
        text = " ".join(cell.split())
        self[cell] = text
        return text


def _check_widths(rows: Sequence[list[str]], width: int, before: int, path: Path, delimiter: str) -> None:
    """Refuse a row with fewer cells than the header, or with filled ones beyond it."""
    if all(length == width for length in {len(row) for row in rows}):
        return
    for number, row in enumerate(rows, start=before + 1):
        if len(row) < width or any(map(str.strip, row[width:])):
            raise UnreadableFile(
                f"{path.name}: row {number} has {len(row)} cells, the header has {width}; "
                f"quote cells that hold a {delimiter!r} and export the file again"
            )


def _encoding(path: Path) -> str:
    """UTF-16 by its mark, else UTF-8, else Windows-1252."""
    with path.open("rb") as data:
        if data.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
    for encoding in ("utf-8-sig", "cp1252"):
        with suppress(UnicodeDecodeError), path.open(encoding=encoding) as text:
            while text.read(_LETTERS_AT_ONCE):
                pass
            return encoding
    raise UnreadableFile(f"{path.name} is neither UTF-8 nor Windows-1252; export it as UTF-8")


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
            "rename or remove all but one of each name, or write the names into a first line if it is a patient's"
        )
    frame = pd.DataFrame({name: columns[place] for place, name in kept.items()}, dtype="object", copy=False)
    blank = np.ones(len(frame), dtype=bool)
    for name in frame.columns:
        if not blank.any():
            return frame
        blank &= np.asarray(frame[name] == "", dtype=bool)
    return frame.loc[~blank].reset_index(drop=True) if blank.any() else frame
