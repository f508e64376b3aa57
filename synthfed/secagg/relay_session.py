"""The relay's side of one attempt: carry messages, add masked vectors, take off masks, announce the sum.

The relay is trusted with delivery only. It holds no pair key and no tag key; what it could do by straying from this
file is what the sites check for themselves. Its own checks serve to name the party at fault early.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.secagg import hybrid, masks, messages, opening
from synthfed.secagg.admission import (
    checked_config,
    checked_smallest,
    require_enough,
    require_kem_key,
    split_wrapped,
    unpack_dealt,
)
from synthfed.secagg.contexts import Context0, SumConfig, context1, lp
from synthfed.secagg.evidence import Evidence
from synthfed.secagg.messages import Envelope, Kind
from synthfed.secagg.refusals import (
    AlreadyAnswered,
    MalformedMessage,
    OutOfOrder,
    RosterRefused,
    SealBroken,
    SplitView,
    UnknownSender,
    WrongContext,
)
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import RELAY, Roster
from synthfed.secagg.state import lp_map, split_lp, split_lp_map
from synthfed.secagg.tag import NARROW, WIDE, Words, add_words

_FORMAT = b"synthfed/secagg/v1/relay-state"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one site needs to mask: the public SHAREs of U1 and the sealed shares addressed to it."""

    shares: tuple[bytes, ...]
    sealed: tuple[bytes, ...]


