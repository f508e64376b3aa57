"""synthfed: share synthetic patients instead of patients.

    import synthfed as sf
    cohort = sf.load_cohort("aml", sites=4, seed=7)
    synth = sf.Synthesizer("aml", privacy__epsilon=3.0).fit(cohort)
    table = synth.sample(num_rows=2000, seed=1)

Names load when first used (PEP 562), so `import synthfed` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort, load_cohort, read_cohort
    from synthfed.errors import SynthfedError
    from synthfed.pipeline import Pipeline
    from synthfed.synthesizer import Privacy, Synthesizer
    from synthfed.tables.sdv_metadata import Metadata

__all__ = [
    "Cohort",
    "Metadata",
    "Pipeline",
    "Privacy",
    "Synthesizer",
    "SynthfedError",
    "load_cohort",
    "read_cohort",
]

_HOMES = {
    "Cohort": "synthfed.cohorts.sites",
    "Metadata": "synthfed.tables.sdv_metadata",
    "Pipeline": "synthfed.pipeline",
    "Privacy": "synthfed.synthesizer",
    "SynthfedError": "synthfed.errors",
    "Synthesizer": "synthfed.synthesizer",
    "load_cohort": "synthfed.cohorts.sites",
    "read_cohort": "synthfed.cohorts.sites",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'synthfed' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
