"""The three files of a drafted disease as texts: dictionary, rules, pipeline."""

from pathlib import Path

from synthfed.tables.drafting import Draft, listed, quoted

_HEAD = """# A draft for {origin}, from its {source} and public knowledge; nothing is taken from patients' cells.
# Each # CONFIRM is for a person who knows the disease; a column without bounds or levels is refused until it has them.
# Bounds and levels are public and shared between hospitals: take them from knowledge, never from the table's own
# smallest and largest value, which would tell who is in it. datasets/DICTIONARY.md explains every key.{form}
"""


def text_of(draft: Draft, *, disease: str, origin: str, form: str) -> str:
    """The text of `dictionary.toml`."""
    note = (
        f'\n# Read raw exports with a mapping file beside them that says: redcap_dictionary = "{form}".' if form else ""
    )
    lines = [_HEAD.format(origin=origin, source="form" if form else "headers", form=note)]
    lines += [f"disease = {quoted(disease)}", f"title = {quoted(disease)}  # CONFIRM"]
    if draft.ignored:
        lines += ["ignored = [  # CONFIRM: never read"]
        lines += [f"  {quoted(header)},  # {reason}" for header, reason in draft.ignored]
        lines += ["]"]
    for place, endpoint in enumerate(draft.survivals):
        lines += ["", "[[survival]]", f"name = {quoted(endpoint.name)}", f"time = {quoted(endpoint.time)}"]
        lines += [f"event = {quoted(endpoint.event)}", f"label = {quoted(endpoint.label)}"]
        lines += [f"horizon_days = {endpoint.horizon_days:g}  # CONFIRM: where curves end"]
        lines += ["primary = true"] if place == 0 else []
    return "\n".join(lines) + "\n\n" + "\n\n".join(draft.entries) + "\n"


def rules_text(draft: Draft) -> str:
    """The text of `rules.toml`; a disease may have none."""
    head = (
        "# Combinations that are impossible or unusual, each with a source; datasets/aml/rules.toml has examples.\n"
        "# A hard rule holds for every synthetic patient; a soft one is only measured.\n"
    )
    return "\n\n".join([head, *draft.rules]).rstrip() + "\n"


def pipeline_text(draft: Draft, disease: str, dictionary: Path) -> str:
    """The text of `pipeline.toml`: counts only, which trains nothing and suits few patients."""
    shown = ", ".join(map(quoted, draft.names))
    events = [endpoint.event for endpoint in draft.survivals[:1]]
    quasi = [name for name in ("age_years", "sex") if name in draft.names]
    return f"""# Every value here is public by declaration: none may be taken from the table.

title = {quoted(disease)}
disease = {quoted(str(dictionary))}  # from where synthfed is run

[cohort]
columns = [{shown}]
min_rows = 50
holdout_fraction = 0.2

[generator]
kind = "marginal"               # small noisy tables; pipelines/aml.toml shows the networks

[privacy]
epsilon = 5.0                   # CONFIRM: per patient, whole run
delta = 1e-5
expected_patients = 1000        # CONFIRM: a rounded guess of all training patients that may be public

[release]
rows = 1000

[evaluation]
targets = {listed(events)}
groups = {listed([name for name in quasi if name == "sex"])}
quasi_identifiers = {listed(quasi)}
"""
