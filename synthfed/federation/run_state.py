"""What a site remembers of one run: answered stages, open secure-sum sessions, parked results, audit chain, log.

A ClientApp lives for one message, so nothing may be kept in memory. `runs/<manifest hash>/` holds:

| file | content |
|---|---|
| `manifest.json`, `manifest.sig` | the signed manifest, written once the budget is reserved |
| `lock` | held (flock) while a message is worked on: an orphaned process cannot interleave |
| `state.sqlite` | sealed replies and sessions by (round, attempt, stage), pair keys, and the signed audit chain |
| `audit.jsonl` | the audit chain as text, once the run is settled |
| `inbox/` | sealed parts that came by direct links, until their round is verified; see `inbox` |
| `parked/` | the noised result of a round until its sum is verified: a crash costs no second training and no charge |
| `training.jsonl` | losses, clipped shares, seconds; computed from patients and not paid for: never sent |

Promise: a stage answered once gives the same bytes for the same request for as long as they may be needed, and
refuses any other request for ever. Without the site's seal key the files tell nothing but which rounds ran.
"""

import datetime
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.refused import Refused
from synthfed.secagg.audit import AuditHead, append_line
from synthfed.secagg.sealed import seal, unseal

_TABLES = """
CREATE TABLE IF NOT EXISTS stage (
    round INTEGER, attempt INTEGER, stage TEXT, request BLOB NOT NULL, reply BLOB,
    PRIMARY KEY (round, attempt, stage));
CREATE TABLE IF NOT EXISTS session (
    round INTEGER, attempt INTEGER, frozen BLOB NOT NULL, PRIMARY KEY (round, attempt));
CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS audit (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, line TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One stage of one attempt at one round."""

    round_index: int
    attempt: int
    stage: str

    def row(self, run: str) -> bytes:
        """Authenticated with every sealed value, so that no row can be moved to another key or run."""
        return f"synthfed/site/v1|{run}|train|{self.round_index}|{self.attempt}|{self.stage}".encode()


