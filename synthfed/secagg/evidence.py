"""What the relay added up, for sites that add it up too: `verify="recompute"`.

The result tag proves nothing if a site helps the relay. The vectors that the sites signed do: a site that fetches all
of them (4dN bytes down) and adds them up accepts no other sum, whoever colludes. It needs the keys that t sites opened
for the relay, and checks each against what its dealer published. It learns what the relay has seen: masked vectors,
their sum, and keys that are spent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthfed.secagg import masks, messages, opening
from synthfed.secagg.messages import Kind
from synthfed.secagg.refusals import RELAY_PARTY, BadShare, MalformedMessage, SplitView
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Roster
from synthfed.secagg.tag import Form, Words, add_words


@dataclass(frozen=True, slots=True, repr=False)
class Evidence:
    """What one attempt's relay received and opened.

    Attributes:
        masked: The MASKED messages of U2, as sent.
        opened: b_v for v in U2, rho_v for v in U1 without U2; empty in modes without key shares.
    """

    masked: tuple[bytes, ...]
    opened: Mapping[int, bytes]

    def add_up(
        self,
        *,
        roster: Roster,
        context0: bytes,
        context1: bytes,
        heads: Mapping[int, bytes],
        mask_keys: Mapping[int, bytes],
        seed_digests: Mapping[int, bytes],
        length: int,
        form: Form,
    ) -> tuple[Ring, Words]:
        """The sum of the signed vectors without their masks, and of their tags.

        Args:
            heads: Per site of U2 the head of its vector as HEADS named it, or nothing where there were none.
            mask_keys: S_v per site of U1.
            seed_digests: H(b_v) per site of U1; empty in modes without key shares.

        Raises:
            BadShare: An opened key is not the published one; `party` is the relay.
            BadSignature, WrongContext, MalformedMessage, SplitView: A vector is not the one that was signed.
        """
        vectors = self._signed_vectors(roster, context1, heads, length, form)
        total = np.zeros(length, dtype=form.dtype)
        for masked in vectors.values():
            np.add(total, masked.vector, out=total)
        tag = add_words([masked.tag for masked in vectors.values()], form)
        for index, published in seed_digests.items():
            seed = self.opened.get(index, b"")
            known = (
                masks.self_seed_digest(context0, index, seed) == published
                if index in heads
                else opening.mask_public_key(seed, context0) == mask_keys[index]
            )
            if not known:
                name = roster.at(index).site
                raise BadShare(
                    f"the relay shows another mask key of site {name!r} than it published", party=RELAY_PARTY
                )
        if seed_digests:
            tag = opening.lift_masks(
                total,
                tag,
                context1=context1,
                seeds={index: self.opened[index] for index in heads},
                vanished={
                    index: masks.mask_private_key(self.opened[index], context0)
                    for index in seed_digests
                    if index not in heads
                },
                mask_keys=mask_keys,
            )
        return total, tag

    def _signed_vectors(
        self, roster: Roster, context1: bytes, heads: Mapping[int, bytes], length: int, form: Form
    ) -> dict[int, messages.Masked]:
        """One vector of every site of U2, signed under `ctx1`."""
        found: dict[int, messages.Masked] = {}
        for raw in self.masked:
            envelope = messages.read(raw, kind=Kind.MASKED, context=context1, roster=roster)
            name = roster.at(envelope.sender).site
            if envelope.sender not in heads or envelope.sender in found:
                raise SplitView(f"a vector of site {name!r}, which was not counted, or two of one site")
            named = heads[envelope.sender]
            if named and messages.head_of(envelope.body) != named:
                raise SplitView(f"the vector of site {name!r} is not the one it signed before")
            found[envelope.sender] = messages.Masked.unpack(envelope.body, length=length, form=form)
        if found.keys() != heads.keys():
            raise MalformedMessage(f"the vectors of {roster.names(heads.keys() - found.keys())} are missing")
        return found
