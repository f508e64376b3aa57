"""`Synthesizer`: fit, sample, evaluate, save, load, in the habits of SDV, with a privacy budget.

cohort = sf.load_cohort("aml", sites=4, seed=7)
synth = sf.Synthesizer("aml", privacy__epsilon=3.0).fit(cohort)
table = synth.sample(num_rows=2000, seed=1)
print(synth.evaluate(table, cohort.holdout))
synth.privacy                      # epsilon, delta, unit, events per site
synth.save("aml.synthfed")
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from synthfed.errors import ModelError
from synthfed.pipeline import Pipeline
from synthfed.run.drawing import DrawProgress, draw_table, score_table
from synthfed.run.progress import Progress
from synthfed.run.selection import draw_selected
from synthfed.run.training import Trained, restored, saved_model, train, train_one_site

if TYPE_CHECKING:
    from synthfed.cohorts.sites import Cohort
    from synthfed.evaluation.scorecard import Scorecard
    from synthfed.tables.rules import RuleSet
    from synthfed.tables.schema import Schema


@dataclass(frozen=True, slots=True)
class Privacy:
    """What one patient spent in this fit.

    Attributes:
        epsilon: `None` when there is no formal guarantee; `ledger["guarantee"]` says why.
        ledger: The full release ledger, as in `ledger.json`.
    """

    epsilon: float | None
    delta: float
    unit: str
    adjacency: str
    ledger: Mapping[str, Any]


class Synthesizer:
    """A generator of one disease's patients, trained under differential privacy.

    Args:
        pipeline: A shipped name (`"aml"`), a path, or a `Pipeline`.
        changes: Settings as `section__key=value`, e.g. `privacy__epsilon=3.0`.

    Raises:
        PipelineError: An unknown key or a value out of range.
    """

    def __init__(self, pipeline: str | Path | Pipeline = "aml", **changes: Any) -> None:
        loaded = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
        self.pipeline = loaded.replace(**changes) if changes else loaded
        self._trained: Trained | None = None
        self._train_rows: pd.DataFrame | None = None

    def fit(self, data: "Cohort | pd.DataFrame", *, progress: Progress | None = None) -> Self:
        """Train on a cohort of three or more sites, or on one table.

        A table is one site: it is trained under the same privacy, but nothing is aggregated, so whoever runs it sees
        its rows anyway. All rows of a table are trained on: keep a hold-out aside yourself.

        Raises:
            TooFewSites, EmptySite, DataError: The data do not fit the pipeline.
            BudgetTooSmall: The budget buys less than one useful step.
        """
        from synthfed.cohorts.sites import read_cohort

        if isinstance(data, pd.DataFrame):
            data = read_cohort(
                data,
                dictionary=self.pipeline.disease,
                columns=self.pipeline.cohort.columns,
                seed=self.pipeline.seed,
                holdout_fraction=0.0,
                on_violation=self.pipeline.cohort.on_violation,
            )
        data = data.select(self.pipeline.cohort.columns)
        if len(data.sites) == 1:
            self._trained = train_one_site(self.pipeline, data)
        else:
            with tempfile.TemporaryDirectory(prefix="synthfed-") as work:
                self._trained = train(self.pipeline, data, work=Path(work), progress=progress)
        self._train_rows = data.train
        return self

    def sample(
        self,
        num_rows: int | None = None,
        *,
        seed: int | None = None,
        where: str | None = None,
        balance: str | None = None,
        progress: DrawProgress | None = None,
    ) -> pd.DataFrame:
        """Draw synthetic patients that obey the dictionary and every hard rule.

        It reads the released model only, so it costs no privacy, however often and under whatever condition.

        Example: `synth.sample(500, where="eln2022 == 'adverse' and age_years >= 60", balance="sex")`

        Args:
            num_rows: How many; `release.rows` of the pipeline by default.
            seed: The same seed gives the same table; `release.seed` by default.
            where: Keep only patients who fulfil a condition (`tables.where` says how to write one).
            balance: A column with levels, each of which gets equally many rows.
            progress: Told (rows kept, patients drawn) now and then while many are drawn.

        Raises:
            ModelError: Nothing was fitted or loaded yet.
            ConditionError: `where` or `balance` does not fit the model's columns.
            TooRare: Such patients hardly ever come out of the model; the message says how often.
        """
        release = self.pipeline.release
        rows = release.rows if num_rows is None else num_rows
        seed = release.seed if seed is None else seed
        if where is None and balance is None:
            return draw_table(self.trained, self.rules, rows=rows, seed=seed, progress=progress)
        return draw_selected(
            self.trained, self.rules, rows=rows, seed=seed, where=where, balance=balance, progress=progress
        )

    def evaluate(self, table: pd.DataFrame, holdout: pd.DataFrame | None = None) -> "Scorecard":
        """Score `table` against held-out patients and, after `fit`, against the training rows.

        The result holds numbers computed from `holdout` and the training rows outside the privacy budget: it stays
        with whoever may see those rows.
        """
        rows = self._train_rows if holdout is not None else None
        return score_table(self.trained, table, self.rules, train=rows, holdout=holdout)

    @property
    def privacy(self) -> Privacy:
        """What the fit cost one patient."""
        ledger = self.trained.ledger
        spent = ledger["populations"]["train"]
        return Privacy(spent["epsilon"], spent["delta"], ledger["unit"], ledger["adjacency"], ledger)

    def save(self, path: str | Path) -> None:
        """Write the released model: safetensors and JSON in a zip, no pickle, no patient's row."""
        from synthfed.generators.model_file import save_model

        save_model(path, saved_model(self.trained))

    @classmethod
    def load(cls, path: str | Path) -> "Synthesizer":
        """Read a model written by `save` or found in a dossier.

        Raises:
            ModelError: The file is missing, damaged, or of another version.
        """
        from synthfed.generators.model_file import load_model

        trained = restored(load_model(path), origin=f"model {path}")
        synth = cls(trained.pipeline)
        synth._trained = trained
        return synth

    @property
    def trained(self) -> Trained:
        """The released model and its ledger.

        Raises:
            ModelError: Nothing was fitted or loaded yet.
        """
        if self._trained is None:
            raise ModelError("this Synthesizer has learned nothing yet; call fit(cohort) or Synthesizer.load(path)")
        return self._trained

    @property
    def schema(self) -> "Schema":
        """The columns of every table this synthesizer draws."""
        return self.trained.schema

    @property
    def rules(self) -> "RuleSet":
        """The rules that bind those columns."""
        from synthfed.tables.dictionary import load_dictionary
        from synthfed.tables.rules import RuleSet

        dictionary = load_dictionary(self.pipeline.disease)
        return RuleSet.load(dictionary.folder, dictionary.schema).restrict(self.schema.names)

    def read_table(self, path: str | Path) -> pd.DataFrame:
        """Read a table of these columns from a file, typed and checked against the dictionary.

        Raises:
            DataError: The file cannot be read, or does not fit the dictionary.
        """
        from synthfed.tables.dictionary import load_dictionary
        from synthfed.tables.handover import read_handover
        from synthfed.tables.reading import type_table

        dictionary = load_dictionary(self.pipeline.disease)
        texts, _ = read_handover(Path(path), dictionary)
        typed, _ = type_table(texts, dictionary, self.schema.names, origin=str(path))
        return self.schema.cast(self.rules.derive(typed))
