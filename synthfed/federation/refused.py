"""A site's no, as an exception inside the site: a code of the closed table and nothing else."""

from synthfed.errors import (
    BudgetRefused,
    DataError,
    FederationError,
    PrivacyError,
    SecAggError,
    SiteRefused,
    SynthfedError,
    TrainingError,
)
from synthfed.federation.wire import REFUSALS, BadMessage, Refusal


class Refused(FederationError):
    """The site says no; `code` is all that leaves it."""

    def __init__(self, code: str) -> None:
        super().__init__(REFUSALS[code])
        self.code = code


def refusal_of(error: BaseException) -> Refusal:
    """The refusal that stands for an exception: by its class alone, never by its text."""
    from synthfed.federation.manifest import ManifestError

    if isinstance(error, Refused):
        return Refusal(error.code)
    for kind, code in (
        (BadMessage, "message"),
        (ManifestError, "manifest"),
        (BudgetRefused, "budget"),
        (PrivacyError, "ledger"),
        (SecAggError, "secagg"),
        (TrainingError, "training"),
        (DataError, "data"),
    ):
        if isinstance(error, kind):
            return Refusal(code)
    return Refusal("internal")


def refusal_error(site: str, step: str, refusal: Refusal) -> SynthfedError:
    """The error that a coordinator raises for a site's refusal."""
    said = (
        f"site {site!r} refused {step}: {REFUSALS[refusal.code]} ({refusal.code}); its own log says more; nothing more "
        "is released: resume when that is settled"
    )
    return BudgetRefused(said) if refusal.code == "budget" else SiteRefused(said)
