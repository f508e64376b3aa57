"""`export` writes whole folders, says what was lost, and refuses what is not synthetic."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from synthfed.cli.export import export
from synthfed.errors import ConfigError, DossierError
from synthfed.tables.formats.registry import formats
from synthfed.tables.writing import to_csv_bytes
from tests.cli.command import synthfed
from tests.tables.formats.simulated import dictionary, patients


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export")
    table = patients("aml", 40)
    (place / "lyon.csv").write_bytes(to_csv_bytes(table, dictionary("aml").schema))
    return place


def test_an_export_lists_its_files_and_the_next_step(folder: Path) -> None:
    done = synthfed("export", "lyon.csv", "--dictionary", "aml", "--format", "xlsx", "--out", "x", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "40 synthetic patients" in done.stdout
    assert "nothing is lost" in done.stdout
    assert "synthfed check aml --data x" in done.stdout
    assert {path.name for path in (folder / "x").iterdir()} == {"synthetic.xlsx", "SYNTHETIC.md"}
    assert "no row stems from a person" in (folder / "x" / "SYNTHETIC.md").read_text()


def test_the_help_names_every_format(folder: Path) -> None:
    done = synthfed("export", "--help", cwd=folder)
    assert "synthfed export dossier-aml --format omop" in done.stdout
    assert all(name in done.stdout for name in formats() if not name.startswith("synthema-"))


def test_an_export_is_replaced_only_on_request(folder: Path) -> None:
    words = ("export", "lyon.csv", "--dictionary", "aml", "--format", "csv", "--out", "again", "--json")
    first = synthfed(*words, cwd=folder)
    assert json.loads(first.stdout)["patients"] == 40
    refused = synthfed(*words, cwd=folder)
    assert refused.returncode == 2
    assert "--replace" in refused.stderr
    assert synthfed(*words, "--replace", cwd=folder).returncode == 0


def test_a_folder_of_others_is_never_replaced(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ConfigError, match="was not written by"):
        export(folder / "lyon.csv", folder / "mine", "csv", dictionary="aml", replace=True)
    assert (folder / "mine" / "notes.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("table", "dictionary", "to", "says"),
    [
        ("lyon.csv", None, "csv", "--dictionary aml"),
        ("lyon.csv", "aml", "sas", "choose one of: csv"),
        (".", "aml", "csv", "is no dossier"),
    ],
)
def test_a_wrong_wish_names_what_is_right(folder: Path, table: str, dictionary: str | None, to: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        export(folder / table, folder / "y", to, dictionary=dictionary)
    assert not (folder / "y").exists()


def test_a_dossier_brings_its_dictionary_and_only_its_own_table_is_exported(folder: Path) -> None:
    dossier = folder / "dossier"
    dossier.mkdir()
    table = patients("aml", 15)
    table["patient_id"] = pd.Series([f"SYN{i:02}" for i in range(15)], dtype="string")
    content = to_csv_bytes(table, dictionary("aml").schema)
    (dossier / "synthetic.csv").write_bytes(content)
    for name in ("dictionary.toml", "rules.toml"):
        (dossier / name).write_bytes((dictionary("aml").folder / name).read_bytes())
    report = {"table_sha256": hashlib.sha256(content).hexdigest()}
    (dossier / "report.json").write_text(json.dumps(report))
    (dossier / "SHA256SUMS").write_text("")
    done = synthfed("export", "dossier", "--format", "omop", "--out", "omop", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "15 synthetic patients as OMOP" in done.stdout
    assert "every diagnosis is dated 2000-01-01" in done.stdout
    (dossier / "synthetic.csv").write_bytes(content + b"1\n")
    with pytest.raises(DossierError, match="is not the table that"):
        export(dossier, folder / "other", "omop")


def test_a_table_with_patient_ids_is_refused(folder: Path) -> None:
    table = patients("aml", 10)
    table["patient_id"] = pd.Series([f"K{i}" for i in range(10)], dtype="string")
    (folder / "real.csv").write_bytes(to_csv_bytes(table, dictionary("aml").schema))
    with pytest.raises(ConfigError, match="that synthfed did not give") as caught:
        export(folder / "real.csv", folder / "z", "csv", dictionary="aml")
    assert "K3" not in str(caught.value)
    assert not (folder / "z").exists()
