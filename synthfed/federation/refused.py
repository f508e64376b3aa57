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
    """The site says no; `code` is all that leaves it.

    Attributes:
        noted: What the site's own log says instead of the code, where the code alone may be known outside.
    """

    def __init__(self, code: str, *, noted: str = "") -> None:
        super().__init__(REFUSALS[code])
        self.code = code
        self.noted = noted or code


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


def next_step(code: str) -> str:
    """What settles a refusal, for coordinator and hospital alike."""
    kind, _, key = code.partition(".")
    if code == "policy.pipelines":
        return "the hospital reads the pipeline and approves it: synthfed site approve FOLDER --pipeline FILE"
    if code == "policy.questions":
        return "the hospital allows more of them if it agrees: synthfed site approve FOLDER --questions NUMBER"
    if kind == "policy":
        return f"submit a run within it, or the hospital changes {key} in its policy.toml if it agrees"
    return _NEXT.get(code, "the site's own site.log says where")


_NEXT = {
    "budget": "begin a run that costs less, or the hospital raises epsilon_total in its policy.toml if it agrees",
    "versions": "install one version everywhere, and approve it: synthfed site approve FOLDER --code",
    "roster": "the hospital approves the newest invitation: synthfed site approve FOLDER --invitation FILE",
    "ledger": "restore the site's newest ledger.sqlite; nothing is charged until then",
    "data": "the hospital looks at its table: synthfed site check FOLDER, and site.log",
    "holdout": "keep one cohort.holdout_fraction in all runs, or set evaluation.release = 'synthetic-only'",
    "site": "the hospital runs: synthfed site check FOLDER",
    "parts": "resume: the sites hand their parts over once more",
    "left": "begin a new run; this one cannot be closed without that site",
    "busy": "wait until that message is done, then resume",
}


def refusal_error(site: str, step: str, refusal: Refusal) -> SynthfedError:
    """The error that a coordinator raises for a site's refusal."""
    said = (
        f"site {site!r} refused {step}: {REFUSALS[refusal.code]} ({refusal.code}); nothing more is released. "
        f"Next: {next_step(refusal.code)}"
    )
    return BudgetRefused(said) if refusal.code == "budget" else SiteRefused(said)
