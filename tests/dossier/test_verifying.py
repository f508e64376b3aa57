"""What a forger with a key of their own cannot make agree: ledger, logs, table, rules, scores, report and page."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from synthfed.dossier import Verification, read_report, verify_dossier, write_dossier
from synthfed.dossier.basis import Basis, read_basis
from synthfed.dossier.claims import check_model
from synthfed.dossier.findings import Finding
from synthfed.dossier.redrawing import check_derived
from synthfed.dossier.rescoring import check_table
from synthfed.errors import DossierError
from synthfed.report import render_views, report_bytes
from tests.dossier.parts import KEY, snapshot

Files = dict[str, bytes]


def verified(folder: Path, files: Mapping[str, bytes]) -> Verification:
    return verify_dossier(write_dossier(folder / "forged", files, key=KEY))


def reported(files: Mapping[str, bytes], change: Callable[[dict[str, Any]], None]) -> Files:
    """The dossier with another report, whose hashes are made to fit."""
    report = json.loads(files["report.json"])
    change(report)
    for entry in report["files"]:
        content = files[entry["name"]]
        entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    report["table_sha256"] = hashlib.sha256(files["synthetic.csv"]).hexdigest()
    report["model_sha256"] = hashlib.sha256(files["model.synthfed"]).hexdigest()
    return {**files, "report.json": report_bytes(report)}


def contradictions(files: Mapping[str, bytes]) -> list[Finding]:
    """What is found behind the seal, but for the views."""
    report, ledger, basis = json.loads(files["report.json"]), json.loads(files["ledger.json"]), read_basis(files)
    if not isinstance(basis, Basis):
        return [basis]
    found = [*check_table(report, basis, files, ledger)[1], *check_model(files, basis, ledger)]
    return [*found, *check_derived(report, basis, ledger)]


def test_an_honest_dossier_is_verified(tmp_path: Path, whole: Mapping[str, bytes]) -> None:
    result = verified(tmp_path, whole)
    assert result.findings == ()
    assert result.ok
    assert result.files == len(whole)
    assert result.signer == KEY.public_key().public_bytes_raw().hex()
    assert result.checked[0] == "100.0000% of 560 cells of synthetic.csv are inside dictionary.toml"
    assert "hard rules of rules.toml hold in all 80 rows" in result.checked[1]
    assert len(result.checked) == 3


def test_one_flipped_byte_in_any_file_is_found_and_named(tmp_path: Path, whole: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", whole, key=KEY)
    chance = random.Random(11)
    for name, content in snapshot(out).items():
        for place in {0, len(content) // 2, len(content) - 1, chance.randrange(len(content))}:
            bent = bytearray(content)
            bent[place] ^= 1 << chance.randrange(8)
            (out / name).write_bytes(bent)
            said = [str(finding) for finding in verify_dossier(out).findings]
            assert any(name in line for line in said), (name, place, said)
        (out / name).write_bytes(content)


def test_every_view_with_one_flipped_byte_is_named_even_when_signed_again(
    tmp_path: Path, whole: Mapping[str, bytes]
) -> None:
    """All at once: each is compared on its own."""
    views = render_views(json.loads(whole["report.json"]))
    bent = {name: bytes([*content[:-9], content[-9] ^ 1, *content[-8:]]) for name, content in views.items()}
    result = verified(tmp_path, {**whole, **bent})
    assert [(finding.kind, finding.name) for finding in result.findings] == [("view", name) for name in views]


def test_a_table_that_breaks_a_rule_is_found_under_any_report(tmp_path: Path, whole: Mapping[str, bytes]) -> None:
    """An allelic ratio where FLT3-ITD was not found: hashes, page and signature are made to fit."""
    head, *rows = whole["synthetic.csv"].decode().splitlines()
    itd, ratio = (head.split(",").index(name) for name in ("FLT3_ITD", "FLT3_ITD_allelic_ratio"))
    at = next(i for i, row in enumerate(rows) if row.split(",")[itd] == "0")
    cells = rows[at].split(",")
    cells[ratio] = "0.50"
    rows[at] = ",".join(cells)
    table = "".join(f"{line}\n" for line in (head, *rows)).encode()
    forged = reported({**whole, "synthetic.csv": table}, lambda report: None)
    result = verified(tmp_path, {**forged, **render_views(json.loads(forged["report.json"]))})
    assert {finding.kind for finding in result.findings} == {"table"}
    assert "synthetic.parquet" in {finding.name for finding in result.findings}  # it still holds the old row
    assert any("valid.hard_rules" in f.note and "1 of 80 rows break hard rules" in f.note for f in result.findings)


@pytest.mark.parametrize(
    ("cell", "said"), [("301", "valid.structure"), ("another", "column age_years"), ("no number", "valid.structure")]
)
def test_a_changed_cell_is_found_under_any_report(whole: Mapping[str, bytes], cell: str, said: str) -> None:
    head, first, *rows = whole["synthetic.csv"].decode().splitlines()
    cells = first.split(",")
    age = head.split(",").index("age_years")
    cells[age] = ("22" if float(cells[age] or 0) > 55 else "88") if cell == "another" else cell
    table = "".join(f"{line}\n" for line in (head, ",".join(cells), *rows)).encode()
    findings = contradictions(reported({**whole, "synthetic.csv": table}, lambda report: None))
    assert any(f.name == "synthetic.csv" and said in f.note for f in findings), findings


def _light(report: dict[str, Any]) -> None:
    report["lights"]["private"].update(light="green", word="shown")


def _verdict(report: dict[str, Any]) -> None:
    report["verdict"].update(code="may_be_considered", sentence="May be considered for controlled release.")


def _epsilon(report: dict[str, Any]) -> None:
    report["privacy"]["epsilon"] = 1.0


def _promise(report: dict[str, Any]) -> None:
    report["privacy"]["sentence"] = "All that left each hospital is differentially private with epsilon = 1."


def _limits(report: dict[str, Any]) -> None:
    report["limits"].pop()


def _metric(report: dict[str, Any]) -> None:
    next(m for m in report["metrics"] if m["id"] == "guaranteed.epsilon").update(light="green", word="shown")


def _rules(report: dict[str, Any]) -> None:
    next(m for m in report["metrics"] if m["id"] == "valid.hard_rules")["interval"]["high"] = 0.001


def _left_out(report: dict[str, Any]) -> None:
    report["metrics"] = [m for m in report["metrics"] if m["id"] != "valid.structure"]


def _curve(report: dict[str, Any]) -> None:
    report["figures"]["survival"][0]["synthetic"]["survival"][20] += 0.01


def _pair(report: dict[str, Any]) -> None:
    report["figures"]["associations"]["synthetic"][0][1] = 0.9


def _rows(report: dict[str, Any]) -> None:
    report["rows"] = 8000


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (_light, "lights.private"),
        (_verdict, "verdict.sentence"),
        (_epsilon, "privacy.epsilon"),
        (_promise, "privacy.sentence"),
        (_limits, "limits"),
        (_metric, "guaranteed.epsilon"),
        (_rules, "valid.hard_rules"),
        (_left_out, "valid.structure"),
        (_curve, "figures.survival"),
        (_pair, "figures.associations"),
        (_rows, "report.json says 8000"),
    ],
)
def test_a_lie_in_the_report_is_found(
    whole: Mapping[str, bytes], lie: Callable[[dict[str, Any]], None], said: str
) -> None:
    findings = contradictions(reported(whole, lie))
    assert any(said in finding.note for finding in findings), findings
    assert {finding.kind for finding in findings} <= {"report", "table"}


def test_wider_bounds_in_the_dictionary_do_not_hide_a_table(whole: Mapping[str, bytes]) -> None:
    text = whole["dictionary.toml"]
    wider = text.replace(b"bounds = [18, 100]", b"bounds = [18, 110]", 1)
    assert wider != text
    findings = contradictions(reported({**whole, "dictionary.toml": wider}, lambda report: None))
    assert {"model", "report"} <= {finding.kind for finding in findings}


def test_an_internal_report_is_no_release(tmp_path: Path, whole: Mapping[str, bytes]) -> None:
    result = verified(tmp_path, reported(whole, lambda report: report.update(edition="internal")))
    assert "stays at the site" in result.findings[-1].note


def test_a_damaged_table_is_named(tmp_path: Path, whole: Mapping[str, bytes]) -> None:
    other = reported({**whole, "synthetic.csv": b"age_years\n1\n1,2\n"}, lambda report: None)
    assert "synthetic.csv" in {finding.name for finding in verified(tmp_path, other).findings}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pipeline": 1, "privacy": []}', b"\xff"])
def test_a_report_that_says_nothing_of_its_files_is_found(
    tmp_path: Path, whole: Mapping[str, bytes], content: bytes
) -> None:
    out = write_dossier(tmp_path / "aml", {**whole, "report.json": content}, key=KEY)
    assert {finding.kind for finding in verify_dossier(out).findings} == {"report"}


def test_a_dossier_without_a_ledger_is_incomplete(tmp_path: Path, whole: Mapping[str, bytes]) -> None:
    rest = {name: content for name, content in whole.items() if name != "ledger.json"}
    out = write_dossier(tmp_path / "aml", rest, key=KEY)
    assert "ledger.json" in {finding.name for finding in verify_dossier(out).findings}


def test_reading_and_verifying_something_else_says_so(tmp_path: Path) -> None:
    with pytest.raises(DossierError, match="no dossier"):
        verify_dossier(tmp_path)
    with pytest.raises(DossierError, match=r"report\.json"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text("[1]")
    with pytest.raises(DossierError, match="JSON object"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text('{"rows": 3}')
    assert read_report(tmp_path) == {"rows": 3}
