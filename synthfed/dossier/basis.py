"""What the numbers of a dossier rest on: its pipeline, its dictionary and rules, its table."""

import io
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthfed.dossier.findings import Finding
from synthfed.errors import SynthfedError

if TYPE_CHECKING:
    import pandas as pd

    from synthfed.pipeline import Pipeline
    from synthfed.tables.rules import RuleSet
    from synthfed.tables.schema import Schema

TABLE = "synthetic.csv"


@dataclass(frozen=True, slots=True)
class Basis:
    """Pipeline, columns and rules, as the dossier's own files state them.

    Attributes:
        schema: The dictionary's columns that the pipeline uses.
        rules: The rules on these columns.
        table: The synthetic table as texts, nothing typed or mended.
    """

    pipeline: "Pipeline"
    schema: "Schema"
    rules: "RuleSet"
    table: "pd.DataFrame"


def read_basis(files: Mapping[str, bytes]) -> Basis | Finding:
    """Read the dossier's own pipeline, dictionary, rules and table; nothing installed is looked at."""
    from synthfed.pipeline import Pipeline
    from synthfed.tables.dictionary import parse_dictionary
    from synthfed.tables.rules import RuleSet

    name = "pipeline.toml"
    try:
        pipeline = Pipeline.parse(_toml(files[name]), origin=name)
        name = "dictionary.toml"
        known = parse_dictionary(files[name].decode(), folder=Path(), origin=name)
        schema = known.schema.select(pipeline.cohort.columns)
        name = "rules.toml"
        rules = RuleSet.parse(_toml(files[name]), known.schema, origin=name).restrict(schema.names)
        name = TABLE
        return Basis(pipeline, schema, rules, _texts(files[name]))
    except KeyError:
        return Finding("missing" if name not in files else "table", name, "cannot be used: it is missing or incomplete")
    except (SynthfedError, ValueError, TypeError, RecursionError) as error:
        return Finding("table", name, f"cannot be used: {error}")


def _toml(content: bytes) -> dict[str, Any]:
    return tomllib.loads(content.decode())


def _texts(content: bytes) -> "pd.DataFrame":
    """Every cell as it is written; only an empty one is missing."""
    import pandas as pd

    return pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, na_values=[""], index_col=False)
