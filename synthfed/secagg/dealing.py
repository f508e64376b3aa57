"""What a site seals for its peers and opens from them: key shares, parts of the tag key, halves of pair keys.

The relay carries the boxes and cannot open them. A share that comes out of a box is compared with the digest that its
dealer published, before anything is masked, so a dealer of wrong shares is named and costs nobody a vector.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from synthfed.secagg import hybrid, masks, messages, shamir
from synthfed.secagg.admission import split_wrapped, unpack_dealt
from synthfed.secagg.contexts import SumConfig
from synthfed.secagg.messages import body_of
from synthfed.secagg.refusals import BadKey, MalformedMessage, SplitView
from synthfed.secagg.roster import Roster
from synthfed.secagg.shamir import Entropy
from synthfed.secagg.state import SiteState


@dataclass(frozen=True, slots=True, repr=False)
class Dealing:
    """One site's secrets of one attempt, and what it does with them towards its peers. Changes no state."""

    roster: Roster
    own: int
    config: SumConfig
    context0: bytes
    state: SiteState
    pair_keys: Mapping[int, bytes]
    entropy: Entropy

    @property
    def seal_private(self) -> X25519PrivateKey:
        """e_i."""
        return X25519PrivateKey.from_private_bytes(self.state.seal_secret)

    @property
    def mask_private(self) -> X25519PrivateKey:
        """s_i."""
        return masks.mask_private_key(self.state.mask_seed, self.context0)

    def deal(self, peers: Mapping[int, messages.Hello]) -> tuple[messages.Share, dict[int, bytes], bytes]:
        """Share b_i and rho_i among U0: what is published, one sealed share per peer, and the own shares.

        Raises:
            BadKey: A peer's key yields no secret, or no pair key was agreed with it.
        """
        state = self.state
        self_shares, mask_shares = (self._split(secret, peers) for secret in (state.self_seed, state.mask_seed))
        sealed = {
            index: self.seal(index, peer.seal_key, self_shares[index], mask_shares[index], peer.kem_key)
            for index, peer in peers.items()
            if index != self.own
        }
        public = messages.Share(
            self._published(masks.self_seed_digest(self.context0, self.own, state.self_seed)),
            {index: self._published(self._digest(b"self", index, share)) for index, share in self_shares.items()},
            {index: self._published(self._digest(b"mask", index, share)) for index, share in mask_shares.items()},
        )
        return public, sealed, self_shares[self.own] + mask_shares[self.own]

    def open_all(
        self, public: Mapping[int, bytes], sealed: Sequence[bytes]
    ) -> tuple[dict[int, bytes], dict[int, bytes], dict[int, bytes]]:
        """Open and check one sealed share per peer of U1; returns held shares, tag parts and halves.

        Raises:
            BadShare: A dealer's share is not the one it published; `party` names it.
            SplitView: The boxes or the sets dealt to are not those of U1 and U0.
            MalformedMessage: A box that does not open.
        """
        boxes: dict[int, bytes] = {}
        for raw in sealed:
            box = unpack_dealt(raw, self.config)
            if box.receiver != self.own or box.sender in boxes:
                raise MalformedMessage("a sealed share that is not for this site, or a second one of one sender")
            boxes[box.sender] = box.box
        if boxes.keys() != public.keys() - {self.own}:
            raise SplitView("the sealed shares do not come from exactly the sites whose SHAREs were shown")
        held, tag_parts = {self.own: self.state.own_shares}, {self.own: self.state.tag_part}
        halves: dict[int, bytes] = {}
        for dealer, raw in public.items():
            share = self.read_share(raw)
            if dealer not in self.state.hellos or share.self_digests.keys() != self.state.hellos.keys():
                raise SplitView(f"site {self.roster.at(dealer).site!r} dealt shares to another set of sites")
            if dealer == self.own:
                continue
            opened = self.open(dealer, boxes[dealer])
            dealt = messages.DealtShares.unpack(opened, key_shares=self.config.deals_keys)
            if self.config.deals_keys:
                self._require(b"self", dealer, dealt.self_share, share.self_digests[self.own])
                self._require(b"mask", dealer, dealt.mask_share, share.mask_digests[self.own])
            if self.config.post_quantum:
                halves[dealer] = self._half(dealer, boxes[dealer])
            held[dealer], tag_parts[dealer] = dealt.self_share + dealt.mask_share, dealt.tag_part
        return held, tag_parts, halves

    def read_share(self, raw: bytes) -> messages.Share:
        """The body of a SHARE that was checked before."""
        return messages.Share.unpack(body_of(raw), self.roster, key_shares=self.config.deals_keys)

    def seal(
        self, receiver: int, receiver_key: bytes, self_share: bytes, mask_share: bytes, kem_key: bytes = b""
    ) -> bytes:
        """One peer's shares and kappa_i in a box, with the wrapped half of the pair's key where this site sends it."""
        own, ctx0 = self.own, self.context0
        wrapped = b""
        if self.config.post_quantum and hybrid.sends_half(own, receiver):
            half = hybrid.half_of(self.state.mask_seed, ctx0, sender=own, receiver=receiver)
            wrapped = hybrid.wrap_half(half, kem_key, ctx0, sender=own, receiver=receiver)
        pair_key = self.pair_key(receiver)
        key = masks.seal_key(self.seal_private, receiver_key, ctx0, sender=own, receiver=receiver, pair_key=pair_key)
        dealt = messages.DealtShares(self_share, mask_share, self.state.tag_part).pack()
        box = masks.seal_box(key, dealt, ctx0, sender=own, receiver=receiver, entropy=self.entropy, beside=wrapped)
        return messages.SealedBox(own, receiver, wrapped + box).pack()

    def open(self, sender: int, box: bytes) -> bytes:
        """Undo a peer's `seal`.

        Raises:
            MalformedMessage: It was altered, or is of another pair or attempt.
        """
        own, ctx0 = self.own, self.context0
        sender_key = messages.Hello.unpack(body_of(self.state.hellos[sender])).seal_key
        wrapped, inner = split_wrapped(box, sender, own, self.config)
        pair_key = self.pair_key(sender)
        key = masks.seal_key(self.seal_private, sender_key, ctx0, sender=sender, receiver=own, pair_key=pair_key)
        return masks.open_box(key, inner, ctx0, sender=sender, receiver=own, beside=wrapped)

    def pair_key(self, peer: int) -> bytes:
        """psk_ij, or nothing if sums are not `post_quantum`.

        Raises:
            BadKey: None was agreed with that peer.
        """
        if not self.config.post_quantum:
            return b""
        if peer not in self.pair_keys:
            raise BadKey(f"no pair key was agreed with site {self.roster.at(peer).site!r} in this run")
        return self.pair_keys[peer]

    def _half(self, peer: int, box: bytes) -> bytes:
        """h of the pair with `peer`: the own one, or the one that came beside its box."""
        own, ctx0, seed = self.own, self.context0, self.state.mask_seed
        if hybrid.sends_half(own, peer):
            return hybrid.half_of(seed, ctx0, sender=own, receiver=peer)
        wrapped, _ = split_wrapped(box, peer, own, self.config)
        return hybrid.unwrap_half(wrapped, seed, ctx0, sender=peer, receiver=own)

    def _split(self, secret: bytes, receivers: Iterable[int]) -> dict[int, bytes]:
        """One share of a mask key per receiver; empty where the mode shares no keys."""
        if not self.config.deals_keys:
            return dict.fromkeys(receivers, b"")
        return shamir.split(secret, sorted(receivers), threshold=self.roster.threshold, entropy=self.entropy)

    def _published(self, found: bytes) -> bytes:
        return found if self.config.deals_keys else b""

    def _digest(self, kind: bytes, holder: int, share: bytes) -> bytes:
        return masks.share_digest(self.context0, kind=kind, dealer=self.own, holder=holder, share=share)

    def _require(self, kind: bytes, dealer: int, share: bytes, published: bytes) -> None:
        masks.require_share(
            self.context0,
            kind=kind,
            dealer=dealer,
            holder=self.own,
            share=share,
            published=published,
            blame=self.roster.at(dealer).site,
        )
