"""What masking costs, printed as ratios of one run: bytes over the plain vector, CPU time over the AES floor."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from synthfed.secagg.messages import Kind
from synthfed.secagg.ring import append_aux, encode
from synthfed.secagg.tag import TagKey
from tests.secagg.federation import attempt

pytestmark = pytest.mark.benchmarks

D = 1_000_000
CHUNK = 128 * 1024


def cpu(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return 1e3 * (time.process_time() - start)


def keystreams(count: int, size: int) -> None:
    """The floor: only make the keystreams that any such scheme needs."""
    zeros, buffer = bytes(CHUNK), bytearray(CHUNK)
    for key in range(count):
        encryptor = Cipher(algorithms.AES256(bytes([key] * 32)), modes.CTR(bytes(16))).encryptor()
        for _ in range(-(-4 * size // CHUNK)):
            encryptor.update_into(zeros, buffer)


@pytest.mark.parametrize("sites", [3, 6, 10, 20, 50])
def test_bytes_and_masking_time(sites):
    rng = np.random.default_rng(0)
    change = (rng.standard_normal(D) * 0.01).astype(np.float32)
    small = attempt(sites, 4)
    small.finish()
    site = small.sites[3]
    run = attempt(sites, 4)
    deliveries = run.deliveries()
    masker = run.sites[3]
    hellos, context1 = masker._state.hellos, bytes(32)
    tag_key = TagKey(bytes(32), context1)
    floor, encoding, masking, tagging = [], [], [], []
    for _ in range(7):
        vector: list[np.ndarray] = []
        encoding.append(cpu(lambda: vector.append(append_aux(encode(change, bound=1.0, weight=1 / sites), weight=0.1))))  # noqa: B023
        floor.append(cpu(lambda: keystreams(sites, D)))
        masking.append(cpu(lambda: masker._hide(vector[0], (0,) * 5, hellos, context1)))  # noqa: B023
        tagging.append(cpu(lambda: tag_key.tag(vector[0], 0)))  # noqa: B023
    del deliveries, site

    own = [raw for raw in small.transcript if raw[:3] == b"SA1" and int.from_bytes(raw[4:6], "little") == 3]
    boxes = [raw for raw in small.transcript if raw[:3] != b"SA1" and int.from_bytes(raw[:2], "little") == 3]
    up = sum(len(raw) for raw in own + boxes) - 4 * 4 + 4 * (D + 2)
    assert {Kind(raw[3]) for raw in own} == {Kind.HELLO, Kind.SHARE, Kind.MASKED, Kind.UNMASK, Kind.CLOSE}
    ratio, over_floor = up / (4 * D), min(masking) / min(floor)
    print(
        f"\nN={sites:2d} bytes/4d {ratio:.5f}  masking {min(masking):6.2f} ms  AES floor {min(floor):6.2f} ms  "
        f"ratio {over_floor:.2f}  encode {min(encoding):.2f} ms  tag {min(tagging):.2f} ms"
    )
    assert ratio <= 1.01
    assert over_floor <= 2.0
