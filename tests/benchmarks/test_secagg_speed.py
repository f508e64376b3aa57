"""What a secure sum costs, as ratios of one run: bytes over the plain vector, CPU time over the AES floor, the literal
scheme and Flower's SecAgg+ over ours. One thread, CPU time, columns interleaved, best of several.

A whole run of this file writes `reports/reference/secure-sums`: a page, its numbers and a picture.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from synthfed.secagg import parts
from synthfed.secagg.hiding import hide
from synthfed.secagg.masks import CHUNK_BYTES
from synthfed.secagg.messages import Kind
from synthfed.secagg.parts import Part
from synthfed.secagg.ring import decode_sum, encode
from synthfed.secagg.tag import TagKey
from tests.benchmarks import secure_sums_page
from tests.secagg.federation import attempt

pytestmark = pytest.mark.benchmarks

D = 1_000_000
SITES = (3, 6, 10, 20, 50)

Measured = dict[str, dict[int, dict[str, float]]]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    """Rows by table and number of sites; written when every test of the file has added its own."""
    found: Measured = {name: {} for name in secure_sums_page.TABLES}
    yield found
    if all(tuple(found[name]) == SITES for name in ("masking", "parts", "flower", "traffic")):
        secure_sums_page.write(found)


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
    private, self_seed = site._dealing.mask_private, site._state.self_seed

    def ours(x: np.ndarray) -> None:
        vector = encode(x, bound=1.0, weight=1 / sites).values
        hide(
            vector,
            (0,) * 5,
            own=site._own.index,
            private=private,
            mask_keys={index: site._shown(index).mask_key for index in site._state.hellos},
            context1=bytes(32),
            self_seed=self_seed,
        )

    return ours


def bytes_up(sites: int, mode: str = "compressed", *, post_quantum: bool = False, length: int = D) -> int:
    """What one site sends up in a whole attempt over `length` coordinates, from one over four."""
    run = attempt(sites, 4, config={"mode": mode, "post_quantum": post_quantum})
    run.finish()
    index = run.members[0].index
    own = [raw for raw in run.transcript if raw[:3] == b"SA1" and int.from_bytes(raw[4:6], "little") == index]
    boxes = [raw for raw in run.transcript if raw[:3] != b"SA1" and int.from_bytes(raw[:2], "little") == index]
    assert {Kind(raw[3]) for raw in own} >= {Kind.HELLO, Kind.SHARE, Kind.MASKED, Kind.CLOSE}
    vectors = sites if mode in ("full", "shamir") else 1
    return sum(len(raw) for raw in own + boxes) + vectors * 4 * (length - 4)


def error_of_mean(sites: int) -> float:
    """Largest difference to the float64 mean, over what the ring promises: (N/2) 2**-30."""
    changes = [(np.random.default_rng(i).standard_normal(20_000) * 0.1).astype(np.float32) for i in range(sites)]
    vectors = [encode(x, bound=1.0, weight=1 / sites).values for x in changes]
    found = decode_sum(np.sum(vectors, axis=0, dtype=np.uint32), bound=1.0, total_weight=1.0)
    exact = np.mean([x.astype(np.float64) for x in changes], axis=0)
    return float(np.abs(found - exact).max() / (sites / 2 * 2.0**-30))


@pytest.mark.parametrize("sites", SITES)
def test_bytes_and_masking_time(sites, measured):
    ours, tag_key, x = masker(sites), TagKey(bytes(32), bytes(32)), change()
    vector = encode(x, bound=1.0, weight=1 / sites).values
    floor, encoding, whole, tagging = [], [], [], []
    for _ in range(7):
        encoding.append(cpu(lambda: encode(x, bound=1.0, weight=1 / sites).values))
        floor.append(cpu(lambda: keystreams(sites, D)))
        whole.append(cpu(lambda: ours(x)))
        tagging.append(cpu(lambda: tag_key.tag(vector, 0)))
    ratio, over_floor = bytes_up(sites) / (4 * D), (min(whole) - min(encoding)) / min(floor)
    print(
        f"\nN={sites:2d} bytes/4d {ratio:.5f}  encode and mask {min(whole):6.2f} ms  AES floor {min(floor):6.2f} ms  "
        f"masking/floor {over_floor:.2f}  encode {min(encoding):.2f} ms  tag {min(tagging):.2f} ms"
    )
    row = {"bytes": ratio, "whole_ms": min(whole), "encode_ms": min(encoding), "floor_ms": min(floor)}
    row |= {"over_floor": over_floor, "tag_ms": min(tagging), "error": error_of_mean(sites)}
    measured["masking"][sites] = row
    assert ratio <= 1.01
    assert over_floor <= 2.0
    assert row["error"] <= 1.0


@pytest.mark.parametrize("sites", SITES)
def test_literal_parts_cost_more(sites, measured):
    """`full`: encode, draw N - 1 uniform vectors, subtract. `shamir`: evaluate N polynomials."""
    import os

    ours, x = masker(sites), change()
    indices = [7 * i + 3 for i in range(sites)]
    threshold = 2 * sites // 3 + 1

    def dealt(mode: parts.Mode) -> None:
        whole = Part(encode(x, bound=1.0, weight=1 / sites).values, (0,) * 5)
        parts.split(mode, whole, indices, own=3, threshold=threshold, entropy=os.urandom)

    mine, full, shamir = [], [], []
    for _ in range(5):
        mine.append(cpu(lambda: ours(x)))
        full.append(cpu(lambda: dealt("full")))
    shamir.append(cpu(lambda: dealt("shamir")))
    traffic = bytes_up(sites, "full") / bytes_up(sites)
    print(
        f"\nN={sites:2d} ours {min(mine):6.2f} ms  full/ours {min(full) / min(mine):5.1f}x  "
        f"shamir/ours {min(shamir) / min(mine):5.1f}x  bytes full/ours {traffic:.2f}x"
    )
    measured["parts"][sites] = {"full": min(full) / min(mine), "shamir": min(shamir) / min(mine)}
    assert min(full) / min(mine) >= 5.0
    assert abs(traffic - sites) < 0.05 * sites


@pytest.mark.parametrize("sites", SITES)
def test_flower_secaggplus_costs_more(sites, measured):
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
    measured["flower"][sites] = {"secaggplus": min(flower) / min(mine)}
    assert min(flower) / min(mine) >= 7.0


@pytest.mark.parametrize("sites", SITES)
def test_traffic_is_linear_in_the_number_of_sites(sites, measured):
    """System bytes up: ours 4dN and a little, the literal scheme 4dN * N."""
    plain = 4 * D
    ours, literal = sites * bytes_up(sites), sites * bytes_up(sites, "full")
    hybrid = bytes_up(sites, post_quantum=True) / plain
    short = bytes_up(sites, length=100_000) / 400_000
    print(
        f"\nN={sites:2d} all sites up {ours / 1e6:8.1f} MB, literal {literal / 1e6:8.1f} MB, "
        f"post-quantum bytes/4d {hybrid:.4f}, at d = 1e5 {short:.4f}"
    )
    measured["traffic"][sites] = {
        "ours_mb": ours / 1e6,
        "literal_mb": literal / 1e6,
        "post_quantum": hybrid,
        "short": short,
    }
    assert ours <= 1.01 * sites * plain
    assert hybrid <= 1.015
    assert abs(literal / (sites**2 * plain) - 1) < 0.01


def test_wide_sums_cost_little():
    """Analytics: tag on Python integers, 10,000 cells."""
    vector = np.arange(10_000, dtype=np.uint64)
    spent = min(cpu(lambda: TagKey(bytes(32), bytes(32)).tag(vector, 0)) for _ in range(5))
    print(f"\ntag of 10,000 64-bit cells {spent:.1f} ms")
    assert spent < 100
