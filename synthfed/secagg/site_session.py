"""One site's side of one attempt at one sum, whole; see `protocol` for the order of the steps and the rules.

Here is what comes after the vector has left: release key shares for one set, check the sum, close.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synthfed.secagg import messages
from synthfed.secagg.contexts import digest
from synthfed.secagg.evidence import Evidence
from synthfed.secagg.messages import Kind
from synthfed.secagg.refusals import (
    AlreadyAnswered,
    MalformedMessage,
    OutOfOrder,
    ReleaseRefused,
    SplitView,
    TagMismatch,
)
from synthfed.secagg.release import read_heads, require_survivors, unmask_body
from synthfed.secagg.ring import Ring
from synthfed.secagg.site_hiding import NO_AUDIT_HEAD, HidingSite, ShareReply
from synthfed.secagg.state import Stage
from synthfed.secagg.tag import TagKey, Words

__all__ = ["NO_AUDIT_HEAD", "ShareReply", "SiteSession"]


class SiteSession(HidingSite):
    """State machine of one site for one `ctx0`; see `SiteAttempt` for its arguments.

    A refused request changes nothing and sends nothing; only a false sum and a complaint end the attempt. A step that
    was taken gives the same bytes for the same request and `AlreadyAnswered` for another one. A refusal's `site` names
    the site at fault where its signature proves it.
    """

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

    # --- the steps' parts ---------------------------------------------------------------------------------------------

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
            if length != self._sent_length:
                raise MalformedMessage(f"the RESULT has {length} coordinates; sent were {self._sent_length}")
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

    def _add_up(self, evidence: Evidence) -> tuple[Ring, Words]:
        state = self._state
        return evidence.add_up(
            roster=self._roster,
            context0=self._context0,
            context1=state.context1,
            heads=state.counted | {self._own.index: state.head},
            mask_keys={i: self._shown(i).mask_key for i in state.held},
            seed_digests=state.seed_digests if self._config.deals_keys else {},
            length=self._sent_length,
            form=self._form,
        )

    def _length(self, result_body: bytes) -> int:
        overhead = len(messages.pack_set((), self._roster)) + self._form.tag_bytes
        return max(0, len(result_body) - overhead) // self._form.dtype.itemsize

    @property
    def _sent_length(self) -> int:
        return int.from_bytes(self._state.sent_length, "little")
