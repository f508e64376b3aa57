"""What a secure sum costs, printed as ratios of one run: bytes over the plain vector, CPU time over the AES floor, the
literal scheme and Flower's SecAgg+ over ours. One thread, CPU time, columns interleaved, best of several."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from synthfed.secagg import parts
from synthfed.secagg.masks import CHUNK_BYTES
from synthfed.secagg.messages import Kind
from synthfed.secagg.parts import Part
from synthfed.secagg.ring import append_aux, encode
from synthfed.secagg.tag import TagKey
from tests.secagg.federation import attempt

pytestmark = pytest.mark.benchmarks

D = 1_000_000


def cpu(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return 1e3 * (time.process_time() - start)


def keystreams(count: int, size: int) -> None:
    """The floor: only make the keystreams that any such scheme needs."""
    zeros, buffer = bytes(CHUNK_BYTES), bytearray(CHUNK_BYTES)
    for key in range(count):
        encryptor = Cipher(algorithms.AES256(bytes([key] * 32)), modes.CTR(bytes(16))).encryptor()
        for _ in range(-(-4 * size // CHUNK_BYTES)):
            encryptor.update_into(zeros, buffer)


def change() -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(D) * 0.01).astype(np.float32)


def masker(sites: int):
    """A site that has the keys of all its peers, and what it needs to hide any vector."""
    run = attempt(sites, 4)
    run.deliveries()
    site = run.sites[run.members[0].index]
    hellos, context1 = site._state.hellos, bytes(32)

    def ours(x: np.ndarray) -> None:
        vector = append_aux(encode(x, bound=1.0, weight=1 / sites), weight=1 / sites)
        site._hide(vector, (0,) * 5, hellos, context1)

    return ours


def bytes_up(sites: int, mode: str = "compressed", *, post_quantum: bool = False) -> int:
    """What one site sends up in a whole attempt over D coordinates and two more, from one over four."""
    run = attempt(sites, 4, config={"mode": mode, "post_quantum": post_quantum})
    run.finish()
    index = run.members[0].index
    own = [raw for raw in run.transcript if raw[:3] == b"SA1" and int.from_bytes(raw[4:6], "little") == index]
    boxes = [raw for raw in run.transcript if raw[:3] != b"SA1" and int.from_bytes(raw[:2], "little") == index]
    assert {Kind(raw[3]) for raw in own} >= {Kind.HELLO, Kind.SHARE, Kind.MASKED, Kind.CLOSE}
    vectors = sites if mode in ("full", "shamir") else 1
    return sum(len(raw) for raw in own + boxes) + vectors * 4 * (D + 2 - 4)


@pytest.mark.parametrize("sites", [3, 6, 10, 20, 50])
def test_bytes_and_masking_time(sites):
    ours, tag_key, x = masker(sites), TagKey(bytes(32), bytes(32)), change()
    vector = append_aux(encode(x, bound=1.0, weight=1 / sites), weight=0.1)
    floor, encoding, whole, tagging = [], [], [], []
    for _ in range(7):
        encoding.append(cpu(lambda: append_aux(encode(x, bound=1.0, weight=1 / sites), weight=0.1)))
        floor.append(cpu(lambda: keystreams(sites, D)))
        whole.append(cpu(lambda: ours(x)))
        tagging.append(cpu(lambda: tag_key.tag(vector, 0)))
    ratio, over_floor = bytes_up(sites) / (4 * D), (min(whole) - min(encoding)) / min(floor)
    print(
        f"\nN={sites:2d} bytes/4d {ratio:.5f}  encode and mask {min(whole):6.2f} ms  AES floor {min(floor):6.2f} ms  "
        f"masking/floor {over_floor:.2f}  encode {min(encoding):.2f} ms  tag {min(tagging):.2f} ms"
    )
    assert ratio <= 1.01
    assert over_floor <= 2.0


@pytest.mark.parametrize("sites", [3, 6, 10, 20])
def test_literal_parts_cost_more(sites):
    """`full`: encode, draw N - 1 uniform vectors, subtract. `shamir`: evaluate N polynomials."""
    import os

    ours, x = masker(sites), change()
    indices = [7 * i + 3 for i in range(sites)]
    threshold = 2 * sites // 3 + 1

    def dealt(mode: parts.Mode) -> None:
        whole = Part(append_aux(encode(x, bound=1.0, weight=1 / sites), weight=1 / sites), (0,) * 5)
        parts.split(mode, whole, indices, own=3, threshold=threshold, entropy=os.urandom)

    mine, full, shamir = [], [], []
    for _ in range(5):
        mine.append(cpu(lambda: ours(x)))
        full.append(cpu(lambda: dealt("full")))
    for _ in range(1):
        shamir.append(cpu(lambda: dealt("shamir")))
    traffic = bytes_up(sites, "full") / bytes_up(sites)
    print(
        f"\nN={sites:2d} ours {min(mine):6.2f} ms  full/ours {min(full) / min(mine):5.1f}x  "
        f"shamir/ours {min(shamir) / min(mine):5.1f}x  bytes full/ours {traffic:.2f}x"
    )
    assert min(full) / min(mine) >= 5.0
    assert abs(traffic - sites) < 0.05 * sites


@pytest.mark.parametrize("sites", [3, 6, 10, 20])
def test_flower_secaggplus_costs_more(sites):
    """`_collect_masked_vectors` of Flower's client, the same vector, both with encoding."""
    mod = pytest.importorskip("flwr.client.mod.secure_aggregation.secaggplus_mod")
    from flwr.common import ndarrays_to_parameters

    ours, x = masker(sites), change()
    settings = {
        mod.Key.SAMPLE_NUMBER: sites,
        mod.Key.SHARE_NUMBER: sites,
        mod.Key.THRESHOLD: 2 * sites // 3 + 1,
        mod.Key.CLIPPING_RANGE: 8.0,
        mod.Key.TARGET_RANGE: 1 << 22,
        mod.Key.MOD_RANGE: 1 << 32,
        mod.Key.MAX_WEIGHT: 1000.0,
    }
    states = {}
    for nid in range(1, sites + 1):
        state = states[nid] = mod.SecAggPlusState()
        state.nid = nid
        mod._setup(state, settings)
    keys = {str(nid): (state.pk1, state.pk2) for nid, state in states.items()}
    sent = {nid: mod._share_keys(state, keys) for nid, state in states.items()}
    first = states[1]
    boxes = {
        mod.Key.SOURCE_LIST: list(range(2, sites + 1)),
        mod.Key.CIPHERTEXT_LIST: [
            sent[nid][mod.Key.CIPHERTEXT_LIST][sent[nid][mod.Key.DESTINATION_LIST].index(1)]
            for nid in range(2, sites + 1)
        ],
    }
    parameters = ndarrays_to_parameters([x])
    mine, flower = [], []
    for _ in range(7):
        mine.append(cpu(lambda: ours(x)))
    for _ in range(3):
        mine.append(cpu(lambda: ours(x)))
        flower.append(cpu(lambda: mod._collect_masked_vectors(first, boxes, 100, parameters)))
    print(f"\nN={sites:2d} ours {min(mine):6.2f} ms  Flower SecAgg+/ours {min(flower) / min(mine):5.1f}x")
    assert min(flower) / min(mine) >= 7.0


