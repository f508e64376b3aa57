"""The files of one small dossier, shared by the tests of this folder."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.statement import central_ledger
from synthfed.run.contents import pipeline_toml
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
