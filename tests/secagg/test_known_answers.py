"""Our own answers, committed: whoever changes a byte of the protocol must change this file and say so.

All entropy is SHAKE-256 of a fixed text; see `federation.stream`.
"""

import hashlib

from synthfed.secagg.masks import mask_private_key, pair_mask, self_mask
from synthfed.secagg.tag import TagKey
from tests.secagg.federation import attempt


def answers():
    run = attempt(3, 5, seed=1, fixed="known")
    total = run.finish()
    again = attempt(3, 5, seed=1, fixed="known")
    again.masked()
    one, two = again.sites[3]._state, again.sites[10]._state
    ctx0, ctx1 = run.context.digest(), run.relay.context1
    private = {i: mask_private_key(state.mask_seed, ctx0) for i, state in ((3, one), (10, two))}
    mask = pair_mask(private[3], private[10].public_key().public_bytes_raw(), ctx1, own=3, peer=10)
    assert mask == pair_mask(private[10], private[3].public_key().public_bytes_raw(), ctx1, own=10, peer=3)
    key = TagKey(one.tag_key, ctx1)
    return {
        "roster": run.roster.digest().hex(),
        "ctx0": ctx0.hex(),
        "ctx1": ctx1.hex(),
        "pair key": mask.stream.hex(),
        "self key": self_mask(one.self_seed, ctx1).stream.hex(),
        "tag key": key.secret.hex(),
        "tag": key.tag(again.inputs[3], 3),
        "total": total.tolist(),
        "transcript": hashlib.sha256(b"".join(run.transcript)).hexdigest(),
        "messages": len(run.transcript),
    }


KNOWN = {
    "roster": "746f16bee317f7254c79dd6f4660ccbe7a23f282f3000960f65c45360e9ec1e0",
    "ctx0": "dcb6a54366bece6e5d612490253486353f384026bcf3ec4176fef1f27233d6f6",
    "ctx1": "d0f496e1e02db98ca13c49392637fd36e82731817d3b388a612d1727ce107e22",
    "pair key": "05229f804122ae66ff039c5dce6ee199adf7eb9d84f0e8914945ed77e0b34955",
    "self key": "7a397885dbc9a83e2f4378d1b443650b0d8f764d074d29d65232dcf77b969402",
    "tag key": "ac4f9b8f50d4ae09e8118c0dbb9f7f9ff1da4fe7cbb4d78e54a209273d83e515",
    "tag": (132963, 802031, 316787, 1025748, 87109),
    "total": [4294510066, 8660120, 16005003, 17696436, 4264891653],
    "transcript": "9f5e01fba7ea8715d657cc24df4758e16ca760fea912560dbd10fdcf26a6abf5",
    "messages": 23,
}


def test_one_whole_attempt():
    assert answers() == KNOWN
