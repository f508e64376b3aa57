"""One site until its vector has left: show keys, deal shares, mask; or complain of a dealer.

See `protocol` for the order of the steps and the rules, `site_session` for what comes after. Nothing here does I/O.
After each step the caller stores `freeze()` durably, sealed, and only then sends the reply: a crash between the two
then repeats the same bytes, and no mask ever covers two vectors.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from synthfed.secagg import hybrid, messages
from synthfed.secagg.admission import require_enough, require_keys
from synthfed.secagg.complaints import judge
from synthfed.secagg.contexts import context1, digest, lp, u64
from synthfed.secagg.dealing import Opened
from synthfed.secagg.hiding import hide
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.refusals import BadShare, OutOfOrder, SplitView
from synthfed.secagg.ring import Ring
from synthfed.secagg.site_attempt import SiteAttempt
from synthfed.secagg.state import Stage
from synthfed.secagg.tag import NARROW, TagKey, Words

NO_AUDIT_HEAD = bytes(32)


@dataclass(frozen=True, slots=True)
class ShareReply:
    """Answer to the HELLOs: one message for everybody, one sealed share per receiver (by roster index)."""

    public: bytes
    sealed: Mapping[int, bytes]


class HidingSite(SiteAttempt):
    """The steps from NEW to MASKED, of every mode that masks."""

    def hello(self, audit_head: bytes = NO_AUDIT_HEAD) -> bytes:
        """NEW -> HELLO. Make all secrets of the attempt and show public keys.

        A second call gives the first reply, whatever the audit head.
        """
        state = self._state
        if state.stage == Stage.ABORTED:
            raise OutOfOrder("this attempt was aborted; start the next one")
        if state.stage == Stage.NEW:
            state.seal_secret, state.mask_seed, state.self_seed, state.tag_part, state.commitment_nonce = (
                self._entropy(32) for _ in range(5)
            )
            dealing = self._dealing
            peers = [member.index for member in self._roster.members if member.index != self._own.index]
            body = messages.Hello(
                mask_key=dealing.mask_private.public_key().public_bytes_raw(),
                audit_head=audit_head,
                seal_keys={peer: dealing.seal_private(peer).public_key().public_bytes_raw() for peer in peers},
                kem_key=hybrid.kem_public_key(state.mask_seed, self._context0) if self._config.post_quantum else b"",
            )
            state.hello = self._write(Kind.HELLO, self._context0, body.pack())
            state.stage = Stage.HELLO
        return state.hello

    def share(self, hellos: Sequence[bytes]) -> ShareReply:
        """HELLO -> SHARED. Deal shares of b_i and rho_i to the sites U0 that said HELLO, and kappa_i to each.

        The relay sees hashes of shares and boxes it cannot open.

        Raises:
            SitesMissing: Fewer sites than this site's smallest set.
            SplitView: The own HELLO is missing or changed, or one site said two things.
            WrongContext, UnknownSender, BadSignature, MalformedMessage, BadKey: A HELLO is not what it must be.
            AlreadyAnswered: Shares were dealt for other HELLOs.
        """
        state = self._state
        request = digest(b"share", *sorted(hellos))
        if self._answered(Stage.SHARED, Stage.HELLO, request, state.share_request, state.share):
            return ShareReply(state.share, dict(state.sealed))
        received = self._read_all(Kind.HELLO, self._context0, hellos)
        if received.get(self._own.index) != state.hello:
            raise SplitView("the HELLOs do not hold this site's own HELLO unchanged")
        everybody = [member.index for member in self._roster.members]
        require_enough(self._roster, received, everybody, self._smallest, "HELLO")
        peers = {index: messages.Hello.unpack(body_of(raw), self._roster, index) for index, raw in received.items()}
        # Tried before anything is dealt, so that a key of low order ends the attempt here and not under a mask.
        for index, peer in peers.items():
            used_here = peer.seal_keys.keys() & {self._own.index}
            require_keys(self._config, peer, self._roster.at(index).site, used_here)
        public, sealed, own_shares = self._dealing.deal(peers)
        state.hellos, state.sealed, state.share_request = received, sealed, request
        state.own_shares = own_shares
        state.share = self._write(Kind.SHARE, self._context0, public.pack(self._roster))
        state.stage = Stage.SHARED
        return ShareReply(state.share, dict(sealed))

    def mask(self, vector: Ring, model_digest: bytes, shares: Sequence[bytes], sealed: Sequence[bytes]) -> bytes:
        """SHARED -> MASKED. Hide the vector under one mask per peer of U1 and one of its own; this spends the masks.

        To whoever lacks one of the masks, the reply is uniform words and a length. `vector` is uint32[d] of the ring,
        `model_digest` the hash of the global model that the vector was trained from, as this site computed it.

        Raises:
            BadShare: A dealer's box does not open or is not what it published; `party` names it. See `complain`.
            SplitView: The sites dealt to different sets, the own SHARE is missing or changed, or the relay changed a
                box.
            SitesMissing: Fewer sites than this site's smallest set.
            AlreadyAnswered: The masks were spent on another vector, model or set.
        """
        state = self._state
        commitment = self._commit(vector)
        request = digest(b"mask", commitment, model_digest, lp(*sorted(shares)), lp(*sorted(sealed)))
        if self._answered(Stage.MASKED, Stage.SHARED, request, state.mask_request, state.masked):
            return state.masked
        agreed = self._agree(model_digest, shares, sealed)
        self._agreed(agreed, commitment)
        masked, tag = hide(
            vector,
            agreed.tag_key.tag(vector, self._own.index),
            own=self._own.index,
            private=self._dealing.mask_private,
            mask_keys={i: self._shown(i).mask_key for i in agreed.opened.held},
            context1=agreed.context1,
            self_seed=state.self_seed if self._config.deals_keys else b"",
            halves=agreed.opened.halves,
        )
        state.mask_request = request
        return self._send_masked(masked, tag, released=() if self._config.deals_keys else agreed.opened.held)

    def forget_masked(self) -> None:
        """Drop the MASKED that the caller keeps and sends again itself: here it is the bulk of every `freeze`.

        From here on, asking for it once more is refused, whatever the request.
        """
        self._state.masked = b""

    def complain(self, shares: Sequence[bytes], sealed: Sequence[bytes]) -> bytes:
        """SHARED -> ABORTED, in place of MASKED. Prove to everybody that a dealer's box is not what it published.

        Shows the boxes between this site and that dealer, which the liar of the two knew before; see `complaints`.
        A second call gives the first reply.

        Raises:
            OutOfOrder: There is nothing to complain of, or it is too late.
            Everything else: As `mask`, where no dealer is at fault.
        """
        state = self._state
        if state.complaint:
            return state.complaint
        if state.stage != Stage.SHARED:
            raise OutOfOrder(f"a complaint at stage {state.stage.name}; wanted SHARED")
        try:
            self._agree(bytes(32), shares, sealed)
        except BadShare as error:
            dealer = self._roster.member(error.party).index
        else:
            raise OutOfOrder("every dealer sealed what it published; there is nothing to complain of")
        box = next(raw for raw in sealed if messages.addresses(raw)[0] == dealer)
        body = self._dealing.complaint(dealer, box).pack()
        state.complaint = self._write(Kind.COMPLAINT, self._context0, body)
        self.abort()
        return state.complaint

    def judge(self, complaint: bytes, shares: Sequence[bytes]) -> tuple[str, ...]:
        """Who lied, by another site's COMPLAINT; needs nobody's word and changes nothing. See `complaints`.

        Raises:
            MalformedMessage, BadSignature, UnknownSender, WrongContext: No complaint of a site of this attempt.
        """
        public = self._read_all(Kind.SHARE, self._context0, shares)
        return judge(
            complaint,
            roster=self._roster,
            config=self._config,
            context0=self._context0,
            hellos=self._state.hellos,
            shares=public,
        )

    @property
    def shown_heads(self) -> dict[int, bytes]:
        """Where each other site's audit log stood when it said HELLO, by roster index; empty before SHARED."""
        return {index: self._shown(index).audit_head for index in self._state.hellos if index != self._own.index}

    # --- the steps' parts ---------------------------------------------------------------------------------------------

    def _commit(self, vector: Ring) -> bytes:
        """The hash of the input and a nonce that stays here."""
        if vector.dtype.newbyteorder("<") != self._form.dtype or vector.ndim != 1 or vector.size == 0:
            wanted = "uint32" if self._form is NARROW else "uint64"
            raise ValueError(f"wanted a non-empty {wanted} vector, found {vector.dtype} of shape {vector.shape}")
        if self._state.stage > Stage.MASKED and not self._state.masked:
            raise OutOfOrder("this attempt is over; its vector and masks were erased")
        return digest(b"commitment", self._state.commitment_nonce, messages.vector_bytes(vector))

    def _agree(self, model_digest: bytes, shares: Sequence[bytes], sealed: Sequence[bytes]) -> "Agreed":
        """Check the SHAREs of U1 and what they sealed to this site; changes nothing."""
        opened = self._open(shares, sealed)
        hellos = {index: self._state.hellos[index] for index in opened.shares}
        ctx1 = context1(self._context0, hellos=hellos, shares=opened.shares, model_digest=model_digest)
        return Agreed(opened, ctx1, TagKey.agree(opened.tag_parts, ctx1))

    def _open(self, shares: Sequence[bytes], sealed: Sequence[bytes]) -> Opened:
        """Check and open them once: `complain` looks before any row is touched, `mask` needs the same again."""
        asked = tuple(shares), tuple(sealed)
        if self._opened is None or self._opened[0] != asked:
            state = self._state
            public = self._read_all(Kind.SHARE, self._context0, shares)
            if public.get(self._own.index) != state.share:
                raise SplitView("the SHAREs do not hold this site's own SHARE unchanged")
            require_enough(self._roster, public, state.hellos, self._smallest, "SHARE")
            self._opened = asked, self._dealing.open_all(public, sealed)
        return self._opened[1]

    def _agreed(self, agreed: "Agreed", commitment: bytes) -> None:
        state, opened = self._state, agreed.opened
        state.held, state.context1, state.tag_key = dict(opened.held), agreed.context1, agreed.tag_key.secret
        state.seed_digests, state.halves, state.commitment = dict(opened.seed_digests), dict(opened.halves), commitment
        self._opened = None

    def _send_masked(self, vector: Ring, tag: Words, *, released: Collection[int]) -> bytes:
        """MASKED; where no key share will be asked for, sending it is the release of the sum over `released`."""
        state = self._state
        body = messages.Masked(vector, tag, state.commitment).pack()
        state.masked = self._write(Kind.MASKED, state.context1, body)
        state.sent_length = u64(vector.size)
        state.head = messages.head_of(body)
        state.counted = dict.fromkeys(released, b"")
        state.stage = Stage.RELEASED if released else Stage.MASKED
        return state.masked

    def _shown(self, index: int) -> messages.Hello:
        return messages.Hello.unpack(body_of(self._state.hellos[index]), self._roster, index)


@dataclass(frozen=True, slots=True, repr=False)
class Agreed:
    """What the SHAREs of U1 and the model settle: what was opened, `ctx1` and the tag key."""

    opened: Opened
    context1: bytes
    tag_key: TagKey
