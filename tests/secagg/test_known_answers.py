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
    "ctx1": "d7d04472acb504977f89ba956ca8efba7332335a71a620186d4f5bb9e0a09e31",
    "pair key": "2c779235bf8cf5252212161bdfeca8e6edc7cd705d38f964ee1bf2f3a34a205e",
    "self key": "43e1849e8a9d95c79f2d639c704b7cbab04f2606c54137170de61b093f8556a4",
    "tag key": "ee2044719ff7a49897140ad5b0044c76f65f9dcb3b59d8c4a871d6b4251b3b46",
    "tag": (286726, 731538, 448709, 907447, 210350),
    "total": [4294510066, 8660120, 16005003, 17696436, 4264891653],
    "transcript": "d1f32f88713471b6884539e39c3bbe63506a20decde03b0962d5fa7461b321bd",
    "messages": 23,
}


def test_one_whole_attempt():
    assert answers() == KNOWN
