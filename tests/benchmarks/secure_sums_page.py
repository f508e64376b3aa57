"""Writes what one run of the benchmarks of secure sums measured: a page, its numbers, and one picture."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.pages import ACCENT, GREY, INK, RULE, drawing

FOLDER = Path(__file__).parents[2] / "reports" / "reference" / "secure-sums"
TABLES = ("masking", "parts", "flower", "traffic")


def write(measured: Mapping[str, Mapping[int, Mapping[str, float]]], folder: Path = FOLDER) -> None:
    """The three files; `measured` holds one table per name, by number of sites."""
    folder.mkdir(parents=True, exist_ok=True)
    rounded = {
        name: {str(n): {key: float(f"{value:.8g}") for key, value in row.items()} for n, row in table.items()}
        for name, table in measured.items()
    }
    (folder / "measured.json").write_text(json.dumps(rounded, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_page(measured), encoding="utf-8")
    _draw(measured["traffic"], folder / "traffic.png")


def _page(measured: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    masking, parts, flower, traffic = (measured[name] for name in TABLES)
    gates = [
        ("bytes a site sends up, over the plain float32 vector", "<= 1.01", max(r["bytes"] for r in masking.values())),
        ("the same, post-quantum", "<= 1.015", max(r["post_quantum"] for r in traffic.values())),
        ("masking over the bare AES keystreams it needs", "<= 2", max(r["over_floor"] for r in masking.values())),
        ("literal parts (`full`) over ours, CPU", ">= 5", min(r["full"] for r in parts.values())),
        ("Flower SecAgg+ over ours, CPU", ">= 7", min(r["secaggplus"] for r in flower.values())),
        ("error of the mean over (N/2) 2^-30", "<= 1", max(r["error"] for r in masking.values())),
    ]
    lines = [
        "# What a secure sum costs",
        "",
        "One million weights (d = 1e6), one thread, CPU time, columns of a row interleaved, best of several. All",
        "numbers of this page come from one run of",
        "",
        "    .venv/bin/python -m pytest -m benchmarks -s -q tests/benchmarks/test_secagg_speed.py",
        "",
        "which writes this page, `measured.json` and `traffic.png` anew. Ratios travel between machines with AES",
        "instructions; milliseconds do not. "
        f"numpy {version('numpy')}, cryptography {version('cryptography')}, flwr {version('flwr')}.",
        "",
        "| gate | wanted | worst measured |",
        "|---|---|---|",
        *(f"| {what} | {wanted} | {found:.4g} |" for what, wanted, found in gates),
        "",
        "That sums are exact integers in all modes, with any floor((N-1)/3) sites lost at any step, for N = 3..50, and",
        "over 1000 rounds in flat memory, is tested in `tests/secagg/test_drops.py` and `test_modes.py`.",
        "",
        "## One site's work, milliseconds",
        "",
        "| N | bytes up / 4d | encode and mask | of which encode | AES floor | masking / floor | tag |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {n} | {r['bytes']:.5f} | {r['whole_ms']:.2f} | {r['encode_ms']:.2f} | {r['floor_ms']:.2f} "
            f"| {r['over_floor']:.2f} | {r['tag_ms']:.2f} |"
            for n, r in masking.items()
        ),
        "",
        "Masking is `encode and mask` less `encode`. In neither: the tag, and hashing the message for its signature.",
        "",
        "## Others over ours, CPU",
        "",
        "| N | literal parts (`full`) | vector Shamir (`shamir`) | Flower SecAgg+ |",
        "|---|---|---|---|",
        *(
            f"| {n} | {r['full']:.1f}x | {r['shamir']:.1f}x | {flower[n]['secaggplus']:.1f}x |"
            for n, r in parts.items()
        ),
        "",
        "Each with its own encoding, of the same vector. SecAgg+ sends 8 bytes a weight, ours 4.",
        "",
        "## Traffic of all sites together",
        "",
        "![Bytes that all sites send up, by number of sites](traffic.png)",
        "",
        "| N | compressed, MB | literal parts, MB | compressed / 4dN | the same, post-quantum | the same at d = 1e5 |",
        "|---|---|---|---|---|---|",
        *(
            f"| {n} | {r['ours_mb']:.1f} | {r['literal_mb']:,.1f} | {r['ours_mb'] / (4 * n):.5f} "
            f"| {r['post_quantum']:.5f} | {r['short']:.4f} |"
            for n, r in traffic.items()
        ),
        "",
        "What is beside the vector does not grow with it: at d = 1e5 and 50 sites it is a few per cent.",
    ]
    return "\n".join(lines) + "\n"


def _draw(traffic: Mapping[int, Mapping[str, float]], path: Path) -> None:
    sites = sorted(traffic)
    ours, literal = ([traffic[n][key] for n in sites] for key in ("ours_mb", "literal_mb"))
    with drawing() as plt:
        figure, axes = plt.subplots(figsize=(5.6, 3.6), dpi=110)
        axes.plot(sites, literal, color=GREY, marker="o", markersize=4, linewidth=1.6)
        axes.plot(sites, ours, color=ACCENT, marker="o", markersize=4, linewidth=2)
        axes.set(xscale="log", yscale="log", xlim=(2.7, 110), ylim=(8, 20_000), xlabel="sites")
        axes.set_xticks(sites, [str(n) for n in sites])
        axes.set_yticks([10, 100, 1000, 10_000], ["10 MB", "100 MB", "1 GB", "10 GB"])
        axes.minorticks_off()
        axes.set_title("One sum of a million weights: bytes all sites send up", loc="left", fontsize=10.5)
        last = sites[-1]
        axes.text(last * 1.1, literal[-1], "literal parts\n4dN²", color=INK, va="center")
        axes.text(last * 1.1, ours[-1], "compressed\n4dN", color=ACCENT, va="center")
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        figure.tight_layout()
        figure.savefig(path, metadata={"Software": None})
