"""One flipped byte anywhere is found, and so is a signed folder whose parts contradict each other."""

import json
import math
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.dossier import Verification, read_report, verify_dossier, write_dossier
from synthfed.dossier.claims import digest_of
from synthfed.dossier.layout import PUBLIC_KEY, SIGNATURE
from synthfed.errors import DossierError
from synthfed.pipeline import Pipeline
from synthfed.privacy.accounting import gaussian_epsilon
from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.statement import release_ledger
from synthfed.run.contents import pipeline_toml
from tests.dossier.parts import KEY, report_on, site_ledger, small_pipeline, snapshot


def test_what_was_written_is_verified(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "release" / "aml", files, key=KEY)
    result = verify_dossier(out)
    assert result.findings == ()
    assert result.ok
    assert result.files == len(files)
    assert result.signer == KEY.public_key().public_bytes_raw().hex()
    assert sorted(p.name for p in out.parent.iterdir()) == ["aml"]


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
    for name in (SIGNATURE, PUBLIC_KEY):
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
    assert said == [("altered", "link"), ("missing", "synthetic.csv"), ("extra", "figures/patients.csv")]


def test_a_file_replaced_by_a_link_to_equal_content_is_found(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    shutil.move(out / "report.json", tmp_path / "elsewhere.json")
    (out / "report.json").symlink_to(tmp_path / "elsewhere.json")
    assert {finding.name for finding in verify_dossier(out).findings} == {"report.json"}


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
        assert digest_of(pipeline_toml(chosen)) == chosen.digest()


def test_a_dossier_without_a_ledger_is_incomplete(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    rest = {name: content for name, content in files.items() if name != "ledger.json"}
    out = write_dossier(tmp_path / "aml", rest, key=KEY)
    assert [finding.name for finding in verify_dossier(out).findings] == ["ledger.json"]


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
