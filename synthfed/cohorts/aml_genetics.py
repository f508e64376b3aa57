"""Genetics of simulated adults with acute myeloid leukaemia: karyotype and genes given the class, labels given both."""

from typing import Any

import numpy as np
from scipy.special import expit

from synthfed.cohorts.drawing import Mask, Values, chance, intercept_for, pick
from synthfed.tables.conditions import Grid
from synthfed.tables.eln import MR_GENES
from synthfed.tables.schema import Schema

CLASSES = ("npm1", "chromatin", "aneuploidy", "other", "cbf", "kmt2a", "apl")
LESIONS = ("minus5_5q", "mono7", "del7q", "plus8_8q", "mono17_17p_abn17p", "monosomal_karyotype")
_FIXED_GENES = ("TP53",)  # decided together with the karyotype in class aneuploidy


def draw_karyotype(
    drawn: Grid, kind: Any, rng: np.random.Generator, prior: dict[str, Any], schema: Schema, normal_share: Values
) -> None:
    """Fusion, aneuploidies and TP53; the class is given as positions in `CLASSES`."""
    facts = prior["karyotype"]
    rows = len(kind)
    fusions = schema["class_fusion"].levels
    level = {name: i for i, name in enumerate(CLASSES)}
    named = {name: float(i) for i, name in enumerate(fusions)}
    normal = chance(normal_share, rows, rng)
    aneuploid = kind == level["aneuploidy"]
    open_share = 1.0 - prior["class"]["aneuploidy"]["normal_karyotype"]
    complex_ = aneuploid & ~normal & chance(facts["complex_of_aneuploidy"] / open_share, rows, rng)
    with_tp53 = complex_ & chance(facts["tp53_of_complex"], rows, rng)
    leading = list(facts["leading"])
    lead = pick(np.broadcast_to(np.array(list(facts["leading"].values())), (rows, len(leading))), rng)
    alone = aneuploid & ~complex_
    lead = np.where(alone & normal, leading.index("TP53"), lead)

    def leads(name: str) -> Mask:
        return np.asarray(alone & (lead == leading.index(name)))

    fusion = np.full(rows, named["none"])
    fusion[kind == level["apl"]] = named["t_15_17"]
    cbf, kmt2a = kind == level["cbf"], kind == level["kmt2a"]
    fusion[cbf] = np.where(chance(facts["t_8_21_of_cbf"], rows, rng)[cbf], named["t_8_21"], named["inv16_t16_16"])
    fusion[kmt2a] = np.where(chance(facts["t_9_11_of_kmt2a"], rows, rng)[kmt2a], named["t_9_11"], named["kmt2a_other"])
    fusion[leads("inv3_t3_3")] = named["inv3_t3_3"]
    fusion[leads("other_adverse")] = named["other_adverse"]
    drawn["class_fusion"] = fusion
    open_to = ~normal
    for name in LESIONS:
        share = np.zeros(rows)
        for label in CLASSES:
            if label != "aneuploidy":
                percent = facts[label].get(name, 0.0) / 100.0
                share[kind == level[label]] = percent / max(1.0 - prior["class"][label]["normal_karyotype"], percent)
        share = np.where(with_tp53, facts["complex_tp53"].get(name, 0.0), share)
        share = np.where(complex_ & ~with_tp53, facts["complex_other"].get(name, 0.0), share)
        share = np.where(alone, facts["not_complex"].get(name, 0.0), share)
        found = open_to & chance(share, rows, rng)
        drawn[name] = (found | leads(name) if name in leading else found).astype(float)
    apart = chance(facts["npm1"]["complex_karyotype"] / 100 / 0.127, rows, rng)
    drawn["complex_karyotype"] = (complex_ | ((kind == level["npm1"]) & ~normal & apart)).astype(float)
    drawn["monosomal_karyotype"][cbf] = 0.0
    drawn["normal_karyotype"] = normal.astype(float)
    drawn["karyotype_known"] = np.ones(rows)
    tp53_alone = alone & (leads("TP53") | chance(facts["not_complex"]["TP53"], rows, rng))
    drawn["TP53"] = (with_tp53 | tp53_alone).astype(float)


def draw_genes(
    drawn: Grid, kind: Any, rng: np.random.Generator, prior: dict[str, Any], intercepts: dict[str, Values] | None
) -> dict[str, Values]:
    """The panel, gene by gene; solves each gene's odds when `intercepts` is None, and returns them."""
    rows = len(kind)
    decade = (drawn["age_years"] - 60.0) / 10.0
    percent = {name: shares for name, shares in prior["genes"].items() if name != "classes"}
    aneuploid = kind == CLASSES.index("aneuploidy")
    solved: dict[str, Values] = {}
    for gene, shares in percent.items():
        log_odds = prior["age_coupling"].get(gene, 0.0) * decade
        for partner, size in prior["coupling"].get(gene, {}).items():
            log_odds = log_odds + size * drawn[partner]
        if intercepts is None:
            solved[gene] = np.array([intercept_for(shares[c] / 100, log_odds[kind == c]) for c in range(len(CLASSES))])
        else:
            solved[gene] = intercepts[gene]
        found = chance(expit(log_odds + solved[gene][kind]), rows, rng).astype(float)
        drawn[gene] = np.where(aneuploid, drawn[gene], found) if gene in _FIXED_GENES else found
    chromatin = kind == CLASSES.index("chromatin")
    bare = chromatin & (np.sum([drawn[gene] for gene in MR_GENES], axis=0) == 0)
    weights = np.array([percent[gene][CLASSES.index("chromatin")] for gene in MR_GENES], dtype=float)
    forced = pick(np.broadcast_to(weights, (rows, len(weights))), rng)
    for i, gene in enumerate(MR_GENES):
        drawn[gene] = np.where(bare & (forced == i), 1.0, drawn[gene])
    drawn["IDH2"] = np.maximum(drawn["IDH2_R140"], drawn.pop("IDH2_other"))
    return solved


