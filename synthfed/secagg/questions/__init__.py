"""What can be asked of all sites' tables together, and which counts and sums answer it.

A question has public bounds, edges or levels; they come from a dictionary, never from the data, so no minimum, maximum
or list of keys leaks. Values outside are clipped and counted. Each question says how many cells of the vector it needs
next, how a site fills them from its own rows, and what the sums over all sites mean. All of this follows from the
public sums of the rounds before (`known`), so every party computes the same, and nothing else is remembered.

A site's table is one array per column: numbers as float64 with NaN for missing, levels as integer codes with -1 for
missing. One row is one record; a patient at two sites counts twice.

What the answers reveal is what they say: exact sums, over all sites, are as sensitive as their sizes are small. Noise
is the caller's: `parts` bounds what one record adds, in the units of the cells. `Moments`, `Covariance` and `Quantiles`
take several rounds, each of which rests on the exact sums of the one before; their `noisy` forms take one.

Files: `question` (what all have in common), `sums`, `counts`, `covariance`, `quantiles` (by search), `binned`
(quantiles under noise), `among` (conditions), `codec` (plain values).
"""

from synthfed.secagg.questions.among import Among, Condition, Every, Is, Not, Present, Some, Within
from synthfed.secagg.questions.binned import BinnedQuantiles, QuantilesAnswer
from synthfed.secagg.questions.counts import (
    Contingency,
    ContingencyAnswer,
    Frequency,
    FrequencyAnswer,
    Histogram,
    HistogramAnswer,
)
from synthfed.secagg.questions.covariance import Covariance, CovarianceAnswer, RawCovariance
from synthfed.secagg.questions.quantiles import Quantiles
from synthfed.secagg.questions.question import Bounds, Known, Part, Question, Table, describe_all
from synthfed.secagg.questions.sums import (
    Count,
    CountAnswer,
    Moments,
    MomentsAnswer,
    RawMoments,
    RawMomentsAnswer,
    RawSum,
    RawSumAnswer,
    Sum,
    SumAnswer,
)

__all__ = [
    "Among",
    "BinnedQuantiles",
    "Bounds",
    "Condition",
    "Contingency",
    "ContingencyAnswer",
    "Count",
    "CountAnswer",
    "Covariance",
    "CovarianceAnswer",
    "Every",
    "Frequency",
    "FrequencyAnswer",
    "Histogram",
    "HistogramAnswer",
    "Is",
    "Known",
    "Moments",
    "MomentsAnswer",
    "Not",
    "Part",
    "Present",
    "Quantiles",
    "QuantilesAnswer",
    "Question",
    "RawCovariance",
    "RawMoments",
    "RawMomentsAnswer",
    "RawSum",
    "RawSumAnswer",
    "Some",
    "Sum",
    "SumAnswer",
    "Table",
    "Within",
    "describe_all",
]
