"""Every error synthfed raises on purpose, in one small tree.

A caller catches `SynthfedError` for all of them; the command line prints its message and exits with code 2.

```
SynthfedError
├── ConfigError                    a TOML file or an option is wrong
│   ├── PipelineError              pipelines/*.toml
│   ├── DictionaryError            datasets/*/dictionary.toml and rules.toml
│   └── MappingError               NAME.mapping.toml beside a table
├── DataError                      a table is not what the dictionary says
│   ├── UnreadableFile
│   ├── UnknownColumn
│   ├── MissingColumn
│   ├── UnknownLevel               a category outside the dictionary
│   ├── OutOfRange                 a value outside the public bounds
│   ├── EmptySite                  too few patients at one site
│   └── TooFewSites
├── PrivacyError                   fails closed: nothing has left the site
│   ├── BudgetRefused              a charge would exceed the site's limit or its plan
│   ├── BudgetTooSmall             the budget buys less than one useful step
│   ├── UnsupportedEvent           a mechanism the accountant cannot defend
│   └── LedgerBroken               the ledger's chain or file was altered
├── SecAggError                    the secure sum was refused (subclasses in synthfed.secagg)
├── TrainingError                  training cannot go on (a NaN, an impossible shape)
├── FederationError                a message or a site failed
│   ├── SiteRefused                a site said no, by its policy or its checks
│   ├── SiteBroken                 a site's app failed
│   └── DeadlineMissed
├── ModelError                     a saved model cannot be read
└── DossierError                   a release folder is incomplete or altered
```

Every message names the thing, what was found, what was wanted and the next step. It never holds a patient's value.
"""


class SynthfedError(Exception):
    """Base of all errors that synthfed raises on purpose."""


class ConfigError(SynthfedError):
    """A configuration file or option cannot be used."""


class PipelineError(ConfigError):
    """A pipeline names an unknown key, a value outside its range, or contradicts itself."""


class DictionaryError(ConfigError):
    """A data dictionary or a rule file contradicts itself."""


class MappingError(ConfigError):
    """A mapping file names an unknown key or column, or contradicts itself or the dictionary."""


class DataError(SynthfedError):
    """A table does not fit its dictionary."""


class UnreadableFile(DataError):
    """A file cannot be read as a table."""


class UnknownColumn(DataError):
    """A table has a column that the dictionary does not know."""


class MissingColumn(DataError):
    """A table lacks a column that the pipeline needs."""


class UnknownLevel(DataError):
    """A category outside the dictionary's levels."""


class OutOfRange(DataError):
    """A number outside the dictionary's public bounds."""


class EmptySite(DataError):
    """A site has fewer patients than the pipeline needs."""


class TooFewSites(DataError):
    """Fewer sites than secure aggregation needs."""


class PrivacyError(SynthfedError):
    """A privacy guarantee cannot be kept, so nothing was sent."""


class BudgetRefused(PrivacyError):
    """A charge would exceed the site's limit or was never planned."""


class BudgetTooSmall(PrivacyError):
    """The budget buys less than one useful training step."""


class UnsupportedEvent(PrivacyError):
    """An event for which the accountant has no proof."""


class LedgerBroken(PrivacyError):
    """The ledger was altered, truncated or restored from an old copy."""


class SecAggError(SynthfedError):
    """A secure sum was refused; see the subclasses in `synthfed.secagg`."""


class TrainingError(SynthfedError):
    """Training cannot go on."""


class FederationError(SynthfedError):
    """A message or a site failed."""


class SiteRefused(FederationError):
    """A site refused a request by its policy or its own checks."""


class SiteBroken(FederationError):
    """A site's app failed; its own log says why."""


class DeadlineMissed(FederationError):
    """A site did not answer in time."""


class ModelError(SynthfedError):
    """A saved model cannot be read."""


class DossierError(SynthfedError):
    """A dossier is incomplete or was altered."""