class RelaySession:
    """State machine of the relay for one `ctx0`: sets U0, U1 and U2 are fixed in turn and never change.

    Adding the same message twice is harmless; a second, different one is refused. Messages of sites outside the current
    set are refused too.

    Args:
        length: d, the number of coordinates of every vector.
        config, smallest: As in `SiteSession`.
    """

    _deals_parts = False

    def __init__(
        self,
        roster: Roster,
        context: Context0,
        relay_key: Ed25519PrivateKey,
        *,
        length: int,
        config: SumConfig | None = None,
        smallest: int | None = None,
    ) -> None:
        if relay_key.public_key().public_bytes_raw() != roster.relay_key:
            raise RosterRefused("the relay's key is not its key in the roster; ask the steward")
        if context.roster_digest != roster.digest():
            raise WrongContext("the context was made for another roster")
        self._roster = roster
        self._identity = relay_key
        self._config = checked_config(roster, context, config)
        if self._config.deals_parts != self._deals_parts:
            raise ValueError(f"mode {self._config.mode!r} is not run by {type(self).__name__}; see `protocol`")
        self._smallest = checked_smallest(roster, self._config, smallest)
        # How many SURVIVORS and UNMASKs to wait for: t open the sum, but a relay that waits for all waits for all.
        self._answers = len(roster.members) if self._smallest == len(roster.members) else roster.threshold
        self._context0 = context.digest()
        self._context1 = b""
        self._received: dict[Kind, dict[int, bytes]] = {kind: {} for kind in Kind}
        self._sealed: dict[int, dict[int, bytes]] = {}
        self._u0: tuple[int, ...] = ()
        self._u1: tuple[int, ...] = ()
        self._u2: tuple[int, ...] = ()
        self._signed_heads: dict[int, tuple[bytes, bytes]] = {}
        self._form = NARROW if self._config.ring == "2^32" else WIDE
        self._total: Ring = np.zeros(length, dtype=self._form.dtype)
        self._tag: Words = add_words([], self._form)
        self._result = b""
        self._vectors: dict[int, bytes] = {}  # MASKED as sent, if the configuration says `recompute`
        self._opened: dict[int, bytes] = {}  # b_v of U2, rho_v of U1 without U2

    @property
    def context1(self) -> bytes:
        """`ctx1`; empty before `deliveries`."""
        return self._context1

    def freeze(self) -> bytes:
        """Everything needed to go on after a restart. It holds what the relay saw, and keys that it opened: seal it."""
        received = (lp_map(self._received[kind]) for kind in sorted(Kind))
        return lp(
            _FORMAT,
            self._context0,
            self._context1,
            *received,
            lp_map({dealer: lp_map(boxes) for dealer, boxes in self._sealed.items()}),
            *(lp_map(dict.fromkeys(indices, b"")) for indices in (self._u0, self._u1, self._u2)),
            lp_map({index: lp(*pair) for index, pair in self._signed_heads.items()}),
            messages.vector_bytes(self._total) + messages.words_bytes(self._tag, self._form),
            self._result,
            lp_map(self._vectors),
            lp_map(self._opened),
            *self._pack_more(),
        )

    @classmethod
    def thaw(
        cls,
        frozen: bytes,
        roster: Roster,
        context: Context0,
        relay_key: Ed25519PrivateKey,
        *,
        length: int,
        config: SumConfig | None = None,
        smallest: int | None = None,
    ) -> Self:
        """Undo `freeze`. Going on from an older state is safe for the sites, but may end the attempt.

        Raises:
            SealBroken: The bytes are cut, or belong to another attempt or length.
        """
        relay = cls(roster, context, relay_key, length=length, config=config, smallest=smallest)
        try:
            relay._restore(split_lp(frozen))
        except (ValueError, MalformedMessage) as error:
            raise SealBroken("the relay's stored state cannot be read") from error
        return relay

    def _restore(self, packed: list[bytes]) -> None:
        if packed[:2] != [_FORMAT, self._context0]:
            raise SealBroken("the relay's stored state is not one of this attempt")
        self._context1, packed = packed[2], packed[3:]
        kinds = sorted(Kind)
        self._received = {kind: split_lp_map(raw) for kind, raw in zip(kinds, packed[: len(kinds)], strict=True)}
        sealed, u0, u1, u2, heads, total, self._result, vectors, opened, *more = packed[len(kinds) :]
        self._sealed = {dealer: split_lp_map(boxes) for dealer, boxes in split_lp_map(sealed).items()}
        self._u0, self._u1, self._u2 = (tuple(sorted(split_lp_map(indices))) for indices in (u0, u1, u2))
        for index, pair in split_lp_map(heads).items():
            head, signature = split_lp(pair)
            self._signed_heads[index] = (head, signature)
        restored, self._tag = messages.split_vector_and_tag(total, self._form)
        if restored.size != self._total.size:
            raise SealBroken("the relay's stored state is of another length")
        self._total = restored.copy()
        self._vectors, self._opened = split_lp_map(vectors), split_lp_map(opened)
        self._unpack_more(more)

    def _pack_more(self) -> list[bytes]:
        return []

    def _unpack_more(self, packed: list[bytes]) -> None:
        if packed:
            raise ValueError("more fields than this relay has")

    # --- U0: who is there ---------------------------------------------------------------------------------------------

    def add_hello(self, message: bytes) -> None:
        """Take one site's HELLO."""
        self._require(not self._u0, "HELLO after the HELLOs were sent out")
        envelope = self._read(message, Kind.HELLO, self._context0)
        require_kem_key(self._config, messages.Hello.unpack(envelope.body))
        self._keep(envelope, message)

    def hellos(self) -> tuple[bytes, ...]:
        """Fix U0 and give the HELLOs for every site of U0.

        Raises:
            SitesMissing: Fewer sites than the smallest set; names the missing ones.
        """
        self._u0 = self._u0 or self._enough(Kind.HELLO)
        return tuple(self._received[Kind.HELLO][index] for index in self._u0)

    # --- U1: whose vectors will be added ------------------------------------------------------------------------------

    def add_share(self, public: bytes, sealed: Mapping[int, bytes]) -> None:
        """Take one site's SHARE and its sealed shares by receiver."""
        self._require(bool(self._u0) and not self._u1, "SHARE before the HELLOs or after the SHAREs were sent out")
        envelope = self._read(public, Kind.SHARE, self._context0, among=self._u0)
        dealt = self._unpack_share(envelope.body)
        if dealt.self_digests.keys() != set(self._u0):
            raise SplitView(f"site {self._name(envelope.sender)} dealt shares to another set than was announced")
        opened = {receiver: unpack_dealt(raw, self._config) for receiver, raw in sealed.items()}
        if opened.keys() != set(self._u0) - {envelope.sender} or any(
            (box.sender, box.receiver) != (envelope.sender, receiver) for receiver, box in opened.items()
        ):
            raise MalformedMessage(f"site {self._name(envelope.sender)} did not seal one share for each other site")
        if self._keep(envelope, public):
            self._sealed[envelope.sender] = dict(sealed)

    def deliveries(self, model_digest: bytes) -> dict[int, Delivery]:
        """Fix U1 and `ctx1`; give every site of U1 what it needs to mask a vector trained from that model.

        Raises:
            SitesMissing: Fewer sites than the smallest set; names the missing ones.
        """
        u1 = self._u1 or self._enough(Kind.SHARE)
        shares = {index: self._received[Kind.SHARE][index] for index in u1}
        hellos = {index: self._received[Kind.HELLO][index] for index in u1}
        context = context1(self._context0, hellos=hellos, shares=shares, model_digest=model_digest)
        if self._context1 not in (b"", context):
            raise AlreadyAnswered("the SHAREs were already sent out for another model; start a new attempt")
        self._u1, self._context1 = u1, context
        return {
            receiver: Delivery(
                tuple(shares.values()), tuple(self._sealed[dealer][receiver] for dealer in u1 if dealer != receiver)
            )
            for receiver in u1
        }

    # --- U2: whose vectors were added ---------------------------------------------------------------------------------

    def add_masked(self, message: bytes) -> None:
        """Add one site's masked vector to the running sum; it is kept only if sites will recompute the sum."""
        self._require(bool(self._u1) and not self._u2, "MASKED before the SHAREs or after the sum was closed")
        envelope = self._read(message, Kind.MASKED, self._context1, among=self._u1)
        masked = messages.Masked.unpack(envelope.body, length=self._total.size, form=self._form)
        head = messages.head_of(envelope.body)
        if self._keep(envelope, head):
            np.add(self._total, masked.vector, out=self._total)
            self._tag = add_words([self._tag, masked.tag], self._form)
            self._signed_heads[envelope.sender] = (head, envelope.signature)
            self._keep_evidence(envelope.sender, message)

    def heads(self) -> bytes:
        """Fix U2 and announce it: the signed heads that let every site release its shares, or sign the set.

        Raises:
            SitesMissing: Fewer sites than the smallest set sent a vector. The vectors of the others are spent; the
                round is lost.
        """
        self._require(bool(self._u1), "HEADS before the SHAREs were sent out")
        if not self._u2:
            require_enough(self._roster, self._signed_heads, self._u1, self._smallest, "MASKED")
            self._u2 = tuple(sorted(self._signed_heads))
        return self._write(Kind.HEADS, messages.Heads(self._signed_heads).pack(self._roster))

    @property
    def reduced(self) -> bool:
        """Whether a site of U1 vanished before its vector came: the sum misses it, which must be said."""
        return bool(self._u2) and self._u2 != self._u1

    @property
    def needs_survivors(self) -> bool:
        """Whether the sites must sign U2 before they release: after a drop, or always if configured so."""
        return self.reduced or (bool(self._u2) and not self._config.fast_release)

    def add_survivors(self, message: bytes) -> None:
        """Take one site's word on U2.

        Raises:
            SplitView: It signed another set.
        """
        self._require(
            self.needs_survivors and not self._result, "SURVIVORS without a drop, before HEADS or after the result"
        )
        envelope = self._read(message, Kind.SURVIVORS, self._context1, among=self._u2)
        heads = {index: head for index, (head, _) in self._signed_heads.items()}
        if messages.Survivors.unpack(envelope.body) != messages.Survivors.over(heads, self._roster):
            raise SplitView(f"site {self._name(envelope.sender)} signed another set of survivors than was announced")
        self._keep(envelope, message)

    def survivors(self) -> tuple[bytes, ...]:
        """The sites' words on U2, for every site of U2: with t of them a site releases its shares.

        Raises:
            SitesMissing: Fewer than the answers this relay waits for.
        """
        return tuple(self._received[Kind.SURVIVORS][index] for index in self._enough(Kind.SURVIVORS))

    # --- the sum ------------------------------------------------------------------------------------------------------

    def add_unmask(self, message: bytes) -> None:
        """Take one site's key shares.

        Raises:
            BadShare: A share is not the one its dealer published for this holder; `party` names the holder.
            SplitView: The shares open the sum over another set.
        """
        self._require(bool(self._u2) and not self._result, "UNMASK before the HEADS or after the result")
        envelope = self._read(message, Kind.UNMASK, self._context1, among=self._u2)
        holder = self._roster.at(envelope.sender)
        released = messages.Unmask.unpack(envelope.body, self._u1)
        if released.self_shares.keys() != set(self._u2):
            raise SplitView(f"site {holder.site!r} released shares for another set than was announced")
        listed = [(b"self", dealer, share) for dealer, share in released.self_shares.items()]
        listed += [(b"mask", dealer, share) for dealer, share in released.mask_shares.items()]
        for kind, dealer, share in listed:
            public = self._published(dealer)
            digests = public.self_digests if kind == b"self" else public.mask_digests
            masks.require_share(
                self._context0,
                kind=kind,
                dealer=dealer,
                holder=holder.index,
                share=share,
                published=digests[holder.index],
                blame=holder.site,
            )
        self._keep(envelope, message)

    def result(self) -> tuple[bytes, Ring]:
        """Take the masks off and announce the sum: the RESULT message and uint32[d] (or uint64[d]).

        In mode `pairwise` there is nothing to take off: all of U1 must have sent their vectors.

        Raises:
            SitesMissing: Fewer sites released their shares than this relay waits for.
            BadShare: A dealer's shares do not open the key it published; `party` names the dealer.
        """
        if not self._result:
            if self._config.deals_keys:
                self._lift_masks()
            else:  # the pair masks cancel in the sum over all of U1, and in no other
                self._require(bool(self._u1), "the result before the SHAREs were sent out")
                require_enough(self._roster, self._signed_heads, self._u1, len(self._u1), "MASKED")
                self._u2 = self._u1
            self._announce()
        return self._result, self._total.copy()

    def _keep_evidence(self, sender: int, masked: bytes) -> None:
        if self._config.verify == "recompute":
            self._vectors[sender] = bytes(masked)

    def _announce(self) -> None:
        body = messages.Result(self._u2, self._total, self._tag).pack(self._roster)
        self._result = self._write(Kind.RESULT, body)

    def _lift_masks(self) -> None:
        holders = self._enough(Kind.UNMASK)
        released = {
            holder: messages.Unmask.unpack(messages.body_of(self._received[Kind.UNMASK][holder]), self._u1)
            for holder in holders
        }
        # Opened first, so that a bad dealer leaves the running sum untouched.
        for dealer in self._u1:
            name = self._roster.at(dealer).site
            if dealer in self._u2:
                self._opened[dealer] = opening.open_self_seed(
                    {holder: released[holder].self_shares[dealer] for holder in holders},
                    threshold=self._roster.threshold,
                    context0=self._context0,
                    dealer=dealer,
                    name=name,
                    published=self._published(dealer).self_seed_digest,
                )
            else:
                self._opened[dealer] = opening.open_mask_seed(
                    {holder: released[holder].mask_shares[dealer] for holder in holders},
                    threshold=self._roster.threshold,
                    context0=self._context0,
                    name=name,
                    shown=self._shown(dealer).mask_key,
                )
        self._tag = opening.lift_masks(
            self._total,
            self._tag,
            context1=self._context1,
            seeds={dealer: self._opened[dealer] for dealer in self._u2},
            vanished={
                dealer: masks.mask_private_key(seed, self._context0)
                for dealer, seed in self._opened.items()
                if dealer not in self._u2
            },
            mask_keys={dealer: self._shown(dealer).mask_key for dealer in self._u2},
            halves=self._recovered_halves() if self._config.post_quantum else None,
        )

    def _recovered_halves(self) -> dict[tuple[int, int], bytes]:
        """h of every pair of a vanished and a counted site."""
        found = {}
        for gone in set(self._u1) - set(self._u2):
            for counted in self._u2:
                box = unpack_dealt(self._sealed[counted][gone], self._config)
                wrapped, _ = split_wrapped(box.box, counted, gone, self._config)
                found[gone, counted] = hybrid.recovered_half(
                    self._opened[gone], self._context0, gone=gone, counted=counted, wrapped=wrapped
                )
        return found

    def evidence(self) -> Evidence:
        """What lets a site add up the sum itself, where the configuration says `recompute`.

        It shows a site what the relay has seen: masked vectors, and the keys that t sites opened.
        """
        self._require(
            bool(self._result) and self._config.verify == "recompute", "evidence before the result, or unkept"
        )
        return Evidence(tuple(self._vectors[index] for index in sorted(self._vectors)), dict(self._opened))

    def add_close(self, message: bytes) -> messages.Close:
        """Take one site's verdict on the result."""
        self._require(bool(self._result), "CLOSE before the result")
        envelope = self._read(message, Kind.CLOSE, self._context1, among=self._u2)
        self._keep(envelope, message)
        return messages.Close.unpack(envelope.body)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _published(self, dealer: int) -> messages.Share:
        return self._unpack_share(messages.body_of(self._received[Kind.SHARE][dealer]))

    def _unpack_share(self, body: bytes) -> messages.Share:
        return messages.Share.unpack(body, self._roster, key_shares=self._config.deals_keys)

    def _shown(self, index: int) -> messages.Hello:
        return messages.Hello.unpack(messages.body_of(self._received[Kind.HELLO][index]))

    def _read(self, raw: bytes, kind: Kind, context: bytes, *, among: tuple[int, ...] = ()) -> Envelope:
        envelope = messages.read(raw, kind=kind, context=context, roster=self._roster)
        if among and envelope.sender not in among:
            raise UnknownSender(f"site {self._name(envelope.sender)} is not in the set of this attempt")
        return envelope

    def _keep(self, envelope: Envelope, what: bytes) -> bool:
        """Remember a message; False if the very same one is there already."""
        known = self._received[envelope.kind].get(envelope.sender)
        if known is not None and known != what:
            raise AlreadyAnswered(f"site {self._name(envelope.sender)} sent two different {envelope.kind.name}s")
        self._received[envelope.kind][envelope.sender] = what
        return known is None

    def _enough(self, kind: Kind) -> tuple[int, ...]:
        asked = {Kind.HELLO: self._everybody(), Kind.SHARE: self._u0}.get(kind, self._u2)
        self._require(bool(asked), f"the end of {kind.name} before its beginning")
        needed = self._smallest if kind in (Kind.HELLO, Kind.SHARE) else self._answers
        require_enough(self._roster, self._received[kind], asked, needed, kind.name)
        return tuple(sorted(self._received[kind]))

    def _everybody(self) -> tuple[int, ...]:
        return tuple(member.index for member in self._roster.members)

    def _require(self, condition: bool, what: str) -> None:
        if not condition:
            raise OutOfOrder(f"{what}; the attempt cannot go back")

    def _write(self, kind: Kind, body: bytes) -> bytes:
        return messages.write(kind, context=self._context1, sender=RELAY, body=body, identity=self._identity)

    def _name(self, index: int) -> str:
        return repr(self._roster.at(index).site)
