"""Risk groups of acute myeloid leukaemia by the European LeukemiaNet 2022, derived from a patient's genetics.

Source: Doehner et al., Blood 2022;140:1345, table 6 (doi:10.1182/blood.2022016867). The first line that applies:

0. t(15;17): `apl`, a group of its own outside the table.
1. t(8;21), inv(16)/t(16;16): favorable.
2. inv(3)/t(3;3), other KMT2A fusion, t(6;9), t(9;22), t(8;16), -5/del(5q), -7, -17/abn(17p), complex or monosomal
   karyotype, mutated TP53: adverse.
3. Biallelic CEBPA (stands for bZIP in-frame): favorable.      4. NPM1 without FLT3-ITD: favorable.
5. NPM1 with FLT3-ITD: intermediate, see the option below.     6. t(9;11): intermediate.
7. A myelodysplasia-related gene mutated: adverse.             8. Otherwise intermediate.

An unknown karyotype that lines 0-2 do not decide, or an unknown gene panel that lines 0-6 do not decide, is missing.

Option `mr_gene_with_npm1_itd`: the table puts NPM1 with FLT3-ITD into `intermediate`, but its footnote exempts only
favorable subtypes from the rule on myelodysplasia-related genes; `"adverse"` follows that reading.
"""

from typing import Literal

import numpy as np

from synthfed.tables.conditions import Grid, Mask, Values
from synthfed.tables.schema import Schema

MR_GENES = ("ASXL1", "BCOR", "EZH2", "RUNX1", "SF3B1", "SRSF2", "STAG2", "U2AF1", "ZRSR2")
ADVERSE_LESIONS = ("minus5_5q", "mono7", "mono17_17p_abn17p", "complex_karyotype", "monosomal_karyotype")
NEEDED = ("class_fusion", "karyotype_known", "NPM1", "FLT3_ITD")
OPTIONAL = (*ADVERSE_LESIONS, "TP53", "TP53_vaf10", "CEBPA", *MR_GENES)

MrGeneReading = Literal["intermediate", "adverse"]


def eln2022(grid: Grid, schema: Schema, *, mr_gene_with_npm1_itd: MrGeneReading = "intermediate") -> Values:
    """The risk group of every row as a position in the levels of `eln2022`, NaN where it is missing.

    Columns of `OPTIONAL` that the table does not have count as not mutated.
    """
    rows = len(grid["NPM1"])
    nobody = np.zeros(rows, dtype=bool)

    def is_level(column: str, *levels: str) -> Mask:
        if column not in grid:
            return nobody
        codes = [float(schema[column].levels.index(level)) for level in levels if level in schema[column].levels]
        return np.isin(grid[column], codes)

    def fusion(*levels: str) -> Mask:
        return is_level("class_fusion", *levels)

    tp53 = is_level("TP53_vaf10" if "TP53_vaf10" in grid else "TP53", "1")
    lesion = nobody.copy()
    for name in ADVERSE_LESIONS:
        lesion |= is_level(name, "1")
    mr_gene, mr_unknown = nobody.copy(), nobody.copy()
    for name in MR_GENES:
        if name in grid:
            mr_gene |= is_level(name, "1")
            mr_unknown |= np.isnan(grid[name])
    npm1, npm1_unknown = is_level("NPM1", "1"), np.isnan(grid["NPM1"])
    itd, itd_unknown = is_level("FLT3_ITD", "1"), np.isnan(grid["FLT3_ITD"])
    unread = ~is_level("karyotype_known", "1")
    both = npm1 & itd
    both_adverse = both & mr_gene if mr_gene_with_npm1_itd == "adverse" else nobody
    group = {name: float(i) for i, name in enumerate(schema["eln2022"].levels)}
    missing = np.nan
    return np.select(
        [
            fusion("t_15_17"),
            fusion("t_8_21", "inv16_t16_16"),
            fusion("inv3_t3_3", "kmt2a_other", "other_adverse") | lesion | tp53,
            unread,
            is_level("CEBPA", "bi"),
            npm1 & ~itd & ~itd_unknown,
            both_adverse,
            both,
            npm1_unknown | (npm1 & itd_unknown),
            fusion("t_9_11"),
            mr_gene,
            mr_unknown,
        ],
        [
            group["apl"],
            group["favorable"],
            group["adverse"],
            missing,
            group["favorable"],
            group["favorable"],
            group["adverse"],
            group["intermediate"],
            missing,
            group["intermediate"],
            group["adverse"],
            missing,
        ],
        default=group["intermediate"],
    )
