"""The coordinator's checkpoints: whole or absent, and exactly what was saved."""

import numpy as np
import pytest

from synthfed.federation.checkpoints import Checkpoint, CheckpointBroken, Checkpoints, Decided
from synthfed.federation.wire import ShareReply


def point(round_index: int) -> Checkpoint:
    return Checkpoint(
        round_index=round_index,
        standing={
            "weights/b": np.arange(6, dtype=np.float32).reshape(2, 3),
            "weights/a": np.zeros(1, np.float32),
            "weights/column-major": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
            "state/m": np.full(3, 1e-300),
            "state/empty": np.zeros(0),
            "step": np.asarray(4),
            "sum": np.array([2**64 - 1], np.uint64),
        },
        result=b"sum" if round_index else b"",
        hellos={1: b"h1", 10: b"h10"},
        shares={1: ShareReply(b"p", (2, 3), (b"s2", b"")), 10: ShareReply(b"", (), ())},
        bytes_up=5,
        bytes_down=6,
        missing={3: ("oslo", "bern")},
    )


def test_a_checkpoint_reads_back_bit_for_bit_and_in_order(tmp_path):
    kept = Checkpoints(tmp_path / "run")
    assert kept.latest() is None
    for index in (0, 1, 9, 10):
        kept.save(point(index))
    found, wanted = kept.latest(), point(10)
    assert found is not None
    assert list(found.standing) == list(wanted.standing)
    for name, array in wanted.standing.items():
        assert found.standing[name].dtype == array.dtype
        np.testing.assert_array_equal(found.standing[name], array)
    assert (found.round_index, found.result) == (10, b"sum")
    assert (found.hellos, found.shares) == (wanted.hellos, wanted.shares)
    assert (found.bytes_up, found.bytes_down, found.missing) == (5, 6, wanted.missing)
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_a_half_written_checkpoint_is_not_seen_and_a_broken_one_is_named(tmp_path):
    kept = Checkpoints(tmp_path / "run")
    kept.save(point(3))
    (tmp_path / "run" / "round_000004.safetensors.partial").write_bytes(b"half")
    found = kept.latest()
    assert found is not None
    assert found.round_index == 3
    (tmp_path / "run" / "round_000004.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointBroken, match="round_000004"):
        kept.latest()


def test_a_choice_reads_back_and_goes_with_its_checkpoint(tmp_path):
    kept = Checkpoints(tmp_path / "run")
    assert kept.decided(1) is None
    kept.decide(Decided(1, {1: b"h", 10: b"i"}))
    choice = Decided(1, {1: b"h", 10: b"i"}, (1, 10), {10: b"s"})
    kept.decide(choice)
    assert kept.decided(1) == choice
    for index in range(4):
        kept.save(point(index))
    assert kept.decided(1) is None


def test_a_broken_choice_is_named(tmp_path):
    kept = Checkpoints(tmp_path / "run")
    (tmp_path / "run" / "coming_000001.json").write_text("{}")
    with pytest.raises(CheckpointBroken, match="coming_000001"):
        kept.decided(1)
