"""What one site is and remembers in one attempt: who it is in the roster, what it agreed to, what it has answered.

Every step of `site_session` goes through `_answered`, which makes it happen once: the same request gets the stored
bytes, another one is refused, also after a restart from `freeze()`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Self

from synthfed.secagg import masks, messages
from synthfed.secagg.admission import checked_config, checked_smallest
from synthfed.secagg.contexts import Context0, SumConfig
from synthfed.secagg.dealing import Dealing, Opened
from synthfed.secagg.messages import Kind
from synthfed.secagg.refusals import AlreadyAnswered, OutOfOrder, RosterRefused, SplitView, WrongContext
from synthfed.secagg.roster import Roster
from synthfed.secagg.shamir import Entropy
from synthfed.secagg.signatures import Signer, public_keys
from synthfed.secagg.state import SiteState, Stage
from synthfed.secagg.tag import FORMS


class SiteAttempt:
    """One site in one attempt, before any step.

    Args:
        roster: As pinned by this site.
        site: Own name in the roster.
        identity: Own Ed25519 key, or both keys if the roster names a second one.
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
        identity: Signer,
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
        if public_keys(identity) != (self._own.public_key, self._own.second_key):
            raise RosterRefused(
                f"the identity key of site {site!r} is not its key in the roster, or one of two is; ask the steward"
            )
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
        self._form = FORMS[self._config.ring]
        self._context0 = context.digest()
        self._state = SiteState()
        self._opened: tuple[tuple[tuple[bytes, ...], tuple[bytes, ...]], Opened] | None = None

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
        identity: Signer,
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

    def abort(self) -> None:
        """Any stage -> ABORTED, and erase all secrets. The masked vector, if sent, is spent for ever."""
        if self._state.stage < Stage.VERIFIED:
            self._state.stage = Stage.ABORTED
        self._state.erase()
        self._opened = None

    # --- for the steps ------------------------------------------------------------------------------------------------

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

    def _read_all(self, kind: Kind, context: bytes, raws: Sequence[bytes]) -> dict[int, bytes]:
        """Check one message per sender; returns them as received, by roster index."""
        received: dict[int, bytes] = {}
        for raw in raws:
            sender = messages.read(raw, kind=kind, context=context, roster=self._roster).sender
            if sender in received:
                name = self._roster.at(sender).site
                site = None if received[sender] == raw else name  # two signatures of one site are proof, a copy is none
                raise SplitView(f"two {kind.name}s of site {name!r} in one request", site=site)
            received[sender] = bytes(raw)
        return dict(sorted(received.items()))

    def _write(self, kind: Kind, context: bytes, body: bytes) -> bytes:
        return messages.write(kind, context=context, sender=self._own.index, body=body, identity=self._identity)
