"""A plausible scored release from random simulated numbers: no patient, and no score that was measured."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from synthfed.evaluation.guarantee import guarantee_metric
from synthfed.evaluation.scorecard import Metric, Scorecard
from synthfed.federation.scoring import planned_scoring
from synthfed.generators.plan import all_events, make_plan
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import Budget, PrivacyEvent
from synthfed.privacy.ledger import Ledger
from synthfed.privacy.statement import release_ledger
from synthfed.report.build import RunBlock
from synthfed.tables.schema import Column, Schema, Survival

SITES = ("lyon", "milano", "barcelona", "berlin")
NUMBERS = {
    "age_years": ("Age", "years", 18, 95),
    "wbc_10e9_l": ("White blood cells", "10⁹/L", 0.1, 500),
    "hb_g_dl": ("Haemoglobin", "g/dL", 2, 20),
    "platelets_10e9_l": ("Platelets", "10⁹/L", 1, 1500),
    "ldh_u_l": ("Lactate dehydrogenase", "U/L", 50, 10000),
    "bm_blasts_pct": ("Blasts in bone marrow", "%", 0, 100),
    "pb_blasts_pct": ("Blasts in peripheral blood", "%", 0, 100),
}
CATEGORIES = {
    "sex": ("Sex", ("male", "female")),
    "aml_type": ("Type of AML", ("de_novo", "secondary", "therapy_related", "other")),
    "class_fusion": (
        "Class-defining fusion",
        ("none", "t_15_17", "t_8_21", "inv16_t16_16", "t_9_11", "kmt2a_other", "inv3_t3_3", "other_adverse"),
    ),
    "eln2022": ("ELN 2022 risk", ("favorable", "intermediate", "adverse", "apl")),
    "induction_response": ("Response to induction", ("CR", "CRi", "refractory")),
}
FLAGS = (
    "complex_karyotype",
    "minus5_5q",
    "mono7",
    "del7q",
    "plus8_8q",
    "NPM1",
    "FLT3_ITD",
    "FLT3_TKD",
    "IDH1",
    "IDH2",
    "TP53",
    "DNMT3A",
    "TET2",
    "NRAS",
    "KRAS",
    "PTPN11",
    "RUNX1",
    "ASXL1",
    "SRSF2",
    "SF3B1",
    "U2AF1",
    "STAG2",
    "BCOR",
    "EZH2",
    "ZRSR2",
    "WT1",
)


def schema() -> Schema:
    """Forty columns of an AML table."""
    columns = [Column("patient_id", "id", missing="never")]
    for name, (label, unit, lower, upper) in NUMBERS.items():
        columns.append(Column(name, "continuous", label, unit, lower=lower, upper=upper, decimals=1))
    for name, (label, levels) in CATEGORIES.items():
        columns.append(Column(name, "category", label, levels=levels))
    for name in FLAGS:
        group = "cytogenetics" if name.islower() or name == "complex_karyotype" else "genes"
        columns.append(Column(name, "flag", name if group == "genes" else name.replace("_", " "), group=group))
    columns.append(Column("os_days", "count", "Overall survival", "days", lower=0, upper=9000, group="outcome"))
    columns.append(Column("os_event", "flag", "Death", group="outcome"))
    return Schema(
        "aml", tuple(columns), (Survival("os", "os_days", "os_event", "Overall survival", primary=True),), "AML"
    )


def pipeline(**changes: Any) -> Pipeline:
    """A small AML pipeline."""
    base = Pipeline.parse(
        {
            "title": "Acute myeloid leukaemia, adults at first diagnosis",
            "disease": "aml",
            "cohort": {"columns": ["patient_id", "age_years", "sex"]},
            "generator": {"kind": "tvae", "start": "cold"},
            "privacy": {"epsilon": 3.0, "expected_patients": 1600},
            "federation": {"rounds": 20},
        },
        origin="sample",
    )
    return base.replace(**changes)


def exports(events: tuple[PrivacyEvent, ...]) -> dict[str, dict[str, Any]]:
    """What the ledgers of four sites hold after these events, from real ledgers in memory."""
    out = {}
    for site in SITES:
        with Ledger.open(None, site=site, limit=Budget(math.inf, 1e-5)) as site_ledger:
            site_ledger.reserve("sample", events)
            for index, event in enumerate(events):
                site_ledger.charge(f"{site}:{index}", "sample", event)
            site_ledger.close("sample")
            out[site] = site_ledger.export()
    return out


def events_of(settings: Pipeline, *, shared: bool = False) -> tuple[PrivacyEvent, ...]:
    """All that a run of four sites charges; `shared`: with noise drawn in shares, of which one may be known."""
    events = all_events(make_plan(settings, sites=len(SITES)))
    if not shared:
        return events
    summed = PrivacyEvent("", "skellam", "train", 4096.0, 1.0, 1.0, 1, l1_sensitivity=8192.0, sites=4, colluders=1)
    return tuple(
        replace(summed, purpose=event.purpose, noise_multiplier=event.noise_multiplier, steps=event.steps)
        for event in events
    )


@cache
def ledger_of(settings: Pipeline, *, seeded: bool = False, shared: bool = False) -> dict[str, Any]:
    """The ledger statement of four sites after a run of this pipeline."""
    events = events_of(settings, shared=shared)
    return release_ledger(exports(events), settings, simulated=seeded, seeded=seeded, planned=events)


def ledger(*, seeded: bool = False) -> dict[str, Any]:
    """The ledger statement of four sites and twenty rounds."""
    return ledger_of(pipeline(), seeded=seeded)


@cache
def scored_ledger(*, exact: bool = False) -> dict[str, Any]:
    """The same after held-out patients were counted: with noise that they paid for, or in exact sums."""
    settings = pipeline(evaluation__release="exact-sums" if exact else "noisy")
    events = events_of(settings)
    charged = planned_scoring(settings)
    return release_ledger(
        exports(events),
        settings,
        simulated=False,
        seeded=False,
        planned=events,
        scored=exports(charged) if charged else None,
        scoring=charged,
        exact_sums=exact,
    )


def run_facts(*, simulated: bool = True, counting: tuple[str, ...] = ()) -> RunBlock:
    """What a run of twenty training rounds, after those that counted, says about itself."""
    stages = [*(f"counting {name}" for name in counting), *["training"] * 20]
    history = [
        {
            "round": index + 1,
            "stage": stage,
            "epsilon": 2.98 * math.sqrt((index + 1) / len(stages)),
            "bytes": 6_050_000,
            "update_norm": None if stage != "training" else 0.9 * math.exp(-index / 6) + 0.35 + 0.03 * math.sin(index),
            "seconds": 2.1,
        }
        for index, stage in enumerate(stages)
    ]
    return {
        "created": "2026-03-02T10:15:00Z",
        "synthfed": "0.1.0",
        "sites": {"lyon": 641, "milano": 478, "barcelona": 322, "berlin": 159},
        "simulated": simulated,
        "origin": "2000 patients simulated from published facts, four sites, seed 7" if simulated else "four hospitals",
        "rows": 2000,
        "table_sha256": "5e" * 32,
        "model_sha256": "a1" * 32,
        "seconds": 412.0,
        "bytes_up": 61_000_000,
        "bytes_down": 60_000_000,
        "rounds": len(stages),
        "words": [
            "3 sites together learn the last one's contribution. "
            "The server with up to 2 sites learns only the sum of the others.",
            "The server sees who took part, when, sizes and the sum, no single site's update. "
            "This does not prove the data honest.",
        ],
        "history": history,
    }


def scorecard(
    *, real: bool = True, seed: int = 3, seeded: bool = False, stated: dict[str, Any] | None = None
) -> Scorecard:
    """Metrics and figures as the evaluation gives them; without real rows when `real` is false.

    The guarantee is that of the ledger `stated`, by default of twenty rounds of training.
    """
    rng = np.random.default_rng(seed)
    metrics = _metrics(stated or ledger(seeded=seeded))
    if not real:
        metrics = [_blank(m) if m.rows_used != "none" else m for m in metrics]
    figures = {
        "marginals": _marginals(rng, real),
        "associations": _associations(rng, real),
        "survival": _survival(rng, real),
        "membership": _membership(rng) if real else None,
        "risks": _risks() if real else [],
        "anchors": _anchors(metrics),
    }
    rows = {"synthetic": 2000, "train": 1600 if real else None, "holdout": 400 if real else None}
    return Scorecard(tuple(metrics), figures, seed, rows)


def _blank(metric: Metric) -> Metric:
    return Metric(
        metric.id,
        metric.question,
        metric.role,
        metric.label,
        None,
        metric.direction,
        green=metric.green,
        amber=metric.amber,
        light="grey",
        reason="needs patients' rows, which stay at the sites",
        rows_used=metric.rows_used,
    )


def _metrics(stated: dict[str, Any]) -> list[Metric]:
    n = {"train": 1600, "holdout": 400, "synthetic": 2000, "matched": 400}
    train: dict[str, Any] = {"n": n, "rows_used": "train"}
    return [
        Metric("valid.structure", "valid", "deciding", "Cells inside the dictionary", 1.0, "higher",
               green=1.0, amber=0.999, threshold_origin="judgement", light="green"),
        Metric("valid.hard_rules", "valid", "deciding", "Rows breaking a hard rule", 0.0, "lower",
               green=0.0, amber=0.001, light="green", value_low=0.0, value_high=0.0015),
        Metric("valid.soft_rules", "valid", "info", "Soft rules broken more often than by patients", 0.031, "lower",
               ceiling=0.012, green=0.02, amber=0.05, light="amber", **train),
        Metric("faithful.shapes", "faithful", "deciding", "Shape of single columns", 0.941, "higher", 0.968, 0.941,
               0.957, 0.976, 0.948, 0.918, light="amber", reason="ink below fresh patients", **train),
        Metric("faithful.association", "faithful", "deciding", "Association of column pairs", 0.713, "higher", 0.955,
               0.004, 0.931, 0.966, 0.8, 0.4, light="amber", anchored=0.745, **train),
        Metric("faithful.missing", "faithful", "deciding", "Largest gap in missing values", 0.041, "lower", 0.03, 0.041,
               0.015, 0.045, 0.05, 0.10, light="green", **train),
        Metric("faithful.sdmetrics", "faithful", "info", "SDMetrics quality", 0.884, "higher", 0.951, 0.893, **train),
        Metric("useful.tstr.os_event", "useful", "deciding", "Skill kept when predicting death", 0.81, "higher", 1.0,
               -0.02, 0.92, 1.08, 0.9, 0.75, light="amber", value_low=0.69, value_high=0.93, **train),
        Metric("survival.km_area", "useful", "deciding", "Gap of survival curves", 0.021, "lower", 0.017, 0.128,
               0.009, 0.037, 0.03, 0.06, light="green", **train),
        Metric("survival.km_worst", "useful", "if_measurable", "Gap in the worst group", 0.066, "lower", 0.035, 0.271,
               0.02, 0.08, 0.08, 0.15, light="green", **train),
        Metric("private.exact", "private", "deciding", "Exact copies", 0.0, "lower", 0.0,
               green=0.0005, amber=0.005, light="green", **train),
        Metric("private.near_copy", "private", "deciding", "Near copies", 0.0012, "lower", 0.0,
               green=0.01, amber=0.03, light="green", **train),
        Metric("private.membership", "private", "deciding", "Membership attack", 0.006, "lower", 0.0,
               green=0.02, amber=0.05, light="green", value_low=-0.004, value_high=0.019, **train),
        guarantee_metric(stated),
    ]  # fmt: skip


def _marginals(rng: np.random.Generator, real: bool) -> list[dict[str, Any]]:
    panels = []
    for name, (label, unit, lower, upper) in NUMBERS.items():
        edges = np.round(np.linspace(lower, upper, 17), 2)
        shape = np.exp(-0.5 * ((np.arange(16) - rng.uniform(3, 10)) / rng.uniform(1.8, 4)) ** 2)
        panels.append(_panel(rng, name, label, unit, {"kind": "number", "edges": edges.tolist()}, shape, real))
    for name, (label, levels) in CATEGORIES.items():
        shape = rng.dirichlet(np.ones(len(levels)) * 1.4)
        panels.append(_panel(rng, name, label, "", {"kind": "levels", "levels": list(levels)}, shape, real))
    for name in FLAGS:
        rate = rng.uniform(0.02, 0.35)
        shape = np.array([1 - rate, rate])
        panels.append(
            _panel(rng, name, name.replace("_", " "), "", {"kind": "levels", "levels": ["0", "1"]}, shape, real)
        )
    return sorted(panels, key=lambda panel: panel["score"] or 0.0)


def _panel(
    rng: np.random.Generator, name: str, label: str, unit: str, kind: dict[str, Any], shape: Any, real: bool
) -> dict[str, Any]:
    missing = rng.choice([0.0, rng.uniform(0.02, 0.3)])
    truth = np.append(shape / shape.sum() * (1 - missing), missing)
    told = truth * np.exp(rng.normal(0, rng.uniform(0.05, 0.35), truth.size))
    told /= told.sum()
    score = 1 - 0.5 * float(np.abs(told - truth).sum())
    return {
        "column": name,
        "label": label,
        "unit": unit,
        **kind,
        "real": truth.round(4).tolist() if real else None,
        "synthetic": told.round(4).tolist(),
        "score": round(score, 4) if real else None,
        "ceiling": 0.972 if real else None,
    }


def _associations(rng: np.random.Generator, real: bool) -> dict[str, Any]:
    names = [column.name for column in schema().columns if column.kind != "id"]
    size = len(names)
    factors = rng.normal(size=(size, 4)) * rng.uniform(0, 1, (size, 1))
    truth = factors @ factors.T
    scale = np.sqrt(np.diag(truth) + 0.6)
    truth = np.clip(truth / scale[:, None] / scale[None, :], -1, 1)
    np.fill_diagonal(truth, 1.0)
    noise = rng.normal(0, 0.06, truth.shape)
    told = np.clip(0.8 * truth + (noise + noise.T) / 2, -1, 1)
    np.fill_diagonal(told, 1.0)
    return {"columns": names, "real": truth.round(4).tolist() if real else None, "synthetic": told.round(4).tolist()}


def _curve(rng: np.random.Generator, rate: float, patients: int, tau: float) -> dict[str, Any]:
    days = np.linspace(0, tau, 48)
    survival = np.exp(-((days / rate) ** 0.75)) + np.cumsum(rng.normal(0, 0.002, 48))
    survival = np.minimum.accumulate(np.clip(survival, 0.02, 1))
    survival[0] = 1.0
    spread = 1.96 * np.sqrt(survival * (1 - survival) / patients) * 1.4
    at_risk = [[int(day), int(patients * s)] for day, s in zip(days[::12], survival[::12], strict=True)]
    return {
        "days": days.round(1).tolist(),
        "survival": survival.round(4).tolist(),
        "low": np.clip(survival - spread, 0, 1).round(4).tolist(),
        "high": np.clip(survival + spread, 0, 1).round(4).tolist(),
        "at_risk": [*at_risk, [int(tau), int(patients * survival[-1])]],
    }


def _survival(rng: np.random.Generator, real: bool) -> list[dict[str, Any]]:
    groups = [
        ("all", 900, 1600, 2000, 0.021),
        ("eln2022=favorable", 4200, 430, 510, 0.028),
        ("eln2022=intermediate", 1100, 480, 640, 0.035),
        ("eln2022=adverse", 420, 640, 780, 0.066),
    ]
    return [
        {
            "name": "os",
            "label": "Overall survival",
            "group": group,
            "tau_days": 1826.0,
            "real": _curve(rng, rate, patients, 1826.0) if real else None,
            "synthetic": _curve(rng, rate * 1.12, rows, 1826.0),
            "km_area": gap if real else None,
        }
        for group, rate, patients, rows, gap in groups
    ]


def _membership(rng: np.random.Generator) -> dict[str, Any]:
    fpr = np.concatenate([[0.0], np.geomspace(0.0025, 1, 50)])
    tpr = np.maximum.accumulate(np.clip(fpr * np.exp(rng.normal(0.1, 0.1, 51)), 0, 1))
    spread = 1.96 * np.sqrt(fpr * (1 - fpr) / 400) + 0.0015
    return {
        "fpr": fpr.round(4).tolist(),
        "tpr": tpr.round(4).tolist(),
        "band_low": np.clip(fpr - spread, 0, 1).round(4).tolist(),
        "band_high": np.clip(fpr + spread, 0, 1).round(4).tolist(),
        "point": {
            "fpr": 0.01,
            "tpr": 0.016,
            "sentence": "An attacker who wrongly accuses 1 in 100 outsiders finds 16 of 1,000 patients (95 %: 7 to "
            "31); guessing finds 10; this test would have seen 4 % copied rows.",
        },
    }


def _risks() -> list[dict[str, Any]]:
    return [
        {"id": "private.exact", "label": "Exact copies", "value": 0.0, "low": 0.0, "high": 0.002, "ceiling": 0.0},
        {"id": "private.near_copy", "label": "Near copies", "value": 0.0012, "low": 0.0, "high": 0.004, "ceiling": 0.0},
        {"id": "private.membership", "label": "Membership beyond guessing", "value": 0.006, "low": -0.004,
         "high": 0.019, "ceiling": 0.0},
        {"id": "private.attribute", "label": "Guessing a sensitive column", "value": 0.031, "low": 0.002,
         "high": 0.061, "ceiling": 0.02},
    ]  # fmt: skip


def _anchors(metrics: list[Metric]) -> list[dict[str, Any]]:
    return [
        {
            "id": m.id,
            "label": m.label,
            "floor": m.floor,
            "ceiling": m.ceiling,
            "low": m.low,
            "high": m.high,
            "value": m.value,
            "direction": m.direction,
            "light": m.light,
        }
        for m in metrics
        if m.value is not None and m.floor is not None and m.ceiling is not None
    ]
