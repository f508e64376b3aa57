"""Which generator serves a pipeline best? All kinds on the same patients, split, budget and scores.

`kinds` names what can be compared; `running` trains and scores cell by cell; `keeping` holds on to what is finished;
`cost` says what it costs real patients before any is touched; `comparison` holds the scores and says who wins, who ties
and who failed; `pages` and `picture` show it.
"""

from synthfed.run.comparing.comparison import Cell, Comparison, Measure, Score
from synthfed.run.comparing.cost import Cost, cost_of_comparison
from synthfed.run.comparing.kinds import DEFAULT_KINDS, KINDS
from synthfed.run.comparing.running import compare

__all__ = [
    "DEFAULT_KINDS",
    "KINDS",
    "Cell",
    "Comparison",
    "Cost",
    "Measure",
    "Score",
    "compare",
    "cost_of_comparison",
]
