"""A dealer that gives one peer something else than it publishes, in every way that its own signature covers."""

from synthfed.secagg import masks
from synthfed.secagg.dealing import Dealing
from tests.secagg.federation import MODEL

LIES = ("self_share", "mask_share", "tag_part", "junk")
_SEAL = Dealing.seal


def deliveries_with_a_liar(run, monkeypatch, *, dealer, victim, lie):
    """Run up to the deliveries; `dealer` seals a lie for `victim` and publishes the hash of that very box."""

    def seal(self, receiver, receiver_key, self_share, mask_share, kem_key=b""):
        if (self.own, receiver) != (dealer, victim):
            return _SEAL(self, receiver, receiver_key, self_share, mask_share, kem_key)
        if lie == "self_share":
            self_share = bytes([7] * 33)
        elif lie == "mask_share":
            mask_share = bytes([7] * 33)
        kept = self.state.tag_part
        if lie == "tag_part":
            self.state.tag_part = bytes([7] * 32)
        box = _SEAL(self, receiver, receiver_key, self_share, mask_share, kem_key)
        self.state.tag_part = kept
        return box[:-1] + bytes([box[-1] ^ 1]) if lie == "junk" else box

    with monkeypatch.context() as patch:
        patch.setattr(Dealing, "seal", seal)
        return run.deliveries()


def box_of(delivery, dealer):
    return next(raw for raw in delivery.sealed if int.from_bytes(raw[:2], "little") == dealer)


def mask(run, index, delivery):
    return run.sites[index].mask(run.inputs[index], MODEL, delivery.shares, delivery.sealed)


def key_of_pair(run, own, peer):
    """e of the pair, as `own` has it."""
    return masks.seal_private_key(run.sites[own]._state.seal_secret, run.context.digest(), peer).private_bytes_raw()
