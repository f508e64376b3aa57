"""The dossier: whole or not at all, signed, and one flipped byte anywhere is found."""

import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed import dossier
from synthfed.dossier import Verification, coordinator_key, read_report, verify_dossier, write_dossier
from synthfed.errors import DossierError
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import gaussian_epsilon
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.ledger import Ledger
from synthfed.privacy.statement import central_ledger, release_ledger
from synthfed.report import report_bytes
from synthfed.run.contents import pipeline_toml
from synthfed.secagg.audit import AuditHead, append_line

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def small_pipeline() -> Pipeline:
    return Pipeline.parse(
        {
            "title": "small",
            "disease": "aml",
            "cohort": {"columns": ["age_years", "sex"]},
            "generator": {"kind": "tvae", "start": "cold"},
            "privacy": {"epsilon": 3.0, "expected_patients": 1600},
            "federation": {"rounds": 2, "local_steps": 3},
        },
        origin="test",
    )


def audit_log(identity: Ed25519PrivateKey, lines: int = 3) -> list[str]:
    head, log = AuditHead(), []
    for number in range(lines):
        head, line = append_line(head, time="2026-01-01", kind="round", body={"round": number}, identity=identity)
        log.append(line)
    return log


def report_on(files: Mapping[str, bytes], ledger: object) -> bytes:
    """The fields of `report.json` that speak of the files beside it, rounded as it rounds."""
    report = {
        "schema": "synthfed.report/1",
        "table_sha256": hashlib.sha256(files["synthetic.csv"]).hexdigest(),
        "model_sha256": hashlib.sha256(files["model.synthfed"]).hexdigest(),
        "pipeline": {"sha256": small_pipeline().digest()},
        "privacy": {"statement": ledger},
    }
    return report_bytes(report)


def site_ledger(site: str, events: Sequence[PrivacyEvent]) -> dict[str, Any]:
    with Ledger.open(None, site=site, limit=Budget(30.0, 1e-5)) as ledger:
        ledger.reserve("run", events)
        for index, event in enumerate(events):
            ledger.charge(f"{site}:{index}", "run", event)
        ledger.close("run")
        return ledger.export()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    events = [
        PrivacyEvent("round 0, counting tables", "gaussian", "train", 1.0, 3.7, 1.0, 1),
        PrivacyEvent("round 1", "gaussian", "train", 1.0, 8.0, 1.0, 3),
    ]
    ledger = central_ledger(events, small_pipeline(), site="lyon", simulated=False, seeded=False, planned=events)
    sites = {site: Ed25519PrivateKey.from_private_bytes(bytes([index]) * 32) for index, site in enumerate("ab")}
    audit = [line for identity in sites.values() for line in audit_log(identity)]
    keys = {site: identity.public_key().public_bytes_raw().hex() for site, identity in sites.items()}
    described = {
        "synthetic.csv": b"age_years,sex\n61,female\n",
        "model.synthfed": b"a model",
        "pipeline.toml": pipeline_toml(small_pipeline()).encode(),
    }
    return {
        **described,
        "report.json": report_on(described, ledger),
        "figures/marginals.svg": b"<svg/>",
        "ledger.json": json.dumps(ledger).encode(),
        "audit.jsonl": "".join(line + "\n" for line in audit).encode(),
        "audit_keys.json": json.dumps(keys).encode(),
    }


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_is_verified(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "release" / "aml", files, key=KEY)
    result = verify_dossier(out)
    assert result.findings == ()
    assert result.ok
    assert result.files == len(files)
    assert result.signer == KEY.public_key().public_bytes_raw().hex()
    assert sorted(p.name for p in out.parent.iterdir()) == ["aml"]


