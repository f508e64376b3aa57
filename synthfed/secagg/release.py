"""The release rule: for which set of sites a site helps to open a sum, and which key shares that takes.

In the sum over all of U1 the pair masks cancel, and the self seeds b open it. If some vectors are missing, the mask
seeds rho of their sites are needed too. But whoever holds b_v *and* rho_v of one site reads its vector. Hence:

- A site helps once per attempt, for one set U2, for ever. It is one of U2, U2 lies within U1, it has at least as many
  sites as the site's policy wants (never below m = max(t, 3)), and every site of U2 has signed what it masked.
- *Fast*, U2 = U1: the site gives its shares of b_v for all v, at once.
- *Slow*, after a drop: the site first signs U2, which already binds it for ever. Only when it sees at least t such
  signatures on this very set does it give its shares of b_v for v in U2 and of rho_v for v in U1 without U2.
- One kind of share per site v, and none for a site outside U1.

Why at most one sum opens, with c sites in the relay's pay and 2t > N + c: to open b_v for one set and rho_v (or b_v
again) for another, the relay needs t shares each time, so two disjoint groups of t - c honest sites; but
2 (t - c) > N - c. Why it has at least m - c honest inputs: t signatures mean that an honest site agreed to U2.

The rule is tested over every pattern of answers for N = 3, 4, 5, 6.
"""

from collections.abc import Collection, Mapping, Sequence

from synthfed.secagg import messages
from synthfed.secagg.messages import Kind
from synthfed.secagg.refusals import ReleaseRefused, SitesMissing, SplitView
from synthfed.secagg.roster import Roster
from synthfed.secagg.shamir import SHARE_BYTES


def read_heads(
    raw: bytes, *, roster: Roster, context1: bytes, own: int, own_head: bytes, u1: Collection[int], smallest: int
) -> dict[int, bytes]:
    """Check a HEADS and return the head of every site of U2.

    Raises:
        ReleaseRefused: U2 leaves U1, leaves out this site, counts another vector of it, or is smaller than `smallest`.
        BadSignature, WrongContext: The relay, or a site of U2, did not sign this.
    """
    envelope = messages.read(raw, kind=Kind.HEADS, context=context1, roster=roster)
    signed = messages.Heads.unpack(envelope.body, roster).signed
    if not signed.keys() <= set(u1):
        raise ReleaseRefused("the relay asks for sites outside the set that was masked")
    absent = roster.names(set(u1) - signed.keys()) or "nobody"
    if own not in signed:
        raise ReleaseRefused(f"the relay asks for a sum without this site (missing: {absent})")
    if len(signed) < smallest:
        raise ReleaseRefused(
            f"the relay asks for the sum of {len(signed)} sites (missing: {absent}); this site's policy wants "
            f"{smallest}, so the round is lost and the next one trains afresh"
        )
    if signed[own][0] != own_head:
        raise ReleaseRefused("the relay counts another vector of this site than the one it sent")
    for index, (head, signature) in signed.items():
        messages.require_signature(roster, Kind.MASKED, context1, index, head, signature)
    return {index: head for index, (head, _) in signed.items()}


def require_survivors(raws: Sequence[bytes], *, roster: Roster, context1: bytes, counted: Mapping[int, bytes]) -> None:
    """Check that at least t sites of U2 signed this very set.

    Raises:
        SplitView: A site signed another set, twice, or is none of U2.
        SitesMissing: Fewer than t signatures.
        BadSignature, WrongContext, UnknownSender, MalformedMessage: A SURVIVORS is not what it must be.
    """
    wanted = messages.Survivors.over(counted, roster)
    signers = set()
    for raw in raws:
        envelope = messages.read(raw, kind=Kind.SURVIVORS, context=context1, roster=roster)
        name = roster.at(envelope.sender).site
        if envelope.sender not in counted or envelope.sender in signers:
            raise SplitView(f"a SURVIVORS of site {name!r}, which is none of the set, or a second one")
        if messages.Survivors.unpack(envelope.body) != wanted:
            raise SplitView(f"site {name!r} signed another set of survivors than this site; the round is lost")
        signers.add(envelope.sender)
    if len(signers) < roster.threshold:
        raise SitesMissing(f"{len(signers)} sites signed the set of survivors, {roster.threshold} are needed")


def unmask_body(held: Mapping[int, bytes], u2: Collection[int]) -> messages.Unmask:
    """The shares that open the sum over U2: of b_v for v in U2, of rho_v for the rest of U1 (the keys of `held`)."""
    return messages.Unmask(
        {dealer: pair[:SHARE_BYTES] for dealer, pair in held.items() if dealer in u2},
        {dealer: pair[SHARE_BYTES:] for dealer, pair in held.items() if dealer not in u2},
    )
