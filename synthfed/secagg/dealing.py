"""What a site seals for its peers and opens from them: key shares, parts of the tag key, halves of pair keys.

The relay carries the boxes and cannot open them. What comes out of a box is compared with what its dealer published,
before anything is masked, so a dealer of wrong shares is named and costs nobody a vector; `complaints` proves it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from synthfed.secagg import hybrid, masks, messages, shamir
from synthfed.secagg.boxes import is_published, open_dealt, require_as_published, split_wrapped, unpack_dealt
from synthfed.secagg.contexts import SumConfig
from synthfed.secagg.messages import body_of
from synthfed.secagg.refusals import BadKey, BadShare, MalformedMessage, SplitView
from synthfed.secagg.roster import Roster
from synthfed.secagg.shamir import Entropy
from synthfed.secagg.state import SiteState


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """What the SHAREs of U1 and the boxes beside them hold, checked.

    Attributes:
        shares: The SHAREs, as received.
        held: Per dealer its share of b and of rho, 66 bytes, the own ones included.
        tag_parts: kappa per site.
        halves: h of the pair with each peer, in hybrid attempts.
        seed_digests: H(b_v) per site.
    """

    shares: Mapping[int, bytes]
    held: Mapping[int, bytes]
    tag_parts: Mapping[int, bytes]
    halves: Mapping[int, bytes]
    seed_digests: Mapping[int, bytes]


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

    def seal_private(self, peer: int) -> X25519PrivateKey:
        """e_ij, for one peer alone."""
        return masks.seal_private_key(self.state.seal_secret, self.context0, peer)

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
            index: self.seal(index, peer.seal_keys[self.own], self_shares[index], mask_shares[index], peer.kem_key)
            for index, peer in peers.items()
            if index != self.own
        }
        public = messages.Share(
            masks.tag_part_digest(self.context0, self.own, state.tag_part),
            {
                index: masks.box_digest(self.context0, sender=self.own, receiver=index, box=sealed.get(index, b""))
                for index in peers
            },
            self._published(masks.self_seed_digest(self.context0, self.own, state.self_seed)),
            {index: self._published(self._digest(b"self", index, share)) for index, share in self_shares.items()},
            {index: self._published(self._digest(b"mask", index, share)) for index, share in mask_shares.items()},
        )
        return public, sealed, self_shares[self.own] + mask_shares[self.own]

    def open_all(self, public: Mapping[int, bytes], sealed: Sequence[bytes]) -> Opened:
        """Open and check one sealed share per peer of U1.

        Raises:
            BadShare: A dealer's box does not open or does not hold what it published; `party` names it.
            SplitView: The boxes or the sets dealt to are not those of U1 and U0, or the relay changed a box.
            MalformedMessage: A box of another size or for another site.
        """
        boxes: dict[int, bytes] = {}
        for raw in sealed:
            box = unpack_dealt(raw, self.config)
            if box.receiver != self.own or box.sender in boxes:
                raise MalformedMessage("a sealed share that is not for this site, or a second one of one sender")
            boxes[box.sender] = raw
        if boxes.keys() != public.keys() - {self.own}:
            raise SplitView("the sealed shares do not come from exactly the sites whose SHAREs were shown")
        held, tag_parts = {self.own: self.state.own_shares}, {self.own: self.state.tag_part}
        halves: dict[int, bytes] = {}
        read = {dealer: self.read_share(raw) for dealer, raw in public.items()}
        for dealer, share in read.items():
            name = self.roster.at(dealer).site
            if dealer not in self.state.hellos or share.box_digests.keys() != self.state.hellos.keys():
                raise SplitView(f"site {name!r} dealt shares to another set of sites than this site was shown")
            if dealer == self.own:
                continue
            dealt = self._open(dealer, name, boxes[dealer], share)
            if self.config.post_quantum:
                halves[dealer] = self._half(dealer, unpack_dealt(boxes[dealer], self.config).box)
            held[dealer], tag_parts[dealer] = dealt.self_share + dealt.mask_share, dealt.tag_part
        seed_digests = {dealer: share.self_seed_digest for dealer, share in read.items()}
        return Opened(dict(public), held, tag_parts, halves, seed_digests)

    def complaint(self, dealer: int, box: bytes) -> messages.Complaint:
        """What proves to others what `dealer` put into `box`: the key of this pair's boxes, and of no other's."""
        private = self.seal_private(dealer).private_bytes_raw()
        return messages.Complaint(dealer, private, self.pair_key(dealer), box)

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
        private = self.seal_private(receiver)
        key = masks.seal_key(private, receiver_key, ctx0, sender=own, receiver=receiver, pair_key=pair_key)
        dealt = messages.DealtShares(self_share, mask_share, self.state.tag_part).pack()
        box = masks.seal_box(key, dealt, ctx0, sender=own, receiver=receiver, entropy=self.entropy, beside=wrapped)
        return messages.SealedBox(own, receiver, wrapped + box).pack()

    def _open(self, dealer: int, name: str, raw: bytes, share: messages.Share) -> messages.DealtShares:
        if not is_published(raw, share, self.context0, dealer=dealer, holder=self.own):
            raise SplitView(f"the relay carries another box of site {name!r} than that site published")
        dealer_key = messages.Hello.unpack(body_of(self.state.hellos[dealer]), self.roster, dealer).seal_keys[self.own]
        key = masks.seal_key(
            self.seal_private(dealer),
            dealer_key,
            self.context0,
            sender=dealer,
            receiver=self.own,
            pair_key=self.pair_key(dealer),
        )
        try:
            plain = open_dealt(key, raw, self.config, self.context0, dealer=dealer, holder=self.own)
        except MalformedMessage as error:
            raise BadShare(f"site {name!r} published a box that does not open", party=name) from error
        return require_as_published(plain, share, self.config, self.context0, dealer=dealer, holder=self.own, name=name)

    def pair_key(self, peer: int) -> bytes:
        """What psk_ij gives the boxes of this attempt, or nothing if sums are not `post_quantum`.

        Raises:
            BadKey: None was agreed with that peer.
        """
        if not self.config.post_quantum:
            return b""
        if peer not in self.pair_keys:
            raise BadKey(f"no pair key was agreed with site {self.roster.at(peer).site!r} in this run")
        return hybrid.box_part(self.pair_keys[peer], self.context0)

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
