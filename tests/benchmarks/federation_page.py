"""Writes what one run of the benchmarks of federated training measured: a page, its numbers, and its pictures."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.pages import ACCENT, GREY, INK, RULE, drawing, page, rounded, table

FOLDER = Path(__file__).parents[2] / "reports" / "reference" / "federation"


def write(measured: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """The page, `measured.json` and the pictures; what this run did not measure stays as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "measured.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    now = json.loads(json.dumps(rounded(measured)))
    tables: dict[str, Any] = {**before, **now}
    rows = {(row["local_steps"], row["sites"]): row for row in (*before.get("time", ()), *now.get("time", ()))}
    if rows:
        tables["time"] = [rows[key] for key in sorted(rows)]
    file.write_text(json.dumps(tables, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if {"curves", "time", "traffic"} <= set(tables):
        (folder / "README.md").write_text(_page(tables), encoding="utf-8")
        _draw(tables, folder)


def _page(tables: Mapping[str, Any]) -> str:
    curves, deployed = tables["curves"], tables.get("deployed")
    traffic = _by_sites(tables)
    loss, accuracy, last = curves["loss"], curves["accuracy"], len(curves["apart"])
    parts = [
        "# Secure sums beside plain FedAvg",
        """Simulated AML patients, 400 at each site, a TVAE trained by DP-SGD (`start = "cold"`), one thread. Plain
        FedAvg is Flower as its examples have it: one message per site and round, the change in clear, a float64
        mean, no ledger, nothing on disk. It trains the same stints with the same noise, in turns with the
        secure run, round by round in one process, every message written to bytes. All numbers and pictures come
        from""",
        "    make bench-federation",
        f"flwr {version('flwr')}, torch {version('torch')}, cryptography {version('cryptography')}.",
        "## The same curves",
        "![loss and accuracy per round](curves.png)",
        f"""Three sites, {curves["weights"]:,} weights. After {last} rounds no weight of the two runs is more than
        {curves["apart"][-1]:.1e} apart: the secure run rounds each change to the fixed-point numbers that are
        added up, and training carries that on. Loss {loss["secure"][-1]:.3f} and {loss["plain"][-1]:.3f},
        accuracy {accuracy["secure"][-1]:.4f} and {accuracy["plain"][-1]:.4f}, secure and plain. Loss is the
        mean over the sites of what a stint reports at its site; it is shown for simulated patients and never
        leaves a real site. Accuracy is 1 - mean total variation between one-way shares of 2,000 sampled rows
        and of all rows. The noise of epsilon 10 moves both curves alike.""",
        "## What a round takes",
        "![what secure sums add, by the time a site trains](time.png)",
        """CPU seconds of a round, all sites one after the other; the ratio is of the sums over all rounds but the
        first. Wall: the fastest round, which includes waiting until the disk has it (the secure run syncs its
        state before it sends anything; plain FedAvg writes nothing).""",
        table(
            "local steps | sites | training s a site | plain s | secure s | ratio | added ms a site | "
            "wall plain s | wall secure s",
            [
                f"{row['local_steps']} | {row['sites']} | {_training_s(row):.3f} | {row['plain_cpu_s']:.3f} | "
                f"{row['secure_cpu_s']:.3f} | {row['cpu_ratio']:.3f} | {_added_ms(row):.0f} | "
                f"{row['wall_plain_s']:.2f} | {row['wall_secure_s']:.2f}"
                for row in tables["time"]
            ],
        ),
        f"""What synthfed adds does not depend on the training: keys, shares, masks, signatures, ledger, sealed
        state and a second message per site and round, {_span([_added_ms(row) for row in _short(tables)])}
        milliseconds a site, as the shortest rounds show best. So secure rounds cost at most a twentieth more where a
        site trains for {_enough_s(tables):.1f} s or longer between two sums (the longest rounds measured here, of
        {_steps(tables)[-1]} local steps, train for {max(map(_training_s, tables["time"])):.2f} s), and about twice
        what plain ones do in rounds of {_steps(tables)[0]} steps, as the shipped pipelines
        take them, where a stint is some twenty milliseconds. The line in the picture is the longest of those times over
        the time of training; on a machine with other work a long row's own ratio scatters about it by a few
        hundredths. Between hospitals neither shows: there a round is what it takes to start a process for each
        message.""",
        """Two trips a round are what `compressed` sums need: a vector is hidden from the coordinator by its site's own
        mask too, and that mask may be opened only once it is settled whose vectors count, which is after all have
        come. Nor can the opening ride with the next training, which starts from the sum.""",
    ]
    if deployed:
        parts.append(
            f"""On {deployed["sites"]} real SuperNodes (processes on one machine with TLS and node authentication,
            `smoke` with its network, {deployed["rounds"]} rounds): {deployed["best_s"]:.0f} s the fastest
            round, {deployed["median_s"]:.0f} s the median, on two CPU cores shared with other work. In one process
            three sites need {_short(tables)[0]["secure_cpu_s"]:.2f} s of CPU for a round of a larger network (first
            row above): all but that is Flower's and Python's, a process with its imports for each message, and
            waiting for the next look for messages."""
        )
    parts += [
        "## What travels",
        "![bytes per round](traffic.png)",
        """Payload of one round in MB, both ways, all sites together. `full` is the literal scheme: a part of the
        vector for every other site. Weights down are part of each column.""",
        table(
            "sites | plain FedAvg | compressed | full | compressed / plain",
            [
                f"{n} | {row['plain'] / 1e6:.2f} | {row['compressed'] / 1e6:.2f} | {row['full'] / 1e6:.2f} | "
                f"{row['compressed'] / row['plain']:.2f}"
                for n, row in traffic
            ],
        ),
        """Compressed shares send up what plain FedAvg does, 4 bytes a weight; on top, each site hears the last
        sum, so that it can check it, and key shares.""",
    ]
    return page(parts)


def _steps(tables: Mapping[str, Any]) -> list[int]:
    return sorted({row["local_steps"] for row in tables["time"]})


def _short(tables: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of the shortest rounds, which show best what is added."""
    return [row for row in tables["time"] if row["local_steps"] == _steps(tables)[0]]


def _training_s(row: Mapping[str, Any]) -> float:
    """CPU seconds of one site in a plain round: training, and one message."""
    return float(row["plain_cpu_s"] / row["sites"])


def _added_ms(row: Mapping[str, Any]) -> float:
    return float(1000 * (row["secure_cpu_s"] - row["plain_cpu_s"]) / row["sites"])


def _enough_s(tables: Mapping[str, Any]) -> float:
    """Training time a site and round from which the secure round costs at most a twentieth more."""
    return max(_added_ms(row) for row in _short(tables)) / 1000 / 0.05


def _by_sites(tables: Mapping[str, Any]) -> list[tuple[int, Mapping[str, float]]]:
    return sorted((int(n), row) for n, row in tables["traffic"].items())


def _span(numbers: list[float]) -> str:
    return f"{min(numbers):.0f} to {max(numbers):.0f}"


def _draw(tables: Mapping[str, Any], folder: Path) -> None:
    with drawing() as plt:
        for name, draw in (("curves", _curves), ("time", _time), ("traffic", _traffic)):
            figure = draw(plt, tables)
            figure.tight_layout()
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})


def _curves(plt: Any, tables: Mapping[str, Any]) -> Any:
    figure, places = plt.subplots(1, 2, figsize=(9.0, 3.4), dpi=110)
    for axes, curve, title in zip(
        places, ("loss", "accuracy"), ("Training loss per round", "Accuracy of sampled shares per round"), strict=True
    ):
        rounds = range(1, len(tables["curves"][curve]["plain"]) + 1)
        axes.plot(rounds, tables["curves"][curve]["plain"], color=GREY, linewidth=5, alpha=0.55, label="plain FedAvg")
        axes.plot(rounds, tables["curves"][curve]["secure"], color=ACCENT, linewidth=1.4, label="secure sums")
        axes.set_title(title, loc="left", fontsize=10.5)
        axes.set_xlabel("round")
        axes.grid(axis="y", color=RULE, linewidth=0.6)
    places[0].legend(frameon=False)
    return figure


def _time(plt: Any, tables: Mapping[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(6.6, 3.8), dpi=110)
    rows, enough = tables["time"], _enough_s(tables)
    least, most = (pick(_training_s(row) for row in rows) for pick in (min, max))
    ends = (0.6 * least, 1.8 * most)
    axes.plot(ends, [5 * enough / end for end in ends], color=GREY, linewidth=1.2)
    for sites, marker in zip(sorted({row["sites"] for row in rows}), "osD", strict=False):
        shown = [row for row in rows if row["sites"] == sites]
        axes.plot(
            [_training_s(row) for row in shown],
            [max(0.5, 100 * (row["cpu_ratio"] - 1)) for row in shown],
            color=ACCENT,
            marker=marker,
            markersize=5,
            linestyle="none",
            alpha=0.8,
            label=f"{sites} sites",
        )
    for draw, at, words, place in (
        (axes.axhline, 5.0, "a twentieth", (ends[0], 5.0)),
        (axes.axvline, enough, f"{enough:.2f} s", (enough, 0.6)),
    ):
        draw(at, color=INK, linewidth=0.8, linestyle="--")
        axes.annotate(words, place, xytext=(4, 4), textcoords="offset points", color=INK, fontsize=9)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=(0.5, 400), xlabel="CPU seconds a site trains in a round")
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if ends[0] < tick < ends[1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([1, 5, 10, 50, 100], ["1 %", "5 %", "10 %", "50 %", "100 %"])
    axes.set_title("What secure sums add to a round of plain FedAvg", loc="left", fontsize=10.5)
    axes.legend(frameon=False, loc="upper right")
    axes.grid(color=RULE, linewidth=0.6)
    return figure


def _traffic(plt: Any, tables: Mapping[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(6.0, 3.6), dpi=110)
    sites, rows = zip(*_by_sites(tables), strict=True)
    for key, color, words, side in (
        ("full", INK, "literal parts\n(quadratic)", "center"),
        ("compressed", ACCENT, "compressed", "bottom"),
        ("plain", GREY, "plain FedAvg", "top"),
    ):
        moved = [row[key] / 1e6 for row in rows]
        axes.plot(sites, moved, color=color, marker="o", markersize=4, linewidth=1.8)
        axes.text(sites[-1] + 0.25, moved[-1], words, color=color, va=side, fontsize=9)
    axes.set(xlabel="sites", xlim=(2.7, 12.6), ylim=(0, None))
    axes.set_xticks(sites)
    axes.set_title("MB per round, both ways, all sites", loc="left", fontsize=10.5)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    return figure
