"""The seal: one flipped byte anywhere is found and named, as is a file too many, too few, or not a file."""

import random
import shutil
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.dossier import verify_dossier, write_dossier
from synthfed.dossier.layout import PUBLIC_KEY, SIGNATURE
from tests.dossier.parts import KEY, snapshot, unsealed


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
    assert unsealed(out) == []


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
    said = [(finding.kind, finding.name) for finding in unsealed(out)]
    assert said == [("altered", "link"), ("missing", "synthetic.csv"), ("extra", "figures/patients.csv")]


def test_a_file_replaced_by_a_link_to_equal_content_is_found(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    out = write_dossier(tmp_path / "aml", files, key=KEY)
    shutil.move(out / "report.json", tmp_path / "elsewhere.json")
    (out / "report.json").symlink_to(tmp_path / "elsewhere.json")
    assert {finding.name for finding in unsealed(out)} == {"report.json"}


def test_a_dossier_signed_by_somebody_else_is_found(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    wanted = KEY.public_key().public_bytes_raw().hex()
    forged = write_dossier(tmp_path / "aml", files, key=Ed25519PrivateKey.generate())
    assert unsealed(forged) == []
    (finding,) = unsealed(forged, signer=wanted)
    assert finding.kind == "signature"
