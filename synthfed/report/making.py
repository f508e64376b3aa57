"""How a table was made, for people: the engine, what the sites were asked for, and where the budget went.

Everything here follows from the pipeline and from the events in the ledger.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from synthfed.generators.words import DP_SGD_ONLY, HYBRID, calibrates, engine, together
from synthfed.pipeline import Pipeline
from synthfed.report.guarantee import TRAINING_ROUNDS
from synthfed.report.verdict import capital
from synthfed.secagg.roster import default_threshold

# What tests/benchmarks/test_hybrid_quality.py and the comparisons of engines support; to be changed with them.
_NOTES: Mapping[str, str] = {
    HYBRID: "What DP-SGD added: on the tables tried so far, rows at best a little better than without it, and none "
    "better than with the whole budget spent on counts (generator.training_share = 0, or generator.kind = 'marginal').",
    DP_SGD_ONLY: "With a few thousand patients and a small epsilon, DP-SGD alone has so far stayed far behind noisy "
    "counts at the same budget: generator.kind = 'marginal', or generator.start = 'marginals'.",
}
_COUNTING = "counting "
_SHARES: Mapping[str, str] = {
    "compressed": "compressed: each vector is hidden under a mask of its own and masks from keys that pairs of sites "
    "share; only the total opens",
    "pairwise": "pairwise: each vector is hidden under masks from keys that pairs of sites share; they cancel in the "
    "total",
    "full": "full: each vector is cut into one part per site, and the sites add the parts that they hold",
    "shamir": "shamir: each vector is cut into one share per site, and the sites add the shares that they hold",
}
_VERIFY: Mapping[str, str] = {
    "tag": "tag: every site checks a tag on the total",
    "recompute": "recompute: every site adds up all signed vectors itself",
}


def making(pipeline: Pipeline, events: Sequence[Mapping[str, Any]], mode: Mapping[str, Any]) -> dict[str, Any]:
    """The box "How this table was made".

    Args:
        events: Equal events joined, with their shares of the budget (`guarantee.budget_lines`).
        mode: `mode` of the ledger statement.

    Returns:
        `engine`, `sentences`, `note` (what is known about the engine, or nothing), `noise` (`local`, `shared`,
        `none`), `counts` (`rounds` by name and `share` of the budget) and `network` (`kind`, `rounds`, `share`), either
        of them null where there is none.
    """
    kind, name, rounds = pipeline.generator.kind, engine(pipeline), pipeline.training_rounds
    counted = [event["purpose"] for event in events if event["purpose"].startswith(_COUNTING)]
    names = list(dict.fromkeys(purpose.removeprefix(_COUNTING) for purpose in counted))
    counts = network = None
    if counted:
        counts = {"rounds": names, "share": _share(events, set(counted))}
    if kind != "marginal":
        network = {"kind": kind, "rounds": rounds, "share": _share(events, {TRAINING_ROUNDS})}
    noise = str(mode["noise"]) if pipeline.privacy.enabled else "none"
    return {
        "engine": name,
        "sentences": _sentences(names, kind, rounds, pipeline.federation.local_steps, noise, together(pipeline)),
        "note": _NOTES.get(name, "") if rounds else "",
        "noise": noise,
        "counts": counts,
        "network": network,
    }


def _share(events: Sequence[Mapping[str, Any]], purposes: set[str]) -> float | None:
    """Of the training patients' budget; None where the noise was off."""
    parts = [event["share"] for event in events if event["purpose"] in purposes and event["population"] == "train"]
    if any(part is None for part in parts):
        return None
    return float(sum(parts))


def _sentences(
    counted: Sequence[str], kind: str, rounds: int, local_steps: int, noise: str, together: Sequence[str]
) -> list[str]:
    said = []
    if counted:
        said += _of_counts(counted, noise)
        said += [
            f"{kept} were counted as one table, as declared, and the tree keeps them together." for kept in together
        ]
    if kind == "marginal":
        return [*said, "The table was drawn from the tree. No network was trained."]
    if counted:
        said.append(
            f"A network ({kind}) was taught to draw the same patients as the tree (distilling), at no further cost."
        )
    if rounds:
        trained = "the network was then trained" if counted else f"A network ({kind}) was trained"
        trained += f" in {rounds:,} rounds of {local_steps} steps on patients' rows at the sites"
        how = (
            ", without privacy; secure sums open the sites' total change only."
            if noise == "none"
            else " by DP-SGD: every patient's pull on it is limited, noise is added, and a secure sum opens the sites' "
            "total only."
        )
        said.append(capital(trained + how))
        if counted and calibrates(kind):
            said.append("In the end the network was drawn back towards the totals (calibrating), at no further cost.")
    return [*said, "The table was drawn from the network."]


def _of_counts(counted: Sequence[str], noise: str) -> list[str]:
    drawn = {
        "local": "Each site adds noise to its own numbers before they leave it",
        "shared": "Each site adds its share of the noise before its numbers leave it, and the shares add up",
        "none": "No noise is added",
    }[noise]
    rounds = "one round" if len(counted) == 1 else f"{len(counted)} rounds"
    first = ""
    if "histograms" in counted:
        first = "first how the values of a column spread, which says where its levels begin and end; then "
    again = " Which pairs of columns are counted again is read off the totals." if "edges" in counted else ""
    return [
        f"In {rounds} the sites counted: {first}how often each level of a column occurs, alone and together with "
        f"levels of other columns. {drawn}; a secure sum then opens the total over all sites and no site's own counts."
        f"{again}",
        "A tree that joins the columns was fitted to the totals, at no further cost.",
    ]


def secure_sums(pipeline: Pipeline, sites: int) -> dict[str, Any] | None:
    """How the sites' vectors were hidden, added and checked; nothing for a site alone.

    `may_miss` is how many sites a round could go on without; `threshold` how many sites open a lost one's keys, None
    where nothing of the kind is shared out.
    """
    if sites < 3:
        return None
    settings = pipeline.federation
    shared_keys = settings.shares in ("compressed", "shamir")
    return {
        "sites": sites,
        "shares": settings.shares,
        "verify": settings.verify,
        "pq": settings.pq,
        "threshold": default_threshold(sites) if shared_keys else None,
        "may_miss": min(settings.max_missing, (sites - 1) // 3),
    }


def secure_sums_in_words(sums: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Name and meaning of each setting, in the order of the page; nothing where there was no secure sum."""
    if sums is None:
        return []
    sites, threshold, may_miss = sums["sites"], sums["threshold"], sums["may_miss"]
    lines = [("hidden by", _SHARES[sums["shares"]]), ("checked by", _VERIFY[sums["verify"]])]
    if threshold is not None:
        opened = "a single site's vector, too" if sums["shares"] == "shamir" else "a round's total"
        lines.append(("threshold", f"{threshold} of {sites} sites are needed to open {opened}"))
    lines.append(
        (
            "lost sites",
            f"a round may go on without {may_miss} of {sites}" if may_miss else "every round needs all sites",
        )
    )
    agreed = "X25519 and ML-KEM-768 (post-quantum)" if sums["pq"] else "X25519; not post-quantum"
    return [*lines, ("keys of pairs", agreed)]
