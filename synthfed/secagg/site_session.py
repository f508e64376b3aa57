"""One site's side of one attempt at one sum; see `protocol` for the order of the steps and the rules.

Nothing here does I/O. After each step the caller stores `freeze()` durably, sealed, and only then sends the reply: a
crash between the two then repeats the same bytes, and no mask ever covers two vectors.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.secagg import hybrid, masks, messages
from synthfed.secagg.admission import (
    checked_config,
    checked_smallest,
    require_enough,
    require_kem_key,
)
from synthfed.secagg.contexts import Context0, SumConfig, context1, digest, lp
from synthfed.secagg.dealing import Dealing
from synthfed.secagg.evidence import Evidence
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.refusals import (
    AlreadyAnswered,
    MalformedMessage,
    OutOfOrder,
    ReleaseRefused,
    RosterRefused,
    SplitView,
    TagMismatch,
    WrongContext,
)
from synthfed.secagg.release import read_heads, require_survivors, unmask_body
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Roster
from synthfed.secagg.shamir import Entropy
from synthfed.secagg.state import SiteState, Stage
from synthfed.secagg.tag import NARROW, WIDE, TagKey, Words, add_words, form_of, reduced_words, subtract_words

NO_AUDIT_HEAD = bytes(32)


@dataclass(frozen=True, slots=True)
class ShareReply:
    """Answer to the HELLOs: one message for everybody, one sealed share per receiver (by roster index)."""

    public: bytes
    sealed: Mapping[int, bytes]


class SiteSession:
    """State machine of one site for one `ctx0`.

    A refused request changes nothing and sends nothing; only a false sum ends the attempt. A step that was taken gives
    the same bytes for the same request and `AlreadyAnswered` for another one.

    Args:
        roster: As pinned by this site.
        site: Own name in the roster.
        identity: Own Ed25519 key.
        context: Computed from the site's own files.
        config: What `context` was made from. Without it, the mode is `compressed` and the ring 2^32.
        smallest: Fewest sites whose sum this site helps to open: m..N. Default N, so that any missing site ends the
            attempt.
        pair_keys: psk_ij by roster index of each peer, needed if the configuration says `post_quantum`; see `hybrid`.
        entropy: Gives that many random bytes; anything but `os.urandom` is for tests.

    Raises:
        RosterRefused: The roster does not name the site or names another key for it.
        WrongContext: The context was made for another roster or configuration.
    """

    _deals_parts = False

    def __init__(
        self,
        roster: Roster,
        site: str,
        identity: Ed25519PrivateKey,
        context: Context0,
        *,
        config: SumConfig | None = None,
        smallest: int | None = None,
        pair_keys: Mapping[int, bytes] | None = None,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._roster = roster
        self._own = roster.member(site)
        self._identity = identity
        self._entropy = entropy
        if identity.public_key().public_bytes_raw() != self._own.public_key:
            raise RosterRefused(f"the identity key of site {site!r} is not its key in the roster; ask the steward")
        if context.roster_digest != roster.digest():
            raise WrongContext("the context was made for another roster than the one this site pinned")
        self._config = checked_config(roster, context, config)
        self._smallest = checked_smallest(roster, self._config, smallest)
        if self._config.deals_parts != self._deals_parts:
            raise ValueError(f"mode {self._config.mode!r} is not run by {type(self).__name__}; see `protocol`")
        peers = {member.index for member in roster.members} - {self._own.index}
        if self._config.post_quantum != (pair_keys is not None) or not peers >= (pair_keys or {}).keys():
            raise ValueError("pair_keys are needed for post_quantum sums, by the index of each peer, and for no other")
        if any(len(pair_key) != masks.KEY_BYTES for pair_key in (pair_keys or {}).values()):
            raise ValueError(f"a pair key must have {masks.KEY_BYTES} bytes")
        self._pair_keys = pair_keys or {}
        self._form = NARROW if self._config.ring == "2^32" else WIDE
        self._context0 = context.digest()
        self._state = SiteState()

    @property
    def stage(self) -> Stage:
        """How far this attempt is."""
        return self._state.stage

    @property
    def context1(self) -> bytes:
        """`ctx1`, for the audit log; empty before MASKED."""
        return self._state.context1

    @property
    def members(self) -> tuple[int, ...]:
        """U1, the roster indices of the sites that share masks; empty before MASKED."""
        return tuple(sorted(self._state.held))

    @property
    def counted(self) -> tuple[int, ...]:
        """U2, the roster indices whose vectors are summed; empty before SIGNED or RELEASED."""
        return tuple(sorted(self._state.counted))

    @property
    def head(self) -> bytes:
        """Hash of this site's MASKED body; empty before MASKED."""
        return self._state.head

    @property
    def commitment(self) -> bytes:
        """Hash of the input and a nonce that stays at the site; empty before MASKED."""
        return self._state.commitment

    def freeze(self) -> bytes:
        """Everything needed to go on after a restart, secrets included: seal it before storing it."""
        return self._state.pack(self._context0, self._own.index)

    @classmethod
    def thaw(
        cls,
        frozen: bytes,
        roster: Roster,
        site: str,
        identity: Ed25519PrivateKey,
        context: Context0,
        *,
        config: SumConfig | None = None,
        smallest: int | None = None,
        pair_keys: Mapping[int, bytes] | None = None,
        entropy: Entropy = os.urandom,
    ) -> Self:
        """Undo `freeze`. Give it the newest stored state only: one from before MASKED could mask a second vector.

        Raises:
            SealBroken: The bytes are cut, or belong to another attempt or site.
        """
        session = cls(
            roster,
            site,
            identity,
            context,
            config=config,
            smallest=smallest,
            pair_keys=pair_keys,
            entropy=entropy,
        )
        session._state = SiteState.unpack(frozen, session._context0, session._own.index)
        return session

    def hello(self, audit_head: bytes = NO_AUDIT_HEAD) -> bytes:
        """NEW -> HELLO. Make all secrets of the attempt and show two public keys.

        A second call gives the first reply, whatever the audit head.
        """
        state = self._state
        if state.stage == Stage.ABORTED:
            raise OutOfOrder("this attempt was aborted; start the next one")
        if state.stage == Stage.NEW:
            state.seal_secret, state.mask_seed, state.self_seed, state.tag_part, state.commitment_nonce = (
                self._entropy(32) for _ in range(5)
            )
            body = messages.Hello(
                seal_key=self._dealing.seal_private.public_key().public_bytes_raw(),
                mask_key=self._dealing.mask_private.public_key().public_bytes_raw(),
                audit_head=audit_head,
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
        peers = {index: messages.Hello.unpack(body_of(raw)) for index, raw in received.items()}
        # Tried before anything is dealt, so that a key of low order ends the attempt here and not under a mask.
        for peer in peers.values():
            masks.exchange(self._dealing.mask_private, peer.mask_key)
            require_kem_key(self._config, peer)
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
            BadShare: A dealer's sealed share is not the one it published; `party` names it.
            SplitView: The sites dealt to different sets, or the own SHARE is missing or changed.
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
        masked, tag = self._hide(vector, agreed.tag_key.tag(vector, self._own.index), agreed.hellos, agreed.context1)
        state.mask_request = request
        return self._send_masked(masked, tag, released=() if self._config.deals_keys else agreed.held.keys())

    def unmask(self, heads: bytes) -> bytes:
        """MASKED -> RELEASED, the fast way. Give this site's shares of the self masks of U1, for U2 = U1, once.

        Every site of U1 has signed its masked vector under this site's own `ctx1`, so all of them saw the same keys,
        the same shares and the same model, and |U1| is at least m. With t such replies the relay opens the self masks,
        and with them the sum over U1 and no other: each vector is still under its pair masks.

        Raises:
            ReleaseRefused: Another set than U1, a head that is not what this site sent, or no fast release at all.
            BadSignature, WrongContext: A site or the relay did not sign this.
            AlreadyAnswered: Shares were released for another HEADS, or this site signed a set of survivors.
        """
        state = self._state
        request = digest(b"unmask", heads)
        if not self._config.fast_release:
            raise ReleaseRefused("the configuration wants SURVIVORS in every round; use sign_survivors() and release()")
        if state.stage == Stage.SIGNED:
            raise AlreadyAnswered("this site signed a set of survivors; it releases shares for that set or for none")
        if self._answered(Stage.RELEASED, Stage.MASKED, request, state.release_request, state.unmask):
            return state.unmask
        counted = self._read_heads(heads, smallest=len(state.held))
        return self._release(counted, request)

    def sign_survivors(self, heads: bytes) -> bytes:
        """MASKED -> SIGNED, the slow way, after a drop. Give this site's word on U2, the sites whose vectors count.

        From here on this site helps to open the sum over U2 or no sum; nothing is released yet.

        Raises:
            ReleaseRefused: U2 is not within U1, lacks this site or its vector, or is smaller than its policy wants.
            BadSignature, WrongContext: A site or the relay did not sign this.
            AlreadyAnswered: Another set was signed, or shares were released.
        """
        state = self._state
        request = digest(b"sign", heads)
        if self._answered(Stage.SIGNED, Stage.MASKED, request, state.sign_request, state.survivors):
            return state.survivors
        state.counted = self._read_heads(heads, smallest=self._smallest)
        word = messages.Survivors.over(state.counted, self._roster)
        state.survivors = self._write(Kind.SURVIVORS, state.context1, word.pack())
        state.sign_request = request
        state.stage = Stage.SIGNED
        return state.survivors

    def release(self, survivors: Sequence[bytes]) -> bytes:
        """SIGNED -> RELEASED. Give shares of b_v for v in U2 and of rho_v for the vanished, once.

        At least t sites of U2 have signed this very set, so no other set finds t releasing sites; see `release`. A
        vanished site's vector stays unreadable should it arrive late: its self mask is never opened.

        Raises:
            SitesMissing: Fewer than t signatures on this set.
            SplitView: A site signed another set.
            AlreadyAnswered: Shares were released for other SURVIVORS.
        """
        state = self._state
        request = digest(b"release", *sorted(survivors))
        if self._answered(Stage.RELEASED, Stage.SIGNED, request, state.release_request, state.unmask):
            return state.unmask
        require_survivors(survivors, roster=self._roster, context1=state.context1, counted=state.counted)
        return self._release(state.counted, request)

    def verify(self, result: bytes) -> Ring:
        """RELEASED -> VERIFIED. Check the announced sum, erase all secrets, and return it: uint32[d] (or uint64[d]).

        Raises:
            TagMismatch: It is not the sum of what the sites sent. The attempt is over; the model must not change.
            SplitView: It is the sum of another set than the one this site released its shares for.
            AlreadyAnswered: Another result was accepted before.
            OutOfOrder: The configuration says `recompute`, and this result was not recomputed.
        """
        if self._config.verify == "recompute" and self._state.stage < Stage.VERIFIED:
            raise OutOfOrder("the sites of this sum agreed to add it up themselves; use recompute()")
        return self._conclude(result, None)

    def recompute(self, result: bytes, evidence: Evidence) -> Ring:
        """RELEASED -> VERIFIED, as `verify`, and add up all signed vectors, so that no helper of the relay can lie.

        The tag proves nothing if a site helps the relay. The vectors that this site saw signed when it released its
        shares do: only their sum, less the masks whose published keys were opened, is accepted.

        Raises:
            TagMismatch: The sum is not what the vectors add up to.
            BadShare: A key in the evidence is not the published one; `party` is the relay.
            BadSignature, WrongContext, MalformedMessage, SplitView: A vector is not the one that was signed.
        """
        return self._conclude(result, evidence)

    def _conclude(self, result: bytes, evidence: Evidence | None) -> Ring:
        state = self._state
        result_digest = digest(b"result", result)
        if state.stage >= Stage.VERIFIED:
            if state.stage == Stage.ABORTED or result_digest != state.result_digest:
                raise AlreadyAnswered("this attempt ended with another result, or was aborted")
        elif state.stage != Stage.RELEASED:
            raise OutOfOrder(f"a RESULT at stage {state.stage.name}; wanted RELEASED")
        envelope = messages.read(result, kind=Kind.RESULT, context=state.context1, roster=self._roster)
        length = self._length(envelope.body)
        found = messages.Result.unpack(envelope.body, self._roster, length=length, form=self._form)
        if set(found.members) != state.counted.keys():
            raise SplitView("the RESULT is a sum over another set than the one that was released")
        if state.stage == Stage.RELEASED:
            if length != self._length_of_masked():
                raise MalformedMessage(f"the RESULT has {length} coordinates; sent were {self._length_of_masked()}")
            accepted = TagKey(state.tag_key, state.context1).accepts(found.total, found.members, found.tag)
            if evidence is not None:
                total, tag = self._add_up(evidence)
                accepted = accepted and tag == found.tag and np.array_equal(total, found.total)
            state.result_digest, state.accepted = result_digest, bytes([accepted])
            state.stage = Stage.VERIFIED if accepted else Stage.ABORTED
            state.erase()
            if not accepted:
                raise TagMismatch(
                    "the announced sum is not the sum of what the sites sent; the round is discarded: "
                    "keep the audit log and ask the relay's operator"
                )
        return found.total.copy()

    def close(self, audit_head: bytes = NO_AUDIT_HEAD) -> bytes:
        """VERIFIED -> CLOSED (or after a false sum). Tell everybody which result this site saw and its verdict.

        Equal result hashes at all sites show that the relay did not tell different sites different sums. A second
        call gives the first reply.
        """
        state = self._state
        if not state.result_digest:
            raise OutOfOrder(f"CLOSE at stage {state.stage.name}; a result must be checked first")
        if not state.close:
            body = messages.Close(state.result_digest, audit_head, state.accepted == b"\1").pack()
            state.close = self._write(Kind.CLOSE, state.context1, body)
            state.stage = Stage.CLOSED if state.stage == Stage.VERIFIED else state.stage
        return state.close

    def abort(self) -> None:
        """Any stage -> ABORTED, and erase all secrets. The masked vector, if sent, is spent for ever."""
        if self._state.stage < Stage.VERIFIED:
            self._state.stage = Stage.ABORTED
        self._state.erase()

    # --- the steps' parts ---------------------------------------------------------------------------------------------

    def _answered(
        self, stage: Stage, previous: Stage, request: bytes, stored_request: bytes, stored_reply: bytes
    ) -> bool:
        """Whether the step from `previous` to `stage` was taken for this very request and its reply is still held."""
        if self._state.stage >= Stage.VERIFIED:
            raise OutOfOrder(f"{stage.name} was asked for after the attempt ended; its secrets were erased")
        if self._state.stage >= stage:
            if request != stored_request or not stored_reply:
                raise AlreadyAnswered(f"{stage.name} was already answered for another request; start a new attempt")
            return True
        if self._state.stage != previous:
            raise OutOfOrder(f"{stage.name} was asked for at stage {self._state.stage.name}; wanted {previous.name}")
        return False

    @property
    def _dealing(self) -> Dealing:
        return Dealing(
            self._roster, self._own.index, self._config, self._context0, self._state, self._pair_keys, self._entropy
        )

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
        state = self._state
        public = self._read_all(Kind.SHARE, self._context0, shares)
        if public.get(self._own.index) != state.share:
            raise SplitView("the SHAREs do not hold this site's own SHARE unchanged")
        require_enough(self._roster, public, state.hellos, self._smallest, "SHARE")
        held, tag_parts, halves = self._dealing.open_all(public, sealed)
        hellos = {index: state.hellos[index] for index in public}
        ctx1 = context1(self._context0, hellos=hellos, shares=public, model_digest=model_digest)
        seed_digests = {index: self._dealing.read_share(raw).self_seed_digest for index, raw in public.items()}
        return Agreed(held, hellos, seed_digests, halves, ctx1, TagKey.agree(tag_parts, ctx1))

    def _agreed(self, agreed: "Agreed", commitment: bytes) -> None:
        state = self._state
        state.held, state.context1, state.tag_key = agreed.held, agreed.context1, agreed.tag_key.secret
        state.seed_digests, state.halves, state.commitment = dict(agreed.seed_digests), dict(agreed.halves), commitment

    def _send_masked(self, vector: Ring, tag: Words, *, released: Collection[int]) -> bytes:
        """MASKED; where no key share will be asked for, sending it is the release of the sum over `released`."""
        state = self._state
        body = messages.Masked(vector, tag, state.commitment).pack()
        state.masked = self._write(Kind.MASKED, state.context1, body)
        state.head = messages.head_of(body)
        state.counted = dict.fromkeys(released, b"")
        state.stage = Stage.RELEASED if released else Stage.MASKED
        return state.masked

    def _read_heads(self, heads: bytes, *, smallest: int) -> dict[int, bytes]:
        state = self._state
        return read_heads(
            heads,
            roster=self._roster,
            context1=state.context1,
            own=self._own.index,
            own_head=state.head,
            u1=state.held.keys(),
            smallest=smallest,
        )

    def _release(self, counted: Mapping[int, bytes], request: bytes) -> bytes:
        state = self._state
        state.counted = dict(counted)
        state.unmask = self._write(Kind.UNMASK, state.context1, unmask_body(state.held, counted).pack())
        state.release_request = request
        state.stage = Stage.RELEASED
        return state.unmask

    def _read_all(self, kind: Kind, context: bytes, raws: Sequence[bytes]) -> dict[int, bytes]:
        """Check one message per sender; returns them as received, by roster index."""
        received: dict[int, bytes] = {}
        for raw in raws:
            sender = messages.read(raw, kind=kind, context=context, roster=self._roster).sender
            if sender in received:
                raise SplitView(f"two {kind.name}s of site {self._roster.at(sender).site!r} in one request")
            received[sender] = bytes(raw)
        return dict(sorted(received.items()))

    def _hide(self, vector: Ring, tag: Words, hellos: Mapping[int, bytes], ctx1: bytes) -> tuple[Ring, Words]:
        """Add the self mask (if its key is shared) and every pair mask: + towards higher indices, - towards lower."""
        own = self._own.index
        hidden, form = vector.copy(), form_of(vector)
        streams = []
        if self._config.deals_keys:
            self_key = masks.self_mask(self._state.self_seed, ctx1)
            streams.append((self_key.stream, 1))
            tag = add_words([tag, reduced_words(self_key.tag, form)], form)
        private = self._dealing.mask_private
        for peer, raw in hellos.items():
            if peer == own:
                continue
            mask_key, half = messages.Hello.unpack(body_of(raw)).mask_key, self._state.halves.get(peer, b"")
            pair = masks.pair_mask(private, mask_key, ctx1, own=own, peer=peer, half=half)
            streams.append((pair.stream, 1 if peer > own else -1))
            words = reduced_words(pair.tag, form)
            tag = add_words([tag, words], form) if peer > own else subtract_words(tag, words, form)
        masks.apply_keystreams(hidden, streams)
        return hidden, tag

    def _add_up(self, evidence: Evidence) -> tuple[Ring, Words]:
        state = self._state
        return evidence.add_up(
            roster=self._roster,
            context0=self._context0,
            context1=state.context1,
            heads=state.counted | {self._own.index: state.head},
            mask_keys={i: messages.Hello.unpack(body_of(state.hellos[i])).mask_key for i in state.held},
            seed_digests=state.seed_digests if self._config.deals_keys else {},
            length=self._length_of_masked(),
            form=self._form,
        )

    def _write(self, kind: Kind, context: bytes, body: bytes) -> bytes:
        return messages.write(kind, context=context, sender=self._own.index, body=body, identity=self._identity)

    def _length(self, result_body: bytes) -> int:
        overhead = len(messages.pack_set((), self._roster)) + self._form.tag_bytes
        return max(0, len(result_body) - overhead) // self._form.dtype.itemsize

    def _length_of_masked(self) -> int:
        overhead = self._form.tag_bytes + messages.HASH_BYTES
        return (len(body_of(self._state.masked)) - overhead) // self._form.dtype.itemsize


@dataclass(frozen=True, slots=True, repr=False)
class Agreed:
    """What the SHAREs of U1 settle: key shares held, HELLOs of U1, H(b_v), halves, `ctx1` and tag key."""

    held: dict[int, bytes]
    hellos: Mapping[int, bytes]
    seed_digests: Mapping[int, bytes]
    halves: Mapping[int, bytes]
    context1: bytes
    tag_key: TagKey
