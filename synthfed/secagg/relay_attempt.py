"""What the relay remembers of one attempt, and how it takes a message: wholly, or not at all and with a name.

**Whom to blame.** Every `add_*` of `relay_session` raises a `SumRefused` and changes nothing if it does not like a
message. `site` of the refusal names the culprit: the site whose signature stands under the message; or, if the message
is not signed by anybody, the site `came_from` whose connection brought it. Somebody else's message, a replayed or an
invented one is the fault of who brought it, never of who is named in it. `site` is None only if `came_from` was not
given and nobody signed, or if the relay's own caller is out of order.

**How to go on.** A site whose message was refused is a site that has not answered. The caller need not do anything: the
next `hellos()`, `deliveries()`, `heads()`, `survivors()` or `result()` goes on without it where `smallest` and the
release rule allow, and raises `SitesMissing` where they do not. What a site said well before stays as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np

from synthfed.secagg import messages
from synthfed.secagg.admission import checked_config, checked_smallest, require_enough
from synthfed.secagg.contexts import Context0, SumConfig, lp
from synthfed.secagg.messages import Envelope, Kind
from synthfed.secagg.refusals import (
    AlreadyAnswered,
    MalformedMessage,
    OutOfOrder,
    RosterRefused,
    SealBroken,
    SumRefused,
    UnknownSender,
    WrongContext,
)
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import RELAY, Roster
from synthfed.secagg.signatures import Signer, public_keys
from synthfed.secagg.state import lp_map, split_lp, split_lp_map
from synthfed.secagg.tag import FORMS, Words, add_words

_FORMAT = b"synthfed/secagg/v1/relay-state"


class RelayAttempt:
    """One attempt at the relay: what it was given, which sets are fixed, what it has said.

    Args:
        relay_key: The relay's Ed25519 key, or both keys if the roster names a second one.
        length: d, the number of coordinates of every vector.
        config, smallest: As in `SiteSession`.
    """

    _deals_parts = False

    def __init__(
        self,
        roster: Roster,
        context: Context0,
        relay_key: Signer,
        *,
        length: int,
        config: SumConfig | None = None,
        smallest: int | None = None,
    ) -> None:
        if public_keys(relay_key) != (roster.relay_key, roster.relay_second_key):
            raise RosterRefused("the relay's key is not its key in the roster, or one of two is; ask the steward")
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
        self._form = FORMS[self._config.ring]
        self._total: Ring = np.zeros(length, dtype=self._form.dtype)
        self._tag: Words = add_words([], self._form)
        self._heads = b""
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
            self._heads,
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
        relay_key: Signer,
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
        sealed, u0, u1, u2, signed, total, self._heads, self._result, vectors, opened, *more = packed[len(kinds) :]
        self._sealed = {dealer: split_lp_map(boxes) for dealer, boxes in split_lp_map(sealed).items()}
        self._u0, self._u1, self._u2 = (tuple(sorted(split_lp_map(indices))) for indices in (u0, u1, u2))
        for index, pair in split_lp_map(signed).items():
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

    # --- for the steps ------------------------------------------------------------------------------------------------

    @contextmanager
    def _taking(
        self,
        raw: bytes,
        kind: Kind,
        context: bytes,
        came_from: int | None,
        *,
        among: tuple[int, ...] = (),
    ) -> Iterator[Envelope]:
        """Read one message and blame the right site for whatever is wrong with it, inside the block too."""
        try:
            envelope = messages.read(raw, kind=kind, context=context, roster=self._roster)
        except SumRefused as error:  # nobody's signature: who brought it?
            error.site = None if came_from is None else self._roster.at(came_from).site
            raise
        signer = self._roster.at(envelope.sender).site
        if came_from is not None and envelope.sender != came_from:
            bringer = self._roster.at(came_from).site
            raise UnknownSender(f"site {bringer!r} brought a {kind.name} of site {signer!r}", site=bringer)
        try:
            if among and envelope.sender not in among:
                raise UnknownSender(f"site {signer!r} is not in the set of this attempt")
            yield envelope
        except SumRefused as error:
            error.site = signer
            raise

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