def test_traffic_is_linear_in_the_number_of_sites():
    """System bytes up: ours 4dN and a little, the literal scheme 4dN * N."""
    counts = (3, 6, 10, 20, 50)
    ours = [n * bytes_up(n) for n in counts]
    literal = [n * bytes_up(n, "full") for n in (3, 6, 10)]
    for n, total in zip(counts, ours, strict=True):
        print(f"\nN={n:2d} all sites up {total / 1e6:8.1f} MB, literal {n * n * 4 * D / 1e6:8.1f} MB", end="")
        assert total <= 1.01 * n * 4 * D
    hybrid = {n: bytes_up(n, post_quantum=True) / (4 * D) for n in counts}
    print("\npost-quantum bytes/4d  " + "  ".join(f"N={n} {ratio:.4f}" for n, ratio in hybrid.items()))
    assert max(hybrid.values()) <= 1.015
    for n, total in zip((3, 6, 10), literal, strict=True):
        assert abs(total / (n * n * 4 * D) - 1) < 0.01


def test_wide_sums_cost_little():
    """Analytics: tag on Python integers, 10,000 cells."""
    vector = np.arange(10_000, dtype=np.uint64)
    spent = min(cpu(lambda: TagKey(bytes(32), bytes(32)).tag(vector, 0)) for _ in range(5))
    print(f"\ntag of 10,000 64-bit cells {spent:.1f} ms")
    assert spent < 100
