"""What the coordinator keeps on disk, so that a stopped run goes on as if it had not stopped.

One file per round, written before the round's first message: what is known, the last verified sum and the
key messages of the coming round. Requests are made from it alone, so after a restart the same bytes go out again and
every site answers from its stored replies: no round is lost, trained or paid for twice. A file is whole or absent
(written aside, flushed, renamed); the newest two are kept. It holds sums and public keys, nothing of one site.

Where rounds may go on without a site, who answers is no longer certain. Then each choice is written down before a site
hears of it (`Decided`), because the sites stand by it for ever: after a restart the same sets are asked for again.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synthfed.errors import FederationError
from synthfed.federation.durable import make_private_folder, write_durably
from synthfed.federation.records import pack, unpack
from synthfed.federation.wire import ShareReply
from synthfed.federation.work import Standing


class CheckpointBroken(FederationError):
    """A checkpoint cannot be read."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The coordinator between two rounds.

    Attributes:
        round_index: The round that comes next; the number of rounds when all are done.
        standing: What follows from the sums so far; see `work.Course`.
        result: RESULT of the round before, empty before round 0.
        hellos, shares: Key messages of the coming round by roster index; empty after the last round. Who takes part in
            the coming round are the sites of `shares`.
        bytes_up, bytes_down: Payload so far.
        missing: Sites that are not in the sum of a round so far, by round; only rounds that lack one.
        liars: Sites that were proved to have dealt false key shares; they are not asked for any further round.
        evidence: What lets sites add up the sum behind `result` themselves; empty unless the run says `recompute`.
    """

    round_index: int
    standing: Standing
    result: bytes
    hellos: Mapping[int, bytes]
    shares: Mapping[int, ShareReply]
    bytes_up: int
    bytes_down: int
    missing: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    evidence: bytes = b""
    liars: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    """What was chosen on the way to a coming round.

    Attributes:
        coming: The round whose keys are being agreed.
        hellos: HELLO of every site that will be dealt keys for it, by roster index; empty after the last round.
        counted: Roster indices of the sites whose vectors count in the round before; empty before round 0.
        survivors: SURVIVORS of the sites that signed that set, by roster index; empty without a drop, and before they
            were asked.
    """

    coming: int
    hellos: Mapping[int, bytes]
    counted: tuple[int, ...] = ()
    survivors: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def hellos_in_order(self) -> tuple[bytes, ...]:
        """The HELLOs as they travel: by rising roster index."""
        return tuple(self.hellos[index] for index in sorted(self.hellos))


class Checkpoints:
    """The folder of one run's checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_private_folder(folder)

    def save(self, point: Checkpoint) -> None:
        """Write a checkpoint durably and forget all but the newest two."""
        from safetensors.numpy import save

        # Row-major, and 0-d stays 0-d: safetensors writes a column-major array's bytes as if it were row-major.
        tensors: dict[str, Any] = {
            f"standing/{name}": np.asarray(value, order="C") for name, value in point.standing.items()
        }
        tensors["result"] = np.frombuffer(point.result, np.uint8)
        tensors["evidence"] = np.frombuffer(point.evidence, np.uint8)
        for index, hello in point.hellos.items():
            tensors[f"hello/{index}"] = np.frombuffer(hello, np.uint8)
        for index, share in point.shares.items():
            tensors[f"share/{index}"] = np.frombuffer(pack(share), np.uint8)
        note = {
            "round": point.round_index,
            "standing": list(point.standing),
            "up": point.bytes_up,
            "down": point.bytes_down,
            "liars": list(point.liars),
            "missing": [[index, *sites] for index, sites in point.missing.items()],
        }
        write_durably(self._path(point.round_index), save(tensors, {"note": json.dumps(note)}))
        for old in self._all()[:-2]:
            old.unlink(missing_ok=True)
            self._decided_path(int(old.stem.removeprefix("round_"))).unlink(missing_ok=True)

    def decide(self, choice: Decided) -> None:
        """Write a choice durably, before anybody is asked to stand by it."""
        body = {
            "coming": choice.coming,
            "counted": list(choice.counted),
            "hellos": {str(index): hello.hex() for index, hello in choice.hellos.items()},
            "survivors": {str(index): word.hex() for index, word in choice.survivors.items()},
        }
        write_durably(self._decided_path(choice.coming), json.dumps(body, sort_keys=True).encode())

    def decided(self, coming: int) -> Decided | None:
        """The choice made on the way to a round, None before it was made.

        Raises:
            CheckpointBroken: It cannot be read.
        """
        path = self._decided_path(coming)
        if not path.exists():
            return None
        try:
            body = json.loads(path.read_bytes())
            hellos, survivors = (
                {int(index): bytes.fromhex(raw) for index, raw in body[key].items()} for key in ("hellos", "survivors")
            )
            return Decided(body["coming"], hellos, tuple(body["counted"]), survivors)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointBroken(f"{path.name} cannot be read; restore it: sites stand by what it says") from error

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint, None before the first.

        Raises:
            CheckpointBroken: It cannot be read.
        """
        found = self._all()
        return self._read(found[-1]) if found else None

    def _path(self, round_index: int) -> Path:
        return self.folder / f"round_{round_index:06d}.safetensors"

    def _decided_path(self, coming: int) -> Path:
        return self.folder / f"coming_{coming:06d}.json"

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("round_*.safetensors"))

    def _read(self, path: Path) -> Checkpoint:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            raw = path.read_bytes()
            (header,) = struct.unpack_from("<Q", raw)  # safetensors: u64 length, JSON header, data
            note = json.loads(json.loads(raw[8 : 8 + header])["__metadata__"]["note"])
            tensors = load(raw)
            return Checkpoint(
                round_index=note["round"],
                standing={name: tensors[f"standing/{name}"] for name in note["standing"]},
                result=tensors["result"].tobytes(),
                hellos={int(k[6:]): v.tobytes() for k, v in sorted(tensors.items()) if k.startswith("hello/")},
                shares={
                    int(k[6:]): unpack(v.tobytes(), ShareReply)
                    for k, v in sorted(tensors.items())
                    if k.startswith("share/")
                },
                bytes_up=note["up"],
                bytes_down=note["down"],
                liars=tuple(note["liars"]),
                evidence=tensors["evidence"].tobytes(),
                missing={row[0]: tuple(row[1:]) for row in note["missing"]},
            )
        except (OSError, ValueError, KeyError, struct.error, SafetensorError) as error:
            raise CheckpointBroken(
                f"checkpoint {path.name} cannot be read; delete it to resume one round back"
            ) from error