def test_the_same_files_make_the_same_dossier(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    first = write_dossier(tmp_path / "first", files, key=KEY)
    second = write_dossier(tmp_path / "second", dict(reversed(files.items())), key=KEY)
    assert snapshot(first) == snapshot(second)


def test_one_flipped_byte_in_any_file_is_found_and_named(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    chance = random.Random(7)
    for name, content in snapshot(out).items():
        places = {0, len(content) - 1} | {chance.randrange(len(content)) for _ in range(6)}
        for place in places:
            bent = bytearray(content)
            bent[place] ^= 1 << chance.randrange(8)
            (out / name).write_bytes(bent)
            said = [str(finding) for finding in verify_dossier(out).findings]
            assert any(name in line for line in said), (name, place, said)
        (out / name).write_bytes(content)
    assert verify_dossier(out).ok


def test_every_byte_of_the_signature_files_counts(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    for name in (dossier.SIGNATURE, dossier.PUBLIC_KEY):
        content = (out / name).read_bytes()
        for place in range(len(content)):
            (out / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert not verify_dossier(out).ok, (name, place)
        (out / name).write_bytes(content)


def test_missing_and_extra_files_are_named(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    (out / "synthetic.csv").unlink()
    (out / "figures" / "patients.csv").write_bytes(b"x")
    (out / "link").symlink_to(tmp_path)
    said = [(finding.kind, finding.name) for finding in verify_dossier(out).findings]
    assert said == [("missing", "synthetic.csv"), ("extra", "figures/patients.csv"), ("extra", "link")]


def test_a_file_replaced_by_a_link_to_equal_content_is_found(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    shutil.move(out / "report.json", tmp_path / "elsewhere.json")
    (out / "report.json").symlink_to(tmp_path / "elsewhere.json")
    assert [finding.name for finding in verify_dossier(out).findings] == ["report.json"]


def test_a_dossier_signed_by_somebody_else_is_found(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    wanted = KEY.public_key().public_bytes_raw().hex()
    forged = write_dossier(tmp_path / "aml", files, key=Ed25519PrivateKey.generate())
    assert verify_dossier(forged).ok
    (finding,) = verify_dossier(forged, signer=wanted).findings
    assert finding.kind == "signature"


@pytest.mark.parametrize("lie", ["epsilon", "steps", "missing event", "formal", "no events"])
def test_a_signed_ledger_that_does_not_add_up_is_found(tmp_path: Path, files: Mapping[str, bytes], lie: str) -> None:
    ledger = json.loads(files["ledger.json"])
    if lie == "epsilon":
        ledger["populations"]["train"]["epsilon"] -= 1e-4
        ledger["populations"]["train"]["epsilon_of_events"] -= 1e-4
    elif lie == "steps":
        ledger["events"][1]["steps"] = 1
    elif lie == "missing event":
        del ledger["events"][1]
    elif lie == "formal":
        ledger["seeded"] = True
    else:
        del ledger["events"]
    lying = {**files, "ledger.json": json.dumps(ledger).encode(), "report.json": report_on(files, ledger)}
    result = verify_dossier(write_dossier(tmp_path / "aml", lying, key=KEY))
    assert {finding.kind for finding in result.findings} == {"ledger"}
    assert result.recomputed == ()


def test_counting_and_training_are_computed_again_together(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    (train,) = verify_dossier(write_dossier(tmp_path / "aml", files, key=KEY)).recomputed
    mu = math.sqrt(1 / 3.7**2 + 3 / 8.0**2)
    assert train.epsilon == pytest.approx(gaussian_epsilon(mu, 1e-5), rel=0.01)
    assert (train.population, train.events, train.delta, train.promised) == ("train", 2, 1e-5, True)
    assert train.epsilon_local == train.epsilon


def test_both_epsilons_are_computed_again_where_the_noise_was_shared(
    tmp_path: Path, files: Mapping[str, bytes]
) -> None:
    events = [
        PrivacyEvent("round 0, counting tables", "skellam", "train", 4096.0, 4.0, 1.0, 1, 8192.0, 3, 1),
        PrivacyEvent("round 1", "skellam", "train", 4096.0, 9.0, 1.0, 1, 8192.0, 3, 1),
    ]
    exports = {site: site_ledger(site, events) for site in ("lyon", "milano", "berlin")}
    ledger = release_ledger(exports, small_pipeline(), simulated=False, seeded=False, planned=events)

    def verified(stated: dict[str, Any], name: str) -> Verification:
        shared = {**files, "ledger.json": json.dumps(stated).encode(), "report.json": report_on(files, stated)}
        return verify_dossier(write_dossier(tmp_path / name, shared, key=KEY))

    result = verified(ledger, "honest")
    assert result.ok, result.findings
    assert result.recomputed[0].epsilon_local > result.recomputed[0].epsilon
    ledger["populations"]["train"]["epsilon_local"] -= 0.01
    ledger["populations"]["train"]["epsilon_local_of_events"] -= 0.01
    (finding,) = verified(ledger, "lying").findings
    assert (finding.kind, "epsilon_local" in finding.note) == ("ledger", True)


@pytest.mark.parametrize("file", ["synthetic.csv", "model.synthfed", "pipeline.toml", "ledger.json"])
def test_a_signed_report_of_another_run_is_found(tmp_path: Path, files: Mapping[str, bytes], file: str) -> None:
    """All signatures and sums hold; only the report speaks of other files than those beside it."""
    other = dict(files)
    if file == "pipeline.toml":
        other[file] = files[file].replace(b'title = "small"', b'title = "large"')
    elif file == "ledger.json":
        ledger = json.loads(files[file])
        ledger["not_covered"].pop()
        other[file] = json.dumps(ledger).encode()
    else:
        other[file] = files[file] + b"\n"
    assert other[file] != files[file]
    (finding,) = verify_dossier(write_dossier(tmp_path / "aml", other, key=KEY)).findings
    assert (finding.kind, finding.name) == ("report", "report.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pipeline": 1, "privacy": []}', b"\xff"])
def test_a_report_that_says_nothing_of_its_files_is_found(
    tmp_path: Path, files: Mapping[str, bytes], content: bytes
) -> None:
    out = write_dossier(tmp_path / "aml", {**files, "report.json": content}, key=KEY)
    assert {finding.kind for finding in verify_dossier(out).findings} == {"report"}


@pytest.mark.parametrize("epsilon", [3.0, math.inf])
def test_a_pipeline_file_has_the_digest_of_its_pipeline(epsilon: float) -> None:
    """Read without the settings of this version, so that dossiers of other versions can be checked."""
    for chosen in (small_pipeline(), *map(Pipeline.load, ("aml", "scd", "smoke"))):
        chosen = chosen.replace(privacy__epsilon=epsilon)
        assert dossier._digest_of(pipeline_toml(chosen)) == chosen.digest()


def test_a_dossier_without_a_ledger_is_incomplete(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    rest = {name: content for name, content in files.items() if name != "ledger.json"}
    out = write_dossier(tmp_path / "aml", rest, key=KEY)
    assert [finding.name for finding in verify_dossier(out).findings] == ["ledger.json"]


@pytest.mark.parametrize("change", ["drop", "swap", "edit", "site"])
def test_a_signed_audit_log_that_does_not_hold_is_found(
    tmp_path: Path, files: Mapping[str, bytes], change: str
) -> None:
    lines = files["audit.jsonl"].decode().splitlines()
    if change == "drop":
        del lines[1]
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "edit":
        lines[2] = lines[2].replace('"round":2', '"round":3')
    else:
        lines = lines[:3]
    out = write_dossier(tmp_path / "aml", {**files, "audit.jsonl": "\n".join(lines).encode()}, key=KEY)
    assert [finding.kind for finding in verify_dossier(out).findings] == ["audit"]


def test_an_audit_log_without_keys_is_checked_for_order(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    rest = {name: content for name, content in files.items() if name != "audit_keys.json"}
    assert verify_dossier(write_dossier(tmp_path / "whole", rest, key=KEY)).ok
    lines = files["audit.jsonl"].decode().splitlines()
    rest["audit.jsonl"] = "\n".join([lines[0], *lines[2:]]).encode()
    assert not verify_dossier(write_dossier(tmp_path / "cut", rest, key=KEY)).ok


def test_internal_files_stay_outside_sums_and_signature(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY, unsigned={"internal/report.json": b"{}"})
    assert b"internal" not in (out / dossier.SUMS).read_bytes()
    shutil.rmtree(out / "internal")
    assert verify_dossier(out).ok


def test_an_existing_dossier_is_kept_unless_replaced_on_purpose(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    before = snapshot(out)
    with pytest.raises(DossierError, match="exists"):
        write_dossier(out, {"other": b"x"}, key=KEY)
    assert snapshot(out) == before
    write_dossier(out, {**files, "figures/marginals.svg": b"new"}, key=KEY, replace=True)
    assert (out / "figures" / "marginals.svg").read_bytes() == b"new"
    assert verify_dossier(out).ok
    assert [path.name for path in tmp_path.iterdir()] == ["aml"]


def test_a_folder_that_is_no_dossier_is_never_replaced(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(DossierError, match="no dossier"):
        write_dossier(tmp_path / "thesis", files, key=KEY, replace=True)
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_replacing_works_where_folders_cannot_be_swapped(
    tmp_path: Path, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    monkeypatch.setattr(dossier, "_exchange", lambda first, second: False)
    write_dossier(out, {**files, "figures/marginals.svg": b"new"}, key=KEY, replace=True)
    assert verify_dossier(out).ok
    assert [path.name for path in tmp_path.iterdir()] == ["aml"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux swaps folders in one step")
def test_replacing_swaps_in_one_step(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert dossier._exchange(tmp_path / "first", tmp_path / "second")
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["first"]


@pytest.mark.parametrize("moment", range(1, 10))
@pytest.mark.parametrize("replace", [False, True])
def test_a_writer_killed_at_any_sync_leaves_the_old_dossier_or_the_new_one(
    tmp_path: Path, files: Mapping[str, bytes], moment: int, replace: bool
) -> None:
    """A child process is ended without clean-up at its n-th fsync; at most `.partial` is left, and swept later."""
    out = tmp_path / "aml"
    if replace:
        write_dossier(out, files, key=KEY)
    new = {**files, "figures/marginals.svg": b"new"}
    child = os.fork()
    if child == 0:
        calls, real = iter(range(1, 1000)), os.fsync
        os.fsync = lambda descriptor: os._exit(9) if next(calls) == moment else real(descriptor)  # type: ignore[assignment]
        write_dossier(out, new, key=KEY, replace=replace)
        os._exit(0)
    os.waitpid(child, 0)
    assert out.exists() == replace or verify_dossier(out).ok
    if out.exists():
        assert verify_dossier(out).ok
    write_dossier(out, new, key=KEY, replace=True)
    assert verify_dossier(out).ok
    assert [path.name for path in tmp_path.iterdir()] == ["aml"]


def test_an_interrupted_writer_cleans_up(
    tmp_path: Path, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(partial: Path, out: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dossier, "_publish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_dossier(tmp_path / "aml", files, key=KEY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../up", "/root", "a//b", "a\\b", "", "SHA256SUMS", "signatures/x", "internal/x", "new\nline", "./a"]
)
def test_a_name_that_leaves_or_breaks_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DossierError):
        write_dossier(tmp_path / "aml", {name: b""}, key=KEY)
    assert list(tmp_path.iterdir()) == []


def test_other_tools_can_check_it(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    if shutil.which("sha256sum") is None or shutil.which("openssl") is None:
        pytest.skip("sha256sum or openssl is not installed")
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    command = "openssl pkeyutl -verify -pubin -inkey signatures/coordinator.pem -rawin -in SHA256SUMS -sigfile"
    subprocess.run([*command.split(), "signatures/SHA256SUMS.sig"], cwd=out, check=True, stdout=subprocess.DEVNULL)


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


def test_the_coordinator_has_one_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    first = coordinator_key(tmp_path / "home")
    assert coordinator_key(tmp_path / "home").private_bytes_raw() == first.private_bytes_raw()
    file = tmp_path / "home" / "coordinator.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["coordinator.key"]
    file.chmod(0o644)
    with pytest.raises(DossierError, match="0600"):
        coordinator_key(tmp_path / "home")
    file.chmod(0o600)
    file.write_bytes(b"short")
    with pytest.raises(DossierError, match="32"):
        coordinator_key(tmp_path / "home")
