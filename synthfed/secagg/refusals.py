"""Every way a secure sum is refused: one class each, so that a caller, a log and a test can tell them apart.

```
SecAggError
├── RosterRefused        a roster that must not be used, or a key that is not the roster's
├── NonFinite            a NaN or an infinity in a vector; nothing was sent
├── WeightRefused        weights that could let the sum wrap, or that do not add up
├── MalformedMessage     bytes that are not exactly one message of the protocol
├── WrongContext         another run, round, attempt, purpose, roster, configuration, layout or model
├── UnknownSender        a message of somebody the roster does not name
├── BadSignature         a signature that does not verify
├── BadKey               a public key that yields no secret, or a key that was never agreed
├── SplitView            sites were shown different sets or messages
├── SitesMissing         fewer sites answered than the attempt needs
├── OutOfOrder           a step before its predecessor, or after the end
├── AlreadyAnswered      a second, different request or message for one step
├── ReleaseRefused       key shares asked for a set that this site must not help to open
├── BadShare             a key share that is not the one its dealer published
├── TagMismatch          the announced sum is not the sum of what was sent
├── SealBroken           stored state that was altered, moved or sealed under another key
└── AuditBroken          an audit log whose chain or signature is broken
```

A refusal never carries a key, a share or a coordinate of a vector. Values that hold secrets have no `repr` either, so
that a traceback with local variables does not print them.
"""

from synthfed.errors import SecAggError


class RosterRefused(SecAggError):
    """A roster that must not be used, or a key that is not the roster's."""


class NonFinite(SecAggError):
    """A vector holds a NaN or an infinity; nothing was sent."""


class WeightRefused(SecAggError):
    """Weights outside their range: the sum could wrap or would mean nothing."""


class MalformedMessage(SecAggError):
    """Bytes that are not exactly one message of the protocol."""


class WrongContext(SecAggError):
    """A message of another run, round, attempt, purpose, roster, configuration, layout or model."""


class UnknownSender(SecAggError):
    """A message of somebody whom the roster does not name."""


class BadSignature(SecAggError):
    """A signature that does not verify under the roster's key."""


class BadKey(SecAggError):
    """A public key of low order, which would yield a secret that everybody knows; or a pair key that is not there."""


class SplitView(SecAggError):
    """Sites were shown different sets of participants or different messages."""


class SitesMissing(SecAggError):
    """Fewer sites answered than the attempt needs."""


class OutOfOrder(SecAggError):
    """A step was asked for before its predecessor or after the attempt ended."""


class AlreadyAnswered(SecAggError):
    """A step was already taken for another request; answering twice could open a vector."""


class ReleaseRefused(SecAggError):
    """Key shares were asked for a set of sites that must not be opened: foreign, too small, or without this site."""


class BadShare(SecAggError):
    """A key share is not the one its dealer published; `party` is the site to blame."""

    def __init__(self, message: str, *, party: str) -> None:
        super().__init__(message)
        self.party = party


class TagMismatch(SecAggError):
    """The announced sum is not the sum of what the sites sent; the round must be discarded."""


class SealBroken(SecAggError):
    """Stored state was altered, moved to another row, or sealed under another key."""


class AuditBroken(SecAggError):
    """An audit log was edited, cut, reordered or signed by somebody else."""
