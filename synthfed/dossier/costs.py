"""Computes the epsilons of a dossier again, from nothing but the charges in its ledger."""

from collections.abc import Mapping
from typing import Any

from synthfed.dossier.findings import Finding, Recomputed
from synthfed.errors import LedgerBroken


def check_costs(ledger: Mapping[str, Any]) -> tuple[tuple[Recomputed, ...], list[Finding]]:
    """What the events of `ledger.json` cost per population, and where the ledger does not agree with itself."""
    from synthfed.privacy.statement import inconsistencies, recompute_populations

    problems = inconsistencies(ledger)
    try:
        again, alone = recompute_populations(ledger), recompute_populations(ledger, alone=True)
    except LedgerBroken as error:
        problems = problems or [str(error)]
    if problems:
        return (), [Finding("ledger", "ledger.json", problem) for problem in problems]
    return tuple(
        Recomputed(
            population=name,
            epsilon=epsilon,
            epsilon_local=alone[name],
            delta=ledger["populations"][name]["delta"],
            events=sum(event["population"] == name for event in ledger["events"]),
            promised=bool(ledger["formal"]),
        )
        for name, epsilon in again.items()
    ), []