class RunState:
    """One run at one site; inside `with`, the run's lock is held."""

    def __init__(self, folder: Path, *, run: str, seal_key: bytes) -> None:
        self.folder = folder
        self.run = run
        self._seal_key = seal_key
        make_private_folder(folder)
        make_private_folder(folder / "parked")
        self._lock: int | None = None
        self._base: sqlite3.Connection | None = None

    def __enter__(self) -> "RunState":
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise Refused("busy") from error
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def shut(self) -> None:
        """Close the database."""
        if self._base is not None:
            self._base.close()
        self._base = None

    @property
    def base(self) -> sqlite3.Connection:
        """The database, opened when first needed."""
        assert self._lock is not None, "the run is used outside its lock"
        if self._base is None:
            path = self.folder / "state.sqlite"
            if not path.exists():
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._base = sqlite3.connect(path, isolation_level=None)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._base.execute(f"PRAGMA {pragma}")
            self._base.executescript(_TABLES)
        return self._base

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes durable together, or not at all."""
        self.base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.base.execute("ROLLBACK")
            raise
        self.base.execute("COMMIT")

    def answered(self, key: Key, request: bytes) -> bytes | None:
        """The stored reply to this very request, or None when the stage is new.

        Raises:
            Refused: `replay`: the stage was answered for another request, or its reply is erased.
        """
        row = self.base.execute(
            "SELECT request, reply FROM stage WHERE round=? AND attempt=? AND stage=?",
            (key.round_index, key.attempt, key.stage),
        ).fetchone()
        if row is None:
            return None
        if row[0] != request or row[1] is None:
            raise Refused("replay")
        return unseal(self._seal_key, row[1], row=key.row(self.run))

    def store_answer(self, key: Key, request: bytes, reply: bytes) -> None:
        """Keep a reply under its request's fingerprint; inside a transaction."""
        sealed = seal(self._seal_key, reply, row=key.row(self.run))
        self.base.execute(
            "INSERT INTO stage VALUES (?, ?, ?, ?, ?)", (key.round_index, key.attempt, key.stage, request, sealed)
        )

    def last_round(self, stage: str) -> int:
        """The newest round whose `stage` was answered, -1 before the first."""
        row = self.base.execute("SELECT MAX(round) FROM stage WHERE stage=?", (stage,)).fetchone()
        return -1 if row[0] is None else int(row[0])

    def end(self, round_index: int) -> None:
        """Note for ever that the sum of a round was false: this site takes no further part in the run."""
        self.base.execute("INSERT OR IGNORE INTO stage VALUES (?, 0, 'false sum', x'', NULL)", (round_index,))

    def leave(self) -> None:
        """Note for ever that the hospital takes no further part; inside a transaction."""
        self.base.execute("INSERT OR IGNORE INTO stage VALUES (0, 0, 'left', x'', NULL)")

    def require_not_left(self) -> None:
        """Refuse to go on with a run that the hospital left.

        Raises:
            Refused: `left`.
        """
        if self.last_round("left") >= 0:
            raise Refused("left")

    @property
    def ended(self) -> bool:
        """Whether a sum of this run was false."""
        return self.last_round("false sum") >= 0

    def session(self, round_index: int, attempt: int) -> bytes:
        """The frozen secure-sum session of an attempt.

        Raises:
            Refused: `order`: there is none, so an earlier stage is missing or the attempt is over.
        """
        row = self.base.execute(
            "SELECT frozen FROM session WHERE round=? AND attempt=?", (round_index, attempt)
        ).fetchone()
        if row is None:
            raise Refused("order")
        return unseal(self._seal_key, row[0], row=Key(round_index, attempt, "session").row(self.run))

    def has_session(self, round_index: int, attempt: int) -> bool:
        """Whether an attempt was begun and its session is still held."""
        found = self.base.execute("SELECT 1 FROM session WHERE round=? AND attempt=?", (round_index, attempt))
        return found.fetchone() is not None

    def store_session(self, round_index: int, attempt: int, frozen: bytes) -> None:
        """Keep a session's newest state; inside a transaction."""
        sealed = seal(self._seal_key, frozen, row=Key(round_index, attempt, "session").row(self.run))
        self.base.execute("INSERT OR REPLACE INTO session VALUES (?, ?, ?)", (round_index, attempt, sealed))

    def secret(self, name: str) -> bytes | None:
        """A secret of the whole run, None before it was made."""
        row = self.base.execute("SELECT sealed FROM secret WHERE name=?", (name,)).fetchone()
        return None if row is None else unseal(self._seal_key, row[0], row=self._secret_row(name))

    def keep_secret(self, name: str, secret: bytes) -> None:
        """Keep a secret until the run is closed; inside a transaction."""
        sealed = seal(self._seal_key, secret, row=self._secret_row(name))
        self.base.execute("INSERT OR REPLACE INTO secret VALUES (?, ?)", (name, sealed))

    def forget_secrets(self) -> None:
        """Delete all secrets of the run; inside a transaction."""
        self.base.execute("DELETE FROM secret")

    def _secret_row(self, name: str) -> bytes:
        return f"synthfed/site/v1|{self.run}|secret|{name}".encode()

    def erase(self, round_index: int) -> None:
        """Forget secrets and sent vectors of an ended round and all before it; which stages ran stays for ever."""
        self.base.execute("DELETE FROM session WHERE round<=?", (round_index,))
        self.base.execute("UPDATE stage SET reply=NULL WHERE round<=? AND reply NOT NULL", (round_index,))

    def parked(self, round_index: int, model: bytes) -> Path:
        """Where the noised result of a round that started from `model` (its SHA-256) waits."""
        return self.folder / "parked" / f"{round_index:05d}.{model.hex()[:8]}.safetensors"

    def drop_parked(self, round_index: int) -> None:
        """Delete parked results of a verified round and all before it."""
        for path in (self.folder / "parked").glob("*.safetensors"):
            if int(path.name.split(".")[0]) <= round_index:
                path.unlink()

    def keep_manifest(self, raw: bytes, signature: bytes) -> None:
        """Write the manifest; its presence means that the run is enrolled."""
        write_durably(self.folder / "manifest.sig", signature)
        write_durably(self.folder / "manifest.json", raw)

    @property
    def audit_head(self) -> AuditHead:
        """Where the run's audit chain stands."""
        row = self.base.execute("SELECT seq, id FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        return AuditHead() if row is None else AuditHead(int(row[0]) + 1, row[1])

    def audit(self, kind: str, body: Mapping[str, Any], identity: Ed25519PrivateKey) -> None:
        """Sign another line of the audit chain; inside a transaction, so that it stands or falls with its stage."""
        head = self.audit_head
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        after, line = append_line(head, time=now, kind=kind, body={"run": self.run, **body}, identity=identity)
        self.base.execute("INSERT INTO audit VALUES (?, ?, ?)", (head.length, after.id, line))

    def audit_lines(self) -> bytes:
        """The audit chain as JSON lines; also written to `audit.jsonl` for people."""
        lines = [row[0] for row in self.base.execute("SELECT line FROM audit ORDER BY seq")]
        text = "".join(f"{line}\n" for line in lines).encode()
        write_durably(self.folder / "audit.jsonl", text)
        return text

    def log_training(self, **entry: Any) -> None:
        """Add a line to the site's own training log. It is never sent."""
        with _private(self.folder / "training.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry, sort_keys=True) + "\n")


def _private(path: Path) -> Path:
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    return path
