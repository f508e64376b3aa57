"""Which formats a synthetic table can be written in, and what each of them cannot express.

A format is one module with a `Writer` and a `Losses`, and one line in `formats`. Writers are pure: the same table and
dictionary give the same bytes. They write synthetic patients only and say so wherever the format has a place for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd

from synthfed.tables.dictionary import Dictionary
from synthfed.tables.formats import fhir, flat, omop, redcap, synthema

Writer = Callable[[pd.DataFrame, Dictionary], Mapping[str, bytes]]
"""A typed table and its dictionary to file contents by relative name; `/` makes folders."""

Losses = Callable[[pd.DataFrame, Dictionary], tuple[str, ...]]
"""What reading the files back would not give, one sentence each; empty where nothing is lost."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a synthetic table.

    Attributes:
        title: What it is, in a few words for `--help`.
        write: The files.
        losses: What they cannot say.
        is_read: Whether `synthfed check --data` reads the folder that holds them.
    """

    title: str
    write: Writer
    losses: Losses
    is_read: bool = True


def formats() -> Mapping[str, Format]:
    """Every format that is written, by the name that `synthfed export --format` takes."""
    return {
        "csv": Format("one CSV file with its dictionary", flat.write_csv, flat.no_losses),
        "parquet": Format("one Parquet file with its dictionary; keeps types", flat.write_parquet, flat.no_losses),
        "xlsx": Format("one workbook with the dictionary on a second sheet", flat.write_xlsx, flat.no_losses),
        "omop": Format("OMOP common data model 5.4, one CSV file per table", omop.write_omop, omop.omop_losses),
        "fhir": Format("one FHIR R4 bundle", fhir.write_bundle, fhir.fhir_losses),
        "fhir-ndjson": Format("FHIR R4 as NDJSON, one file per kind", fhir.write_ndjson, fhir.fhir_losses),
        "redcap": Format("a REDCap data dictionary and import", redcap.write_redcap, redcap.redcap_losses),
        "synthema": Format("the AML table of the SYNTHEMA registry", synthema.write_synthema, synthema.synthema_losses),
        "synthema-semicolon": Format(
            "the same, separated by semicolons",
            partial(synthema.write_synthema, delimiter=";"),
            synthema.synthema_losses,
        ),
        "synthema-complete": Format(
            "the same, without patients that have an empty whole-number cell",
            partial(synthema.write_synthema, complete=True),
            partial(synthema.synthema_losses, complete=True),
        ),
    }


def writers() -> Mapping[str, Writer]:
    """The writer of each format, by name."""
    return {name: one.write for name, one in formats().items()}
