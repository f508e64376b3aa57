"""The two state machines of one attempt at one sum, and the rules that keep summands secret.

```
SiteSession(roster, site, identity, context, *, config=None, smallest=None, pair_keys=None, entropy=os.urandom)
    .hello(audit_head=...) -> bytes
    .share(hellos) -> ShareReply(public, sealed: {receiver index: bytes})
    .mask(vector uint32[d], model_digest, shares, sealed) -> bytes
    .complain(shares, sealed) -> bytes      instead, if a dealer lied       .judge(complaint, shares) -> names of liars
    .unmask(heads) -> bytes                             all answered
    .sign_survivors(heads) -> bytes                     or, after a drop, first the word on the smaller set
    .release(survivors) -> bytes                        and then the shares for it
    .verify(result) -> uint32[d]          TagMismatch if the sum is false
    .recompute(result, evidence) -> uint32[d]         the same, and adds up the signed vectors itself
    .close(audit_head=...) -> bytes
    .abort()      .freeze() -> bytes      SiteSession.thaw(frozen, roster, site, identity, context, ...)
    .stage .context1 .members .counted .head .commitment       for the audit log
RelaySession(roster, context, relay_key, *, length, config=None, smallest=None)
    (every add_* also takes came_from=index, and names the culprit of what it refuses: see `relay_attempt`)
    .add_hello(message)                .hellos() -> tuple[bytes, ...]
    .add_share(public, sealed)         .deliveries(model_digest) -> {site index: Delivery(shares, sealed)}
    .add_complaint(message) -> names of liars                 .complaints() -> tuple[bytes, ...]
    .add_masked(message)               .heads() -> bytes      .reduced .needs_survivors
    .add_survivors(message)            .survivors() -> tuple[bytes, ...]
    .add_unmask(message)               .result() -> (bytes, uint32[d])      .evidence()
    .add_close(message) -> Close(result_digest, audit_head, accepted)
    .freeze() -> bytes      RelaySession.thaw(frozen, roster, context, relay_key, length=...)
```

One attempt (U0, U1, U2 are the sets that said HELLO, SHARE, MASKED; each contains the next):

```
site                        relay                         learns
NEW      hello()    ---->   add_hello, hellos()           public keys
HELLO    share()    ---->   add_share, deliveries(model)  hashes of shares, closed boxes
SHARED   mask()     ---->   add_masked, heads()           uniform words
   or    complain() ---->   add_complaint, complaints()   the boxes between two sites, of which one lied; ABORTED
MASKED   unmask()   ---->   add_unmask, result()          t shares of every self mask, hence the sum over U1
   or    sign_survivors() ->  add_survivors, survivors()  who was lost
SIGNED   release()  ---->   add_unmask, result()          self masks of U2, mask seeds of the rest: the sum over U2
RELEASED verify()   <----   RESULT                        -
VERIFIED close()    ---->   add_close                     that all sites saw one result
CLOSED
```

Rules that a site enforces, whatever the relay asks:

1. One HELLO, one SHARE, one MASKED per `ctx0`. The same request gets the stored bytes, another is refused: no mask ever
   covers two vectors. The caller keeps this true across restarts: it stores `freeze()` before it sends a reply, and
   never starts a second session for a `ctx0` of which it holds one.
2. Shares are released once per `ctx0`, for one set U2 of at least m sites, all of which signed what they masked. If
   U2 = U1, at once, and of self seeds b only. After a drop, when at least t sites have signed this very set: of b_v for
   v in U2 and of rho_v for the others, never both for one site. So one sum opens, over U2; `release` says why.
3. After MASKED the vector is spent: it is never sent again, whatever the relay says became of the attempt. The caller
   keeps this true: a relay that withholds a MASKED could otherwise open sums with and without a site. Before MASKED (in
   modes with parts: before `deal`) a new attempt is free, with fresh keys.

When a site is lost (m = max(t, 3), t = floor(2N/3) + 1 by default):

| lost | then |
|---|---|
| before its HELLO, its SHARE | it is not in U0, U1; the attempt goes on if `smallest` sites remain |
| before its MASKED (or it complains) | slow path, U2 = the others; the relay rebuilds its mask key, lifts its masks |
| after its MASKED | its vector counts; its self mask is opened from the others' shares |
| and fewer than t release, or U2 is too small | the attempt fails, the vectors are spent, the next round trains anew |
| and its MASKED comes late | discarded, and unreadable: its self mask is never opened |
| and comes back | it thaws its state and repeats its bytes; after the end it joins the next attempt |

A site that sends something wrong is a site that is lost, and is named (`relay_attempt` says how). One site cannot end
the attempt for the others while enough are left, but for lies that nothing shows before the sum is opened, when all
vectors are spent. Key shares of a wrong polynomial name their dealer (`BadShare`). A tag of something else than the
vector, a false half of a pair's key (`hybrid`), or a part that is none (modes with parts) names nobody.

`smallest` is N by default, at the relay and at every site: wait for all, else no sum. A site's policy may lower it down
to m; a site never helps to open a set smaller than its own policy says, whatever the relay's.

Four modes give the same integers for the same vectors (`SumConfig.mode`, bound by `ctx0`):

| mode | a vector is hidden by | bytes up per site | drops after SHARE | private against the relay and c sites if |
|---|---|---|---|---|
| `compressed` | pair masks and a self mask whose keys are shared | 4d | N - t | 2t > N + c, c <= N - 2 |
| `pairwise` | pair masks alone; MASKED is the release, no UNMASK | 4d | none | c <= N - 2 |
| `full` | N - 1 uniform parts, one for each other site | 4dN | none | c <= N - 2 |
| `shamir` | a polynomial of degree t - 1 per coordinate | 4dN | N - t | 2t > N + c, c <= t - 1 |

The last two run on `PartsSiteSession` and `PartsRelaySession`, which deal parts instead of masking.
"""

from synthfed.secagg.evidence import Evidence
from synthfed.secagg.messages import Close
from synthfed.secagg.parts_session import PartsRelaySession, PartsSiteSession
from synthfed.secagg.relay_session import Delivery, RelaySession
from synthfed.secagg.site_session import NO_AUDIT_HEAD, ShareReply, SiteSession
from synthfed.secagg.state import Stage

__all__ = [
    "NO_AUDIT_HEAD",
    "Close",
    "Delivery",
    "Evidence",
    "PartsRelaySession",
    "PartsSiteSession",
    "RelaySession",
    "ShareReply",
    "SiteSession",
    "Stage",
]
