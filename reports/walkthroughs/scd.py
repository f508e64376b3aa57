"""Does a synthetic sickle cell cohort reproduce how pain crises hang on genotype and hydroxyurea?

A walk from four centres to a clinician's answer. Run it as it is, or cell by cell (`# %%`) in an editor:

    .venv/bin/python reports/walkthroughs/scd.py walkthrough-scd

The patients are simulated, so that everybody may run it; with your own, replace the first cell by
`sf.read_cohort({"paris": "paris.csv", ...}, dictionary="scd")`.
"""

# %% Four centres
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import synthfed as sf

out = Path(sys.argv[1] if len(sys.argv) > 1 else "walkthrough-scd")
out.mkdir(parents=True, exist_ok=True)
cohort = sf.load_cohort("scd", sites=["paris", "hamburg", "padova", "madrid"], patients=2400, seed=7)
print("training patients by centre:", dict(cohort.counts))

# %% One generator for all centres. What must stay together, the pipeline names: genotype, hydroxyurea, crises
synth = sf.Synthesizer("scd", privacy__epsilon=10.0).fit(cohort)
table = synth.sample(num_rows=4000, seed=1)
print(f"{len(table)} synthetic patients with {table.shape[1]} columns; every hard clinical rule holds in every row")

# %% The question: crises that led to hospital in a year, by genotype, with and without hydroxyurea
KINDS = [(genotype, drug) for genotype in ("HbSS", "HbSC", "HbSb+") for drug in (0, 1)]
patients = pd.concat([cohort.train, cohort.holdout], ignore_index=True)


def crisis_rate(rows: pd.DataFrame, genotype: str, drug: int) -> tuple[float, float, float, int]:
    """Mean pain crises of the last twelve months with its bootstrap 95 % interval, and of how many patients."""
    chosen = rows[(rows["genotype"] == genotype) & (rows["hydroxyurea"] == drug)]["voc_last_12m"].dropna()
    counts = chosen.to_numpy(dtype=float)
    if len(counts) < 10:
        return np.nan, np.nan, np.nan, len(counts)
    draws = np.random.default_rng(0).choice(counts, (1000, len(counts))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(counts.mean()), float(low), float(high), len(counts)


rates = {
    (name, kind): crisis_rate(rows, *kind)
    for name, rows in (("patients", patients), ("synthetic", table))
    for kind in KINDS
}

# %% The answer as a picture
figure, axis = plt.subplots(figsize=(8.5, 3.8), layout="constrained")
for name, colour, shift in (("patients", "0.45", -0.12), ("synthetic", "#0072B2", 0.12)):
    for place, kind in enumerate(KINDS):
        mean, low, high, _ = rates[name, kind]
        label = name if place == 0 else None
        axis.errorbar(place + shift, mean, [[mean - low], [high - mean]], fmt="o", color=colour, capsize=3, label=label)
axis.set_xticks(range(len(KINDS)), [f"{g}\n{'hydroxyurea' if drug else 'untreated'}" for g, drug in KINDS])
axis.set(ylabel="pain crises in 12 months", title="Pain crises by genotype and hydroxyurea", ylim=(0, None))
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
figure.savefig(out / "crises-by-genotype.png", dpi=110)

# %% The answer in numbers
print("\npain crises a year              patients (95 % interval)         synthetic")
for genotype, drug in KINDS:
    mean, low, high, count = rates["patients", (genotype, drug)]
    made, *_ = rates["synthetic", (genotype, drug)]
    treated = "hydroxyurea" if drug else "untreated"
    print(f"{genotype:<6} {treated:<12} {mean:10.2f}  ({low:.2f} to {high:.2f}, n = {count}) {made:12.2f}")
for name in ("patients", "synthetic"):
    ratio = rates[name, ("HbSS", 0)][0] / rates[name, ("HbSC", 0)][0]
    print(f"untreated HbSS against HbSC, {name}: {ratio:.1f} times as many crises")

# %% And the report's own words on it: `make scd`
card = synth.evaluate(table, cohort.holdout)
metric = card["faithful.association"]
print(f"{metric.label}: {metric.value:.3f} (fresh patients {metric.ceiling:.3f}, shuffled columns {metric.floor:.3f})")
