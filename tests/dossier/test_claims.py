"""A report of another run, or beside another model, is found, whoever signed it."""

import json
import math
from collections.abc import Mapping

import pytest

from synthfed.dossier.basis import Basis, read_basis
from synthfed.dossier.claims import check_claims, check_model, digest_of
from synthfed.pipeline import Pipeline
from synthfed.run.contents import pipeline_toml
from tests.dossier.parts import small_pipeline


@pytest.mark.parametrize("file", ["synthetic.csv", "model.synthfed", "pipeline.toml", "ledger.json", "audit.jsonl"])
def test_a_report_of_another_run_is_found(whole: Mapping[str, bytes], file: str) -> None:
    other = dict(whole)
    if file == "pipeline.toml":
        other[file] = whole[file].replace(b"Smoke test", b"Smoked test")
    elif file == "ledger.json":
        ledger = json.loads(whole[file])
        ledger["not_covered"].pop()
        other[file] = json.dumps(ledger).encode()
    else:
        other[file] = whole[file] + b"\n"
    assert other[file] != whole[file]
    findings = check_claims(json.loads(whole["report.json"]), other, json.loads(other["ledger.json"]))
    assert {(finding.kind, finding.name) for finding in findings} == {("report", "report.json")}
    assert any(file in finding.note for finding in findings)


def test_what_was_written_together_agrees(whole: Mapping[str, bytes]) -> None:
    ledger, basis = json.loads(whole["ledger.json"]), read_basis(whole)
    assert isinstance(basis, Basis)
    assert check_claims(json.loads(whole["report.json"]), whole, ledger) == []
    assert check_model(whole, basis, ledger) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pipeline.toml", b"rows = 80", b"rows = 81"),
        ("dictionary.toml", b'label = "Age', b'label = "Years'),
        ("ledger.json", b'"steps": 1', b'"steps": 2'),
    ],
)
def test_a_model_of_another_run_is_found(whole: Mapping[str, bytes], file: str, old: bytes, new: bytes) -> None:
    assert old in whole[file]
    other = {**whole, file: whole[file].replace(old, new)}
    basis = read_basis(other)
    assert isinstance(basis, Basis)
    (finding,) = check_model(other, basis, json.loads(other["ledger.json"]))
    assert (finding.kind, finding.name) == ("model", "model.synthfed")
    assert file in finding.note


def test_a_model_that_is_none_is_found(whole: Mapping[str, bytes]) -> None:
    basis = read_basis(whole)
    assert isinstance(basis, Basis)
    (finding,) = check_model({"model.synthfed": b"a model"}, basis, json.loads(whole["ledger.json"]))
    assert finding.kind == "model"


@pytest.mark.parametrize("epsilon", [3.0, math.inf])
def test_a_pipeline_file_has_the_digest_of_its_pipeline(epsilon: float) -> None:
    """Read without the settings of this version, so that dossiers of other versions can be checked."""
    for chosen in (small_pipeline(), *map(Pipeline.load, ("aml", "scd", "smoke"))):
        chosen = chosen.replace(privacy__epsilon=epsilon)
        assert digest_of(pipeline_toml(chosen)) == chosen.digest()
