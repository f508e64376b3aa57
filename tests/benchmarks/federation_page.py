"""Writes what one run of the benchmarks of federated training measured: a page, its numbers, and its pictures."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.pages import ACCENT, GREY, INK, RULE, drawing, page, rounded, table

FOLDER = Path(__file__).parents[2] / "reports" / "reference" / "federation"


def write(measured: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """The page, `measured.json` and the pictures; tables that this run did not measure stay as they were."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "measured.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    tables: dict[str, Any] = {**before, **json.loads(json.dumps(rounded(measured)))}
    file.write_text(json.dumps(tables, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if {"curves", "time", "traffic"} <= set(tables):
        (folder / "README.md").write_text(_page(tables), encoding="utf-8")
        _draw(tables, folder)


def _page(tables: Mapping[str, Any]) -> str:
    curves, deployed = tables["curves"], tables.get("deployed")
    traffic = _by_sites(tables)
    loss, accuracy, last = curves["loss"], curves["accuracy"], len(curves["apart"])
    steps = sorted({row["local_steps"] for row in tables["time"]})
    added = {
        row["sites"]: row["secure_cpu_s"] - row["plain_cpu_s"]
        for row in tables["time"]
        if row["local_steps"] == steps[0]
    }
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
        "![seconds per round](time.png)",
        """CPU seconds of a round, all sites one after the other; the ratio is of the sums over all rounds but the
        first. Wall: the fastest round, which includes waiting until the disk has it (the secure run syncs its
        state before it sends anything; plain FedAvg writes nothing).""",
        table(
            "local steps | sites | plain s | secure s | ratio | ratio by the short rows | wall plain s | wall secure s",
            [
                f"{row['local_steps']} | {row['sites']} | {row['plain_cpu_s']:.3f} | {row['secure_cpu_s']:.3f} | "
                f"{row['cpu_ratio']:.3f} | {1 + added[row['sites']] / row['plain_cpu_s']:.3f} | "
                f"{row['wall_plain_s']:.2f} | {row['wall_secure_s']:.2f}"
                for row in tables["time"]
            ],
        ),
        f"""What synthfed adds does not depend on the training: keys, shares, masks, signatures, ledger, sealed
        state and a second message per site and round, {_span([1000 * added[n] / n for n in added])}
        milliseconds a site. The short rows show it best: "by the short rows" of a long row is that cost over
        its plain round, while its own ratio scatters by a few hundredths on a machine with other work. So it is
        at most a twentieth where a site trains for a second or two ({steps[-1]} steps), and more than the
        training itself in short rounds of {steps[0]} steps, as the shipped pipelines take them, where a stint
        is some twenty milliseconds. Between hospitals neither shows: there a round is what it takes to start a
        process for each message.""",
    ]
    if deployed:
        parts.append(
            f"""On {deployed["sites"]} real SuperNodes (processes on one machine with TLS and node authentication,
            `smoke` with its network, {deployed["rounds"]} rounds): {deployed["best_s"]:.0f} s the fastest
            round, {deployed["median_s"]:.0f} s the median, on two CPU cores shared with other work."""
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
    kinds = sorted({row["local_steps"] for row in tables["time"]})
    figure, places = plt.subplots(1, len(kinds), figsize=(9.0, 3.4), dpi=110, squeeze=False)
    for axes, steps in zip(places[0], kinds, strict=True):
        rows = [row for row in tables["time"] if row["local_steps"] == steps]
        sites = [row["sites"] for row in rows]
        axes.plot(
            sites, [row["plain_cpu_s"] for row in rows], color=GREY, marker="o", markersize=4, label="plain FedAvg"
        )
        axes.plot(
            sites, [row["secure_cpu_s"] for row in rows], color=ACCENT, marker="o", markersize=4, label="secure sums"
        )
        for row in rows:
            more = 100 * (row["cpu_ratio"] - 1)
            axes.annotate(
                f"+{more:.0f} %" if more >= 10 else f"+{more:.1f} %",
                (row["sites"], row["secure_cpu_s"]),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                color=ACCENT,
                fontsize=9,
            )
        axes.set(xlabel="sites", xlim=(2, 11), ylim=(0, 1.25 * max(row["secure_cpu_s"] for row in rows)))
        axes.set_xticks(sites)
        axes.set_title(f"CPU seconds per round, {steps} local steps", loc="left", fontsize=10.5)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
    places[0][0].legend(frameon=False, loc="lower right")
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
