"""The verbs about secure sums: arithmetic that a person can follow, logs that anybody can re-check."""

import re
from pathlib import Path

from tests.cli.command import synthfed


def test_explained_shares_add_up(tmp_path: Path) -> None:
    done = synthfed("explain-shares", "--site", "a=5,-3", "--site", "b=2,2", "--site", "c=-4,7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "read as signed numbers: 3  6" in done.stdout
    first = re.search(r"a has.*?\n((?:  [abc] .*\n)+)  sum +(\d+) +(\d+)", done.stdout)
    assert first is not None
    parts = [[int(word) for word in re.findall(r"\d+", line)] for line in first.group(1).splitlines()]
    assert sum(part[0] for part in parts) % 2**32 == int(first.group(2)) == 5


def test_wrong_numbers_are_refused_with_an_example(tmp_path: Path) -> None:
    for words in (["a=1"], ["a=1", "b=2", "c=x"], ["a=1", "b=2", "c=3,4"]):
        done = synthfed("explain-shares", *(part for word in words for part in ("--site", word)), cwd=tmp_path)
        assert done.returncode == 2
        assert "--site lyon=5,-3" in done.stderr


def test_an_altered_log_is_found_and_named(tmp_path: Path) -> None:
    assert synthfed("run", "smoke", "--quiet", cwd=tmp_path).returncode == 0
    whole = synthfed("audit", "verify", "dossier-smoke", cwd=tmp_path)
    assert whole.returncode == 0
    assert whole.stdout.count("hold") == 3
    log = tmp_path / "dossier-smoke" / "audit.jsonl"
    log.write_text(log.read_text().replace('"round": 1', '"round": 7', 1).replace('"round":1', '"round":7', 1))
    broken = synthfed("audit", "verify", "dossier-smoke", cwd=tmp_path)
    assert broken.returncode == 1
    assert "BROKEN" in broken.stdout
