"""The two state machines where vectors are split into parts: modes `full` and `shamir`.

```
site                            relay
SHARED   deal()        ---->    add_parts, part_deliveries()     closed boxes, one per pair of sites
DEALT    add_up()      ---->    add_masked, result()             parts of the sum, hence the sum
RELEASED verify()      <----    RESULT
```

HELLO, SHARE (the tag key's parts only), CLOSE, contexts, roster, tag and audit are those of `protocol`. A part goes to
its receiver in a box that only the two can make; the relay learns its length.

When a site adds up the parts it holds and sends the sum of them, it has released them: for one set U2 of dealers, for
ever. In `full` U2 is U1 and every site must answer. In `shamir` U2 may miss sites that vanished before they dealt, down
to the site's own smallest set; t answers open the sum. For two sums of one attempt the relay would need t answers for
each, from disjoint honest sites: excluded if 2t > N + c. With c <= t - 1 colluding sites a single vector stays hidden.

From `deal` on the vector is spent: the others may open a sum that holds it, also without this site's answer.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from synthfed.secagg import masks, messages, parts
from synthfed.secagg.admission import require_enough
from synthfed.secagg.contexts import Context0, SumConfig, digest, lp
from synthfed.secagg.messages import Kind
from synthfed.secagg.parts import Part
from synthfed.secagg.refusals import MalformedMessage, OutOfOrder, ReleaseRefused, SplitView, UnknownSender
from synthfed.secagg.relay_session import RelaySession
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Roster
from synthfed.secagg.signatures import Signer
from synthfed.secagg.site_session import SiteSession
from synthfed.secagg.state import Stage, lp_map, split_lp_map


class PartsSiteSession(SiteSession):
    """One site in mode `full` or `shamir`; takes and obeys what `SiteSession` does. `config` is needed."""

    _deals_parts = True

    def mask(self, vector: Ring, model_digest: bytes, shares: Sequence[bytes], sealed: Sequence[bytes]) -> bytes:
        """Not in these modes: parts are dealt and added up.

        Raises:
            OutOfOrder: Always.
        """
        raise OutOfOrder(f"mode {self._config.mode!r} masks nothing; use deal() and add_up()")

    def deal(
        self, vector: Ring, model_digest: bytes, shares: Sequence[bytes], sealed: Sequence[bytes]
    ) -> dict[int, bytes]:
        """SHARED -> DEALT. Split the vector and seal one part to every other site of U1, by receiver.

        The relay learns lengths. `full`: any N - 1 sites together know nothing of the vector but what the sum says;
        `shamir`: any t - 1 sites. Arguments and refusals are those of `SiteSession.mask`.
        """
        state = self._state
        commitment = self._commit(vector)
        request = digest(b"deal", commitment, model_digest, lp(*sorted(shares)), lp(*sorted(sealed)))
        if self._answered(Stage.DEALT, Stage.SHARED, request, state.deal_request, state.own_part):
            return dict(state.parts)
        agreed = self._agree(model_digest, shares, sealed)
        own = self._own.index
        dealt = parts.split(
            self._mode,
            Part(vector, agreed.tag_key.tag(vector, own)),
            sorted(agreed.opened.held),
            own=own,
            threshold=self._roster.threshold,
            entropy=self._entropy,
        )
        self._agreed(agreed, commitment)
        state.own_part = dealt.pop(own).pack()
        state.parts = {receiver: self._seal_part(receiver, part) for receiver, part in dealt.items()}
        state.deal_request = request
        state.stage = Stage.DEALT
        return dict(state.parts)

    def add_up(self, received: Sequence[bytes]) -> bytes:
        """DEALT -> RELEASED. Add up the parts of the sites U2, the own one included, and send their sum: a MASKED.

        Raises:
            ReleaseRefused: `full` and a dealer of U1 is missing, or fewer dealers than this site's smallest set.
            SplitView: A part of a site outside U1, or two of one site.
            MalformedMessage: A box that does not open or holds no part.
            AlreadyAnswered: Other parts were added up before.
        """
        state, own = self._state, self._own.index
        request = digest(b"add-up", *sorted(received))
        if self._answered(Stage.RELEASED, Stage.DEALT, request, state.mask_request, state.masked):
            return state.masked
        found = {own: Part.unpack(state.own_part, self._mode, self._form)}
        for raw in received:
            box = messages.SealedBox.unpack(raw, holds=len(state.own_part))
            if box.receiver != own:
                raise MalformedMessage("a part that is not for this site")
            if box.sender not in state.held or box.sender in found:
                raise SplitView("a part of a site outside the set, or a second one of one site")
            found[box.sender] = Part.unpack(self._open_part(box), self._mode, self._form)
        smallest = self._smallest if self._mode == "shamir" else len(state.held)
        if len(found) < smallest:
            absent = self._roster.names(state.held.keys() - found.keys())
            raise ReleaseRefused(
                f"the relay asks for the sum of {len(found)} sites (missing: {absent}); not {smallest}"
            )
        total = parts.add_up(self._mode, list(found.values()))
        state.mask_request = request
        return self._send_masked(total.vector, total.tag, released=found.keys())

    @property
    def _mode(self) -> parts.Mode:
        return cast(parts.Mode, self._config.mode)  # the constructor checked it

    def _seal_part(self, receiver: int, part: Part) -> bytes:
        ctx1, own = self._state.context1, self._own.index
        peer_key, pair_key = self._shown(receiver).seal_keys[own], self._dealing.pair_key(receiver)
        key = masks.part_key(
            self._dealing.seal_private(receiver), peer_key, ctx1, sender=own, receiver=receiver, pair_key=pair_key
        )
        box = masks.seal_box(key, part.pack(), ctx1, sender=own, receiver=receiver, entropy=self._entropy)
        return messages.SealedBox(own, receiver, box).pack()

    def _open_part(self, box: messages.SealedBox) -> bytes:
        ctx1, own = self._state.context1, self._own.index
        peer_key, pair_key = self._shown(box.sender).seal_keys[own], self._dealing.pair_key(box.sender)
        key = masks.part_key(
            self._dealing.seal_private(box.sender), peer_key, ctx1, sender=box.sender, receiver=own, pair_key=pair_key
        )
        return masks.open_box(key, box.box, ctx1, sender=box.sender, receiver=own)


class PartsRelaySession(RelaySession):
    """The relay in mode `full` or `shamir`: carries parts, adds up (or interpolates) what the sites upload."""

    _deals_parts = True

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
        super().__init__(roster, context, relay_key, length=length, config=config, smallest=smallest)
        self._parts: dict[int, dict[int, bytes]] = {}
        self._uploads: dict[int, Part] = {}

    def add_parts(self, sender: int, dealt: Mapping[int, bytes]) -> None:
        """Take one site's sealed parts by receiver; the transport vouches for the sender, the boxes for themselves.

        Where the configuration says `direct`, those that its peers took from the site itself are missing here.
        """
        self._require(bool(self._u1) and not self._u2, "parts before the SHAREs or after the parts were sent out")
        if sender not in self._u1:
            raise UnknownSender(f"parts of index {sender}, which is not in the set of this attempt")
        holds, name = self._total.nbytes + self._form.tag_bytes, self._roster.at(sender).site
        try:
            boxes = {receiver: messages.SealedBox.unpack(raw, holds=holds) for receiver, raw in dealt.items()}
        except MalformedMessage as error:
            raise MalformedMessage(f"site {name!r}: {error}", site=name) from error
        others = set(self._u1) - {sender}
        complete = boxes.keys() <= others if self._config.transport == "direct" else boxes.keys() == others
        if not complete or any((box.sender, box.receiver) != (sender, receiver) for receiver, box in boxes.items()):
            raise MalformedMessage(f"site {name!r} did not seal one part for each other site", site=name)
        if self._parts.setdefault(sender, dict(dealt)) != dict(dealt):
            raise SplitView(f"site {name!r} dealt two different sets of parts", site=name)

    def part_deliveries(self) -> dict[int, tuple[bytes, ...]]:
        """Fix U2, the sites that dealt, and give each of them the parts for it that are here.

        Raises:
            SitesMissing: `full` and a site of U1 dealt no parts, or fewer dealers than the smallest set.
        """
        self._require(bool(self._u1), "the parts before the SHAREs were sent out")
        smallest = self._smallest if self._config.mode == "shamir" else len(self._u1)
        require_enough(self._roster, self._parts, self._u1, smallest, "set of parts")
        self._u2 = tuple(sorted(self._parts))
        return {
            receiver: tuple(self._parts[dealer][receiver] for dealer in self._u2 if receiver in self._parts[dealer])
            for receiver in self._u2
        }

    def add_masked(self, message: bytes, *, came_from: int | None = None) -> None:
        """Keep one site's part of the sum.

        Raises:
            MalformedMessage: Another length; in mode `shamir`, a word that is not reduced modulo p.
            AlreadyAnswered: It sent another part before, which stays.
        """
        self._require(bool(self._u2) and not self._result, "MASKED before the parts or after the result")
        with self._taking(message, Kind.MASKED, self._context1, came_from, among=self._u2) as envelope:
            masked = messages.Masked.unpack(envelope.body, length=self._total.size, form=self._form)
            parts.require_residues(masked.vector, self._config.mode)
            if self._keep(envelope, messages.head_of(envelope.body)):
                self._uploads[envelope.sender] = Part(masked.vector, masked.tag)
                self._keep_evidence(envelope.sender, message)

    def set_aside(self, site: str) -> None:
        """Forget one site's part of the sum, as if it had not answered: for a site that `result` named.

        The sum is then opened from the others, if this relay does not wait for all and enough are left.
        """
        self._require(not self._result, "a site cannot be set aside after the result")
        self._uploads.pop(self._roster.member(site).index, None)

    def _pack_more(self) -> list[bytes]:
        dealt = {sender: lp_map(boxes) for sender, boxes in self._parts.items()}
        return [lp_map(dealt), lp_map({sender: part.pack() for sender, part in self._uploads.items()})]

    def _unpack_more(self, packed: list[bytes]) -> None:
        dealt, uploads = (split_lp_map(raw) for raw in packed)
        self._parts = {sender: split_lp_map(boxes) for sender, boxes in dealt.items()}
        self._uploads = {sender: Part.unpack(raw, self._mode, self._form) for sender, raw in uploads.items()}

    @property
    def _mode(self) -> parts.Mode:
        return cast(parts.Mode, self._config.mode)  # the constructor checked it

    def heads(self) -> bytes:
        """Not in these modes: no key shares are asked for.

        Raises:
            OutOfOrder: Always.
        """
        raise OutOfOrder(f"mode {self._config.mode!r} releases no keys; its sites release by adding up")

    def result(self) -> tuple[bytes, Ring]:
        """Open the sum from the sites' parts of it and announce it.

        Raises:
            SitesMissing: `full`: a site is missing; `shamir`: fewer than this relay waits for (t, or all).
            BadShare: `shamir`: a site added up wrongly; `party` names it if it can be told.
        """
        if not self._result:
            self._require(bool(self._u2), "the result before the parts were sent out")
            needed = self._answers if self._config.mode == "shamir" else len(self._u2)
            require_enough(self._roster, self._uploads, self._u2, needed, "MASKED")
            opened = parts.open_sum(self._mode, self._uploads, roster=self._roster)
            self._total, self._tag = opened.vector, opened.tag
            self._announce()
        return self._result, self._total.copy()
