"""The two state machines of one attempt at one sum, and the rules that keep summands secret.

```
SiteSession(roster, site, identity, context, *, smallest=None, entropy=os.urandom)
    .hello(audit_head=...) -> bytes
    .share(hellos) -> ShareReply(public, sealed: {receiver index: bytes})
    .mask(vector uint32[d], model_digest, shares, sealed) -> bytes
    .unmask(heads) -> bytes
    .verify(result) -> uint32[d]          TagMismatch if the sum is false
    .close(audit_head=...) -> bytes
    .abort()      .freeze() -> bytes      SiteSession.thaw(frozen, roster, site, identity, context, ...)
    .stage .context1 .members .head .commitment       for the audit log
RelaySession(roster, context, relay_key, *, length, smallest=None)
    .add_hello(message)                .hellos() -> tuple[bytes, ...]
    .add_share(public, sealed)         .deliveries(model_digest) -> {site index: Delivery(shares, sealed)}
    .add_masked(message)               .heads() -> bytes
    .add_unmask(message)               .result() -> (bytes, uint32[d])
    .add_close(message) -> Close(result_digest, audit_head, accepted)
```

One attempt, all sites answering (U0, U1, U2 are the sets that said HELLO, SHARE, MASKED; each contains the next):

```
site                        relay                         learns
NEW      hello()    ---->   add_hello, hellos()           public keys
HELLO    share()    ---->   add_share, deliveries(model)  hashes of shares, closed boxes
SHARED   mask()     ---->   add_masked, heads()           uniform words
MASKED   unmask()   ---->   add_unmask, result()          t shares of every self mask, hence the sum over U1
RELEASED verify()   <----   RESULT                        -
VERIFIED close()    ---->   add_close                     that all sites saw one result
CLOSED
```

Rules that a site enforces, whatever the relay asks:

1. One HELLO, one SHARE, one MASKED per `ctx0`. The same request gets the stored bytes, another is refused: no mask ever
   covers two vectors. The caller keeps this true across restarts: it stores `freeze()` before it sends a reply, and
   never starts a second session for a `ctx0` of which it holds one.
2. Shares are released once per `ctx0`, for U2 = U1 and with the signatures of all of U1 on what they masked. Only
   shares of self seeds b are released, never one of a mask seed rho. So only the one sum over U1 opens, |U1| >= m.
3. After MASKED the vector is spent: it is never sent again. Before MASKED a new attempt is free, with fresh keys.

After a drop between SHARE and MASKED this version refuses: the relay in `heads()`, a site in `unmask()`. Opening
the sum of the survivors enters at three marked places: type 5 in `messages`, stage 4 in `state`, `RelaySession.heads`.
Until then `smallest` is N by default; a lower one (down to m = max(t, 3)) lets an attempt go on when a site is missing
before its SHARE, or after its MASKED.
"""

from synthfed.secagg.messages import Close
from synthfed.secagg.relay_session import Delivery, RelaySession
from synthfed.secagg.site_session import NO_AUDIT_HEAD, ShareReply, SiteSession
from synthfed.secagg.state import Stage

__all__ = ["NO_AUDIT_HEAD", "Close", "Delivery", "RelaySession", "ShareReply", "SiteSession", "Stage"]