def further_lesions(
    drawn: Grid, rng: np.random.Generator, prior: dict[str, Any], bases: dict[str, float] | None
) -> dict[str, float]:
    """Lesions that few carry, only outside a normal karyotype; solves their bases when None, and returns them."""
    facts = prior["further_lesions"]
    rows = len(drawn["sex"])
    open_ = drawn["normal_karyotype"] == 0
    solved = {}
    for name, percent in facts["percent"].items():
        weight = 1.0 + facts["complex"].get(name, 0.0) * drawn["complex_karyotype"]
        for level, more in facts["fusion"].get(name, {}).items():
            weight = weight + more * (drawn["class_fusion"] == facts["levels"].index(level))
        if name == "mono_y":
            weight = weight * (drawn["sex"] == 0)
        weight = weight * open_
        solved[name] = percent / 100 / float(weight.mean()) if bases is None else bases[name]
        drawn[name] = chance(np.minimum(solved[name] * weight, 0.9), rows, rng).astype(float)
    return solved


def further_genes(drawn: Grid, kind: Any, rng: np.random.Generator, prior: dict[str, Any]) -> None:
    """Genes that few carry, and those that say more about IDH2, TP53 and CEBPA."""
    facts = prior["further_genes"]
    rows = len(kind)
    other = (drawn["IDH2"] == 1) & (drawn["IDH2_R140"] == 0)
    drawn["IDH2_R172"] = (other & chance(facts["r172_of_other_idh2"], rows, rng)).astype(float)
    drawn["TP53_vaf10"] = np.where(chance(facts["vaf10_of_tp53"], rows, rng), drawn["TP53"], 0.0)
    bi, mono = (drawn["CEBPA"] == facts["cebpa_levels"].index(level) for level in ("bi", "mono"))
    in_frame = np.where(bi, facts["bzip_of_bi"], np.where(mono, facts["bzip_of_mono"], 0.0))
    drawn["CEBPA_bzip"] = chance(in_frame, rows, rng).astype(float)
    for gene, percent in facts["percent"].items():
        share = np.full(rows, percent / 100)
        for label, more in facts["class_percent"].get(gene, {}).items():
            share = np.where(kind == CLASSES.index(label), more / 100, share)
        for partner, more in facts["with"].get(gene, {}).items():
            carries = bi if partner == "CEBPA_bi" else drawn[partner] == 1
            share = np.where(carries, more / 100, share)
        drawn[gene] = chance(share, rows, rng).astype(float)


def draw_labels(drawn: Grid, kind: Any, rng: np.random.Generator, prior: dict[str, Any], schema: Schema) -> None:
    """The WHO 2016 class by its own order, and the FAB class as a morphologist would have called it."""
    rows = len(kind)
    who, fab = ({name: float(i) for i, name in enumerate(schema[column].levels)} for column in ("who_2016", "fab"))
    fusion = {name: float(i) for i, name in enumerate(schema["class_fusion"].levels)}
    types = {name: float(i) for i, name in enumerate(schema["aml_type"].levels)}

    def has(name: str) -> Mask:
        return np.asarray(drawn["class_fusion"] == fusion[name])

    changed = np.any([drawn[name] == 1 for name in (*LESIONS[:3], LESIONS[4], LESIONS[5], "complex_karyotype")], axis=0)
    after = (drawn["aml_type"] == types["secondary"]) | (drawn["prior_mds"] == 1)
    related = (changed | after) & (drawn["NPM1"] == 0)
    drawn["who_2016"] = np.select(
        [
            has("t_15_17"),
            drawn["aml_type"] == types["therapy_related"],
            has("t_8_21"),
            has("inv16_t16_16"),
            has("t_9_11"),
            has("inv3_t3_3"),
            related,
            drawn["NPM1"] == 1,
            drawn["CEBPA"] == schema["CEBPA"].levels.index("bi"),
            chance(prior["labels"]["sarcoma"], rows, rng),
        ],
        [
            who[name]
            for name in (
                "pml_rara", "therapy_related", "runx1_runx1t1", "cbfb_myh11", "mllt3_kmt2a", "mecom", "mrc", "npm1",
                "cebpa", "myeloid_sarcoma",
            )
        ],
        who["nos"],
    )  # fmt: skip
    odds = np.array([prior["labels"]["fab"][name] for name in CLASSES])[kind]
    called = pick(odds, rng)
    usual = [name for name in schema["fab"].levels if name != "M3"]
    drawn["fab"] = np.where(has("t_15_17"), fab["M3"], np.array([fab[name] for name in usual])[called])
