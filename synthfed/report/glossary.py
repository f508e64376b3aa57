"""The words of the report, each in one sentence that a reader outside statistics can use."""

from collections.abc import Mapping

GLOSSARY: Mapping[str, str] = {
    "association": "How strongly two columns move together, from 0 (not at all) to 1 (one tells the other); "
    "negative when one falls as the other rises.",
    "ceiling": "The score that patients the generator never saw reach in the synthetic table's place: no table can "
    "honestly do better at this number of rows.",
    "delta": "The small probability with which the promise of epsilon may fail.",
    "differential privacy": "A promise by calculation: the output would look almost the same had any one patient not "
    "taken part. It holds against attacks nobody has thought of yet.",
    "epsilon": "How much the output may depend on any one patient; smaller is stronger. It means something only "
    "together with delta and with what counts as one patient.",
    "DP-SGD": "Training on patients' rows in small steps: what any one patient can pull is limited, and noise is added "
    "to every step.",
    "epsilon_local": "Epsilon against all other sites together, and where a secure sum fails; stated beside epsilon "
    "where the sites share the noise.",
    "floor": "The score of the synthetic table with its columns shuffled: right one by one, wrong together.",
    "hold-out": "Patients set aside at each site before training, so that the generator never sees them.",
    "light": "Shown, partly shown, not met, or not measurable; grey never counts as shown.",
    "membership attack": "An attempt to tell from the table whether a known person was among the training patients.",
    "noise multiplier": "The spread of the random noise, in units of the most one patient can contribute.",
    "secure aggregation": "Adding the sites' contributions so that the server sees the sum and no single contribution.",
    "simulated": "Patients invented by a program from published facts; no person is behind them.",
    "synthetic": "Rows drawn from a generator that was trained on patients; no row is a patient.",
    "tree of noisy tables": "A generator that is nothing but noisy counts of levels, one by one and in pairs, joined "
    "so that each column depends on a few others.",
}
