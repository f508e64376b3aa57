"""The messages between coordinator and sites, as frozen values; how they are written is in `records`.

Nothing else travels: no metric, no number of examples, no loss, no text of an exception.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from synthfed.errors import FederationError

M = TypeVar("M")  # any of these messages


class BadMessage(FederationError):
    """A message that does not decode: another protocol, kind, field or size than the wire knows."""


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    """`query.enrol`: the signed run manifest; the site checks it and reserves the whole run's budget."""

    KIND: ClassVar[str] = "enrol"
    manifest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class EnrolReply:
    """Who answers, in which versions, and how far this run went at the site.

    Attributes:
        signature: Ed25519 of the site's identity key over `enrol_statement`: identity is this, not the node id.
    """

    KIND: ClassVar[str] = "enrol.reply"
    site: str
    versions: str
    last_round: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class HelloRequest:
    """`query.hello`: ask for a round's public keys, of all sites at the start, later of a site that comes back."""

    KIND: ClassVar[str] = "hello"
    manifest: str
    round_index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class HelloReply:
    """A HELLO envelope."""

    KIND: ClassVar[str] = "hello.reply"
    hello: bytes


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """`query.share`: the HELLOs of a round, to all sites at the start, later to a site that comes back."""

    KIND: ClassVar[str] = "share"
    manifest: str
    round_index: int
    attempt: int
    hellos: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ShareReply:
    """A public SHARE envelope and one sealed envelope per peer, `sealed_to` naming the peers' roster indices."""

    KIND: ClassVar[str] = "share.reply"
    share: bytes
    sealed_to: tuple[int, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """`train.round`, trip A: the model, the result of the round before, and the key shares of this round.

    Attributes:
        model: float32, little-endian, in the generator's tensor order.
        result: RESULT of round `round_index - 1`; empty in round 0. Its tag is checked before training, by every site
            that helped to open it.
        evidence: What lets the site add up that sum itself (`pack_evidence`); empty unless the run says `recompute`.
        shares: Public SHARE envelopes of all sites that take part.
        sealed: Sealed envelopes addressed to this site.
    """

    KIND: ClassVar[str] = "round"
    manifest: str
    round_index: int
    attempt: int
    model: bytes
    result: bytes
    evidence: bytes
    shares: tuple[bytes, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RoundReply:
    """MASKED of this round, or sealed parts of the vector by receiver; and HELLO of the next (empty after the last).

    Attributes:
        masked: Empty in modes with parts.
        parts_to, parts: Empty in modes with masks; of parts that went by direct links, none.
        complaint: COMPLAINT instead of all of these, where a dealer lied to this site; else empty.
    """

    KIND: ClassVar[str] = "round.reply"
    complaint: bytes
    masked: bytes
    parts_to: tuple[int, ...]
    parts: tuple[bytes, ...]
    hello: bytes


@dataclass(frozen=True, slots=True)
class PartsRequest:
    """`query.parts`, trip B in modes with parts: the parts that the others sealed for this site; HELLOs of the next.

    Attributes:
        dealers: Roster indices of the sites whose vectors are added up, this one included.
        parts: One per other dealer; those that came by a direct link may be missing.
    """

    KIND: ClassVar[str] = "parts"
    manifest: str
    round_index: int
    attempt: int
    dealers: tuple[int, ...]
    parts: tuple[bytes, ...]
    hellos: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PartsReply:
    """MASKED: the sum of the parts held; SHARE of the next round (empty after the last)."""

    KIND: ClassVar[str] = "parts.reply"
    masked: bytes
    share: bytes
    sealed_to: tuple[int, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ShowRequest:
    """`query.show`, once per hybrid run: ask for the site's public key of the run."""

    KIND: ClassVar[str] = "show"
    manifest: str


@dataclass(frozen=True, slots=True)
class ShowReply:
    """The signed key."""

    KIND: ClassVar[str] = "show.reply"
    shown: bytes


@dataclass(frozen=True, slots=True)
class OfferRequest:
    """`query.offer`: the keys of all sites, in roster order."""

    KIND: ClassVar[str] = "offer"
    manifest: str
    shown: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class OfferReply:
    """A sealed, signed pair key for each site of a higher roster index."""

    KIND: ClassVar[str] = "offer.reply"
    receivers: tuple[int, ...]
    offers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """`query.accept`: the offers for this site, by rising roster index of their senders."""

    KIND: ClassVar[str] = "accept"
    manifest: str
    senders: tuple[int, ...]
    offers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AcceptReply:
    """How many pair keys were opened."""

    KIND: ClassVar[str] = "accept.reply"
    accepted: int


@dataclass(frozen=True, slots=True)
class SurvivorsRequest:
    """`query.survivors`, trip B', only after a drop: HEADS of the sites whose vectors count."""

    KIND: ClassVar[str] = "survivors"
    manifest: str
    round_index: int
    attempt: int
    heads: bytes


@dataclass(frozen=True, slots=True)
class SurvivorsReply:
    """SURVIVORS: this site's word on that very set."""

    KIND: ClassVar[str] = "survivors.reply"
    survivors: bytes


@dataclass(frozen=True, slots=True)
class UnmaskRequest:
    """`query.unmask`, trip B: HEADS of this round, or after a drop the SURVIVORS; HELLOs of the next (none at last).

    Attributes:
        heads: Empty after a drop: the site has them from trip B'.
        survivors: Empty when nobody was lost.
    """

    KIND: ClassVar[str] = "unmask"
    manifest: str
    round_index: int
    attempt: int
    heads: bytes
    survivors: tuple[bytes, ...]
    hellos: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class UnmaskReply:
    """UNMASK of this round, SHARE of the next (empty after the last)."""

    KIND: ClassVar[str] = "unmask.reply"
    unmask: bytes
    share: bytes
    sealed_to: tuple[int, ...]
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """`query.close`: RESULT of the last round, and its evidence where the run says `recompute`."""

    KIND: ClassVar[str] = "close"
    manifest: str
    round_index: int
    attempt: int
    result: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class CloseReply:
    """CLOSE envelope (empty if the site was away from the last sum) and the ledger's export: no count, no loss."""

    KIND: ClassVar[str] = "close.reply"
    close: bytes
    ledger: bytes


@dataclass(frozen=True, slots=True)
class SettleRequest:
    """`query.settle`: everybody's CLOSE, so that each site sees that all saw the same last result."""

    KIND: ClassVar[str] = "settle"
    manifest: str
    closes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SettleReply:
    """The run is over at this site; its audit chain (JSON lines)."""

    KIND: ClassVar[str] = "settle.reply"
    audit: bytes


# Why a site may say no. A refusal carries the code alone; the words are added where they are read, so that no
# exception text and no value of a row can leave through it.
REFUSALS: Mapping[str, str] = {
    "message": "the message did not decode; the coordinator may run another version",
    "site": "the site's folder, keys or pinned roster cannot be used",
    "left": "the hospital left this run for good",
    "busy": "another message of this run is still being worked on",
    "manifest": "the run manifest is unknown, altered, or not signed by the roster's relay key",
    "roster": "the run names another roster than the pinned one",
    "versions": "the run was made by another version of synthfed",
    "policy.pipelines": "the pipeline is not among the policy's allowed pipelines",
    "policy.min_sites": "fewer sites than the policy demands",
    "policy.max_rounds": "more rounds than the policy allows",
    "policy.max_steps": "more private steps than the policy allows",
    "policy.max_missing": "sums may be opened without more sites than the policy allows",
    "policy.delta": "a larger delta than the policy allows",
    "policy.epsilon_run": "more would be lost in one run than the policy allows",
    "policy.epsilon_local": "with shared noise, more would be lost to all other sites together than the policy allows",
    "policy.questions": "the policy allows no more question runs",
    "policy.exact_answers": "the policy allows no answers without noise",
    "policy.direct": "sealed parts would go straight to and from the other sites, which the policy does not allow",
    "policy.allow_seeded": "seeded noise is not allowed by the policy, it protects nobody",
    "holdout": "patients would be scored as held out who train in another run of the site, or the other way round",
    "budget": "with what was charged before, more would be lost than the policy allows in all runs (epsilon_total)",
    "ledger": "the privacy ledger is missing, altered or restored from an old copy",
    "replay": "this stage was already answered for another request",
    "parts": "a sealed part is missing that came by a direct link, or should have",
    "order": "the message does not follow the site's last stage",
    "secagg": "the secure sum's rules forbid the answer",
    "data": "the site's rows do not fit the run's layout, or are too few",
    "training": "training at the site cannot go on",
    "internal": "the site's app failed",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A site's no, by a code of `REFUSALS`."""

    KIND: ClassVar[str] = "refusal"
    code: str

    def __post_init__(self) -> None:
        if self.code not in REFUSALS:
            raise BadMessage("a refusal carries a code outside the closed table")
