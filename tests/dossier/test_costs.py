"""A ledger's own epsilons, computed again from its charges, whoever signed it."""

import json
import math
from collections.abc import Mapping

import pytest

from synthfed.dossier.costs import check_costs
from synthfed.privacy.accounting import gaussian_epsilon
from synthfed.privacy.events import PrivacyEvent
from synthfed.privacy.statement import release_ledger
from tests.dossier.parts import site_ledger, small_pipeline


@pytest.mark.parametrize("lie", ["epsilon", "steps", "missing event", "formal", "no events"])
def test_a_ledger_that_does_not_add_up_is_found(files: Mapping[str, bytes], lie: str) -> None:
    ledger = json.loads(files["ledger.json"])
    if lie == "epsilon":
        ledger["populations"]["train"]["epsilon"] -= 1e-4
        ledger["populations"]["train"]["epsilon_of_events"] -= 1e-4
    elif lie == "steps":
        ledger["events"][1]["steps"] = 1
    elif lie == "missing event":
        del ledger["events"][1]
    elif lie == "formal":
        ledger["seeded"] = True
    else:
        del ledger["events"]
    recomputed, findings = check_costs(ledger)
    assert recomputed == ()
    assert {(finding.kind, finding.name) for finding in findings} == {("ledger", "ledger.json")}


def test_counting_and_training_are_computed_again_together(files: Mapping[str, bytes]) -> None:
    (train,), findings = check_costs(json.loads(files["ledger.json"]))
    mu = math.sqrt(1 / 3.7**2 + 3 / 8.0**2)
    assert findings == []
    assert train.epsilon == pytest.approx(gaussian_epsilon(mu, 1e-5), rel=0.01)
    assert (train.population, train.events, train.delta, train.promised) == ("train", 2, 1e-5, True)
    assert train.epsilon_local == train.epsilon


def test_both_epsilons_are_computed_again_where_the_noise_was_shared() -> None:
    events = [
        PrivacyEvent("round 0, counting tables", "skellam", "train", 4096.0, 4.0, 1.0, 1, 8192.0, 3, 1),
        PrivacyEvent("round 1", "skellam", "train", 4096.0, 9.0, 1.0, 1, 8192.0, 3, 1),
    ]
    exports = {site: site_ledger(site, events) for site in ("lyon", "milano", "berlin")}
    ledger = release_ledger(exports, small_pipeline(), simulated=False, seeded=False, planned=events)
    (train,), findings = check_costs(ledger)
    assert findings == []
    assert train.epsilon_local > train.epsilon
    ledger["populations"]["train"]["epsilon_local"] -= 0.01
    ledger["populations"]["train"]["epsilon_local_of_events"] -= 0.01
    (finding,) = check_costs(ledger)[1]
    assert "epsilon_local" in finding.note
