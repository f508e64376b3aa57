"""The relay's side of one attempt: carry messages, add masked vectors, take off masks, announce the sum.

The relay is trusted with delivery only. It holds no pair key and no tag key; what it could do by straying from this
file is what the sites check for themselves. Its own checks serve to name the party at fault early.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthfed.secagg import hybrid, masks, messages, opening
from synthfed.secagg.admission import require_enough, require_keys
from synthfed.secagg.boxes import is_published, split_wrapped, unpack_dealt
from synthfed.secagg.complaints import judge
from synthfed.secagg.contexts import context1
from synthfed.secagg.evidence import Evidence
from synthfed.secagg.messages import Kind
from synthfed.secagg.refusals import AlreadyAnswered, MalformedMessage, SplitView
from synthfed.secagg.relay_attempt import RelayAttempt
from synthfed.secagg.ring import Ring
from synthfed.secagg.tag import add_words


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one site needs to mask: the public SHAREs of U1 and the sealed shares addressed to it."""

    shares: tuple[bytes, ...]
    sealed: tuple[bytes, ...]


class RelaySession(RelayAttempt):
    """State machine of the relay for one `ctx0`: sets U0, U1 and U2 are fixed in turn and never change.

    Adding the same message twice is harmless; a second, different one is refused. Messages of sites outside the current
    set are refused too. Every `add_*` takes `came_from`, the roster index of the site whose connection brought the
    message, and names the culprit of what it refuses; see `RelayAttempt` for the contract and for the arguments.
    """

    # --- U0: who is there ---------------------------------------------------------------------------------------------

    def add_hello(self, message: bytes, *, came_from: int | None = None) -> None:
        """Take one site's HELLO.

        Raises:
            BadKey: A key in it is of low order or none.
            AlreadyAnswered: The site said another HELLO before, which stays.
        """
        self._require(not self._u0, "HELLO after the HELLOs were sent out")
        with self._taking(message, Kind.HELLO, self._context0, came_from) as envelope:
            hello = messages.Hello.unpack(envelope.body, self._roster, envelope.sender)
            require_keys(self._config, hello, self._roster.at(envelope.sender).site, hello.seal_keys.keys())
            self._keep(envelope, message)

    def hellos(self) -> tuple[bytes, ...]:
        """Fix U0 and give the HELLOs for every site of U0.

        Raises:
            SitesMissing: Fewer sites than the smallest set; names the missing ones.
        """
        self._u0 = self._u0 or self._enough(Kind.HELLO)
        return tuple(self._received[Kind.HELLO][index] for index in self._u0)

    # --- U1: whose vectors will be added ------------------------------------------------------------------------------

    def add_share(self, public: bytes, sealed: Mapping[int, bytes], *, came_from: int | None = None) -> None:
        """Take one site's SHARE and its sealed shares by receiver.

        Raises:
            SplitView: It dealt to another set than U0.
            MalformedMessage: It did not seal exactly one share for each other site, of the hash it published.
            AlreadyAnswered: It dealt otherwise before, which stays.
        """
        self._require(bool(self._u0) and not self._u1, "SHARE before the HELLOs or after the SHAREs were sent out")
        with self._taking(public, Kind.SHARE, self._context0, came_from, among=self._u0) as envelope:
            dealer, name = envelope.sender, self._name(envelope.sender)
            published = self._unpack_share(envelope.body)
            if published.box_digests.keys() != set(self._u0):
                raise SplitView(f"site {name} dealt shares to another set than was announced")
            opened = {receiver: unpack_dealt(raw, self._config) for receiver, raw in sealed.items()}
            if opened.keys() != set(self._u0) - {dealer} or any(
                (box.sender, box.receiver) != (dealer, receiver) for receiver, box in opened.items()
            ):
                raise MalformedMessage(f"site {name} did not seal one share for each other site")
            every = {**sealed, dealer: b""}
            if not all(
                is_published(raw, published, self._context0, dealer=dealer, holder=holder)
                for holder, raw in every.items()
            ):
                raise MalformedMessage(f"site {name} sealed another share than it published")
            if self._keep(envelope, public):
                self._sealed[dealer] = dict(sealed)

    def add_complaint(self, message: bytes, *, came_from: int | None = None) -> tuple[str, ...]:
        """Judge one site's COMPLAINT: the names of those who lied; see `complaints`.

        The complainer does not mask: it counts as lost. The next attempt is begun without the site that lied.
        """
        self._require(bool(self._u1), "a COMPLAINT before the SHAREs were sent out")
        with self._taking(message, Kind.COMPLAINT, self._context0, came_from, among=self._u1) as envelope:
            liars = judge(
                message,
                roster=self._roster,
                config=self._config,
                context0=self._context0,
                hellos=self._received[Kind.HELLO],
                shares={index: self._received[Kind.SHARE][index] for index in self._u1},
            )
            if envelope.sender in self._signed_heads:
                raise SplitView(f"site {self._name(envelope.sender)} masked and complains")
            self._keep(envelope, message)
        return liars

    def complaints(self) -> tuple[bytes, ...]:
        """The COMPLAINTs so far, for every site: each judges for itself."""
        return tuple(self._received[Kind.COMPLAINT].values())

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

    def add_masked(self, message: bytes, *, came_from: int | None = None) -> None:
        """Add one site's masked vector to the running sum; it is kept only if sites will recompute the sum.

        Raises:
            MalformedMessage: Another length, or a tag that is not reduced.
            AlreadyAnswered: It sent another vector before, which stays in the sum.
            SplitView: It complained of a dealer, so it cannot have masked.
        """
        self._require(bool(self._u1) and not self._u2, "MASKED before the SHAREs or after the sum was closed")
        with self._taking(message, Kind.MASKED, self._context1, came_from, among=self._u1) as envelope:
            masked = messages.Masked.unpack(envelope.body, length=self._total.size, form=self._form)
            if envelope.sender in self._received[Kind.COMPLAINT]:
                raise SplitView(f"site {self._name(envelope.sender)} complains and masked")
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
            self._heads = self._write(Kind.HEADS, messages.Heads(self._signed_heads).pack(self._roster))
        return self._heads

    @property
    def reduced(self) -> bool:
        """Whether a site of U1 vanished before its vector came: the sum misses it, which must be said."""
        return bool(self._u2) and self._u2 != self._u1

    @property
    def needs_survivors(self) -> bool:
        """Whether the sites must sign U2 before they release: after a drop, or always if configured so."""
        return self.reduced or (bool(self._u2) and not self._config.fast_release)

    def add_survivors(self, message: bytes, *, came_from: int | None = None) -> None:
        """Take one site's word on U2.

        Raises:
            SplitView: It signed another set.
        """
        self._require(
            self.needs_survivors and not self._result, "SURVIVORS without a drop, before HEADS or after the result"
        )
        with self._taking(message, Kind.SURVIVORS, self._context1, came_from, among=self._u2) as envelope:
            heads = {index: head for index, (head, _) in self._signed_heads.items()}
            if messages.Survivors.unpack(envelope.body) != messages.Survivors.over(heads, self._roster):
                name = self._name(envelope.sender)
                raise SplitView(f"site {name} signed another set of survivors than was announced")
            self._keep(envelope, message)

    def survivors(self) -> tuple[bytes, ...]:
        """The sites' words on U2, for every site of U2: with t of them a site releases its shares.

        Raises:
            SitesMissing: Fewer than the answers this relay waits for.
        """
        return tuple(self._received[Kind.SURVIVORS][index] for index in self._enough(Kind.SURVIVORS))

    # --- the sum ------------------------------------------------------------------------------------------------------

    def add_unmask(self, message: bytes, *, came_from: int | None = None) -> None:
        """Take one site's key shares.

        Raises:
            BadShare: A share is not the one its dealer published for this holder; `party` names the holder.
            SplitView: The shares open the sum over another set.
        """
        self._require(bool(self._u2) and not self._result, "UNMASK before the HEADS or after the result")
        with self._taking(message, Kind.UNMASK, self._context1, came_from, among=self._u2) as envelope:
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

    def add_close(self, message: bytes, *, came_from: int | None = None) -> messages.Close:
        """Take one site's verdict on the result."""
        self._require(bool(self._result), "CLOSE before the result")
        with self._taking(message, Kind.CLOSE, self._context1, came_from, among=self._u2) as envelope:
            close = messages.Close.unpack(envelope.body)
            self._keep(envelope, message)
        return close

    # --- parts --------------------------------------------------------------------------------------------------------

    def _published(self, dealer: int) -> messages.Share:
        return self._unpack_share(messages.body_of(self._received[Kind.SHARE][dealer]))

    def _unpack_share(self, body: bytes) -> messages.Share:
        return messages.Share.unpack(body, self._roster, key_shares=self._config.deals_keys)

    def _shown(self, index: int) -> messages.Hello:
        return messages.Hello.unpack(messages.body_of(self._received[Kind.HELLO][index]), self._roster, index)
