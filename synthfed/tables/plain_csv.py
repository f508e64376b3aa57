"""Read a large delimited file without quotes by columns: the cells that `csv.reader` gives, several times faster.

Only what cannot be ambiguous is read here: UTF-8, no quote character, and as many cells in every record as in the
header. Anything else is left to `tables.files`, which says what is wrong where.
"""

from pathlib import Path

import numpy as np
import pandas as pd

_BLOCK = 1 << 22
LARGE = 1 << 22  # bytes from which this pays


def is_plain(path: Path, encoding: str) -> bool:
    """Whether a file is large and has nothing that readers may understand differently."""
    if encoding != "utf-8-sig" or path.stat().st_size < LARGE:
        return False
    with path.open("rb") as data:
        return not any(b'"' in block for block in iter(lambda: data.read(_BLOCK), b""))


def read_plain(path: Path, delimiter: str, *, width: int, lines_before: int) -> list[pd.Series] | None:
    """The columns as clean texts, equal cells sharing one; None where a record has another width than the header.

    Args:
        lines_before: Lines up to and with the header.
    """
    import pyarrow
    from pyarrow import csv

    names = [str(place) for place in range(width)]
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(
                column_names=names, skip_rows=lines_before, block_size=_BLOCK, use_threads=False
            ),
            parse_options=csv.ParseOptions(delimiter=delimiter, quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
                strings_can_be_null=False,
                null_values=[],
            ),
        )
    except pyarrow.ArrowInvalid:
        return None
    columns = []
    for _ in names:
        column = table.column(0).unify_dictionaries().combine_chunks()
        table = table.remove_column(0)  # a tall table of codes and its texts need not both be whole
        texts = np.array([" ".join(text.split()) for text in column.dictionary.to_pylist()], dtype=object)
        columns.append(pd.Series(texts[column.indices.to_numpy()] if len(column) else [], dtype="object"))
    return columns
