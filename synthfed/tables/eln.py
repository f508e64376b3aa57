"""Risk groups of acute myeloid leukaemia by the European LeukemiaNet, derived from a patient's genetics.

ELN 2022: Doehner et al., Blood 2022;140:1345, table 6 (doi:10.1182/blood.2022016867). The first line that applies:

0. t(15;17): `apl`, a group of its own outside the table.
1. t(8;21), inv(16)/t(16;16): favorable.
2. inv(3)/t(3;3), other KMT2A fusion, t(6;9), t(9;22), t(8;16), -5/del(5q), -7, -17/abn(17p), complex or monosomal
   karyotype, mutated TP53: adverse.
3. CEBPA in-frame in bZIP, see the options: favorable.         4. NPM1 without FLT3-ITD: favorable.
5. NPM1 with FLT3-ITD: intermediate, see the options.          6. t(9;11): intermediate.
7. A myelodysplasia-related gene mutated: adverse.             8. Otherwise intermediate.

An unknown karyotype that lines 0-2 do not decide, or an unknown gene panel that lines 0-6 do not decide, is missing.

ELN 2017: Doehner et al., Blood 2017;129:424, table 5 (doi:10.1182/blood-2016-08-733196). Lines 0-3 as above, with
biallelic CEBPA; then the allelic ratio counts, high from 0.5 on:

4. NPM1 without FLT3-ITD or with a low ratio: favorable.       5. NPM1 with a high ratio: intermediate.
6. t(9;11): intermediate.                                      7. FLT3-ITD with a high ratio, or RUNX1, ASXL1: adverse.
8. Otherwise intermediate.

Both tables leave questions open. `ElnReading` holds the answers.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthfed.tables.conditions import Grid, Mask, Values
from synthfed.tables.schema import Schema

MR_GENES = ("ASXL1", "BCOR", "EZH2", "RUNX1", "SF3B1", "SRSF2", "STAG2", "U2AF1", "ZRSR2")
MR_GENES_2017 = ("ASXL1", "RUNX1")
ADVERSE_LESIONS = ("minus5_5q", "mono7", "mono17_17p_abn17p", "complex_karyotype", "monosomal_karyotype")
HIGH_RATIO = 0.5  # ELN 2017, table 5, footnote on the allelic ratio

ELN2022_NEEDED = ("class_fusion", "karyotype_known", "NPM1", "FLT3_ITD")
ELN2022_OPTIONAL = (*ADVERSE_LESIONS, "TP53", "TP53_vaf10", "CEBPA", "CEBPA_bzip", *MR_GENES)
ELN2017_NEEDED = (*ELN2022_NEEDED, "FLT3_ITD_allelic_ratio")
ELN2017_OPTIONAL = (*ADVERSE_LESIONS, "TP53", "CEBPA", *MR_GENES_2017)


@dataclass(frozen=True, slots=True)
class ElnReading:
    """How to read what the tables leave open.

    Attributes:
        mr_gene_with_npm1_itd: ELN 2022 puts NPM1 with FLT3-ITD into `intermediate`, but its footnote exempts only
            favorable subtypes from the line on myelodysplasia-related genes; `adverse` follows the footnote.
        cebpa_proxy: What stands for an in-frame mutation in CEBPA's bZIP: `biallelic` CEBPA, or the column
            `CEBPA_bzip` where a hospital has it.
        itd_without_ratio: What ELN 2017 makes of FLT3-ITD whose allelic ratio is not known.
    """

    mr_gene_with_npm1_itd: Literal["intermediate", "adverse"] = "intermediate"
    cebpa_proxy: Literal["biallelic", "bzip"] = "biallelic"
    itd_without_ratio: Literal["missing", "low", "high"] = "missing"


DEFAULT_READING = ElnReading()


def eln2022(grid: Grid, schema: Schema, *, reading: ElnReading = DEFAULT_READING) -> Values:
    """The ELN 2022 group of every row as a position in the levels of `eln2022`, NaN where it is missing.

    Columns of `ELN2022_OPTIONAL` that the table does not have count as not mutated.
    """
    found = _Findings(grid, schema)
    mr_gene, mr_unknown = found.any_of(MR_GENES)
    tp53 = found.is_level("TP53_vaf10" if "TP53_vaf10" in grid else "TP53", "1")
    cebpa = found.is_level("CEBPA", "bi") if reading.cebpa_proxy == "biallelic" else found.is_level("CEBPA_bzip", "1")
    strict = mr_gene if reading.mr_gene_with_npm1_itd == "adverse" else found.nobody
    return found.first_of(
        "eln2022",
        *found.cytogenetic_lines(tp53),
        (cebpa, "favorable"),
        (found.npm1 & found.no_itd, "favorable"),
        (found.npm1 & found.itd & strict, "adverse"),
        (found.npm1 & found.itd, "intermediate"),
        (found.npm1_unknown | (found.npm1 & found.itd_unknown), None),
        (found.fusion("t_9_11"), "intermediate"),
        (mr_gene, "adverse"),
        (mr_unknown, None),
    )


def eln2017(grid: Grid, schema: Schema, *, reading: ElnReading = DEFAULT_READING) -> Values:
    """The ELN 2017 group of every row as a position in the levels of `eln2017`, NaN where it is missing.

    Columns of `ELN2017_OPTIONAL` that the table does not have count as not mutated.
    """
    found = _Findings(grid, schema)
    gene, gene_unknown = found.any_of(MR_GENES_2017)
    ratio = grid["FLT3_ITD_allelic_ratio"]
    assumed = {"missing": np.nan, "low": 0.0, "high": np.inf}[reading.itd_without_ratio]
    ratio = np.where(np.isnan(ratio), assumed, ratio)
    high, low = found.itd & (ratio >= HIGH_RATIO), found.itd & (ratio < HIGH_RATIO)
    open_ = found.itd & np.isnan(ratio)
    strict = gene if reading.mr_gene_with_npm1_itd == "adverse" else found.nobody
    return found.first_of(
        "eln2017",
        *found.cytogenetic_lines(found.is_level("TP53", "1")),
        (found.is_level("CEBPA", "bi"), "favorable"),
        (found.npm1 & (found.no_itd | low), "favorable"),
        (found.npm1 & high & strict, "adverse"),
        (found.npm1 & high, "intermediate"),
        (found.npm1_unknown | (found.npm1 & (open_ | found.itd_unknown)), None),
        (found.fusion("t_9_11"), "intermediate"),
        (high | gene, "adverse"),
        (open_ | found.itd_unknown | gene_unknown, None),
    )


class _Findings:
    """What both tables ask of a patient's genetics."""

    def __init__(self, grid: Grid, schema: Schema) -> None:
        self._grid, self._schema = grid, schema
        self.nobody: Mask = np.zeros(len(grid["NPM1"]), dtype=bool)
        self.npm1, self.npm1_unknown = self.is_level("NPM1", "1"), np.isnan(grid["NPM1"])
        self.itd, self.itd_unknown = self.is_level("FLT3_ITD", "1"), np.isnan(grid["FLT3_ITD"])
        self.no_itd = ~self.itd & ~self.itd_unknown

    def is_level(self, column: str, *levels: str) -> Mask:
        if column not in self._grid:
            return self.nobody
        known = self._schema[column].levels
        return np.isin(self._grid[column], [float(known.index(level)) for level in levels if level in known])

    def fusion(self, *levels: str) -> Mask:
        return self.is_level("class_fusion", *levels)

    def any_of(self, genes: tuple[str, ...]) -> tuple[Mask, Mask]:
        """Rows with one of `genes` mutated, and rows where one of them is unknown."""
        mutated, unknown = self.nobody.copy(), self.nobody.copy()
        for gene in genes:
            if gene in self._grid:
                mutated |= self.is_level(gene, "1")
                unknown |= np.isnan(self._grid[gene])
        return mutated, unknown

    def cytogenetic_lines(self, tp53: Mask) -> tuple[tuple[Mask, str | None], ...]:
        """Lines 0-2, and the end of what can be said without a karyotype."""
        lesion = tp53 | self.fusion("inv3_t3_3", "kmt2a_other", "other_adverse")
        for name in ADVERSE_LESIONS:
            lesion = lesion | self.is_level(name, "1")
        return (
            (self.fusion("t_15_17"), "apl"),
            (self.fusion("t_8_21", "inv16_t16_16"), "favorable"),
            (lesion, "adverse"),
            (~self.is_level("karyotype_known", "1"), None),
        )

    def first_of(self, column: str, *lines: tuple[Mask, str | None]) -> Values:
        """The group of the first line that applies, None for missing; `intermediate` where none does."""
        levels = self._schema[column].levels
        groups = [np.nan if group is None else float(levels.index(group)) for _, group in lines]
        return np.select([mask for mask, _ in lines], groups, default=float(levels.index("intermediate")))
