"""Large plain files are read by columns and give the cells that the careful reader gives, or are left to it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthfed.errors import UnreadableFile
from synthfed.tables import plain_csv
from synthfed.tables.cells import as_text
from synthfed.tables.files import read_frame

CELLS = st.text(alphabet=" ab1.,<>-ä\u00a0", max_size=4)


def careful(path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setattr(plain_csv, "LARGE", 1 << 40)
    return read_frame(path)


def quick(path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setattr(plain_csv, "LARGE", 0)
    return read_frame(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    before=st.integers(0, 2),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_both_readers_give_the_same_cells(
    rows: list[list[str]], end: str, before: int, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    text = end * before + end.join([";".join(row) for row in [["one", "two", "three"], *rows]]) + end
    path.write_bytes((mark + text).encode())
    pd.testing.assert_frame_equal(quick(path, monkeypatch), careful(path, monkeypatch))


def test_equal_cells_share_one_text_in_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "male ,12.5\nfemale,12.5\n" * 500, encoding="utf-8")
    for frame in (quick(path, monkeypatch), careful(path, monkeypatch)):
        assert len({id(cell) for cell in frame["a"]}) == 2
        assert len({id(cell) for cell in frame["b"]}) == 1


def test_a_ragged_row_is_named_whichever_reader_meets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n,\n3\n", encoding="utf-8")
    for read in (quick, careful):
        with pytest.raises(UnreadableFile, match="row 2 has 1 cells, the header has 2"):
            read(path, monkeypatch)


def test_quotes_and_other_encodings_are_read_carefully(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_csv, "LARGE", 0)
    path = tmp_path / "t.csv"
    path.write_bytes(b'a;b\n"x;y";"he said ""no"""\n')
    assert not plain_csv.is_plain(path, "utf-8-sig")
    assert list(read_frame(path).iloc[0]) == ["x;y", 'he said "no"']
    path.write_bytes("a;b\nmännlich;1\n".encode("cp1252"))
    assert list(read_frame(path)["a"]) == ["männlich"]


def test_parquet_keeps_its_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"n": [1.0, np.nan, 2.5], "i": pd.array([1, None, 3], dtype="Int64"), "t": ["a ", "x", "b  c"]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_frame(tmp_path / "t.parquet")
    assert read.to_dict("list") == {"n": ["1.0", "", "2.5"], "i": ["1", "", "3"], "t": ["a", "x", "b c"]}


def test_equal_values_that_are_written_differently_stay_apart() -> None:
    assert list(as_text(pd.Series([1, True, "1", 1.5, None], dtype="object"))) == ["1", "True", "1", "1.5", ""]


def test_commas_in_a_header_do_not_hide_the_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "lyon.csv"
    path.write_text("id;Sex (1=m, 2=f, 9=?);Hb\nP1;1;8,4\nP2;2;9,0\n", encoding="utf-8")
    assert list(read_frame(path).columns) == ["id", "Sex (1=m, 2=f, 9=?)", "Hb"]
