"""The files of two dossiers: one of placeholders that only a seal holds together, and one that a run made."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.cohorts.sites import load_cohort
from synthfed.pipeline import Pipeline
from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.statement import central_ledger
from synthfed.resources import dictionary_path
from synthfed.run.contents import RunFacts, pipeline_toml, public_files, report_files
from synthfed.run.drawing import draw_table, score_table
from synthfed.run.training import train
from tests.dossier.parts import audit_log, report_on, small_pipeline


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    events = [
        PrivacyEvent("round 0, counting tables", "gaussian", "train", 1.0, 3.7, 1.0, 1),
        PrivacyEvent("round 1", "gaussian", "train", 1.0, 8.0, 1.0, 3),
    ]
    ledger = central_ledger(events, small_pipeline(), site="lyon", simulated=False, seeded=False, planned=events)
    sites = {site: Ed25519PrivateKey.from_private_bytes(bytes([index]) * 32) for index, site in enumerate("ab")}
    audit = [line for identity in sites.values() for line in audit_log(identity)]
    keys = {site: identity.public_key().public_bytes_raw().hex() for site, identity in sites.items()}
    described = {
        "synthetic.csv": b"age_years,sex\n61,female\n",
        "model.synthfed": b"a model",
        "pipeline.toml": pipeline_toml(small_pipeline()).encode(),
    }
    return {
        **described,
        "report.json": report_on(described, ledger),
        "figures/marginals.svg": b"<svg/>",
        "ledger.json": json.dumps(ledger).encode(),
        "audit.jsonl": "".join(line + "\n" for line in audit).encode(),
        "audit_keys.json": json.dumps(keys).encode(),
    }


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Every file of the release of a short run: a tree of noisy tables over three sites and eight columns."""
    columns = (
        "patient_id", "age_years", "sex", "NPM1", "FLT3_ITD", "FLT3_ITD_allelic_ratio", "os_days", "os_event",
    )  # fmt: skip
    pipeline = Pipeline.load("smoke").replace(
        generator__kind="marginal", cohort__columns=columns, release__rows=80, cohort__simulated_patients=200
    )
    cohort = load_cohort("aml", sites=pipeline.cohort.simulated_sites, patients=200, columns=columns)
    trained = train(pipeline, cohort, work=tmp_path_factory.mktemp("run"))
    table = draw_table(trained, cohort.rules, rows=80, seed=1)
    card = score_table(trained, table, cohort.rules, train=None, holdout=None)
    facts = RunFacts(replace(cohort, simulated=False), dictionary_path("aml"), seconds=1.0)
    made = public_files(trained, table, facts)
    return {**made, **report_files(trained, card, facts, made, edition="release")}
