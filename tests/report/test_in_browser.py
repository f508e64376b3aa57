"""The page in a real browser: it fits a phone and stays readable."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from synthfed.report import render_html
from tests.report import sample
from tests.report.conftest import build_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

HARNESS = """<!doctype html><body style="margin:0">
<iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}">
</iframe><pre id="out"></pre><script>onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  if ({unfold}) page.querySelectorAll("details").forEach(d => d.open = true);
  const wide = [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg, .skip, .metrics thead")
    && e.getBoundingClientRect().right > {width} + 1).map(e => e.tagName + "." + e.className);
  const scale = t => Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b);  // also of turned text
  const tiny = [...page.querySelectorAll("svg text")].filter(t => t.getBoundingClientRect().height > 0)
    .map(t => parseFloat(page.defaultView.getComputedStyle(t).fontSize) * scale(t));
  document.getElementById("out").textContent = JSON.stringify({{
    scroll: page.documentElement.scrollWidth, wide: wide.slice(0, 5), smallest: Math.min(...tiny),
    pictures: page.querySelectorAll("svg[role=img]").length,
    titled: page.querySelectorAll("svg[role=img] > title").length}});
}};</script>"""


def measure(page: str, folder: Path, *, width: int, unfold: bool = False) -> dict[str, object]:
    file = folder / "harness.html"
    file.write_text(
        HARNESS.format(width=width, page=html.escape(page, quote=True), unfold=str(unfold).lower()), encoding="utf-8"
    )
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000",
        "--virtual-time-budget=3000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    home = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=home)
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout)
    assert found is not None
    return dict(json.loads(html.unescape(found[1])))


@pytest.mark.parametrize("edition", ["simulated", "release"])
def test_page_fits_a_phone_and_stays_readable(pages: dict[str, str], tmp_path: Path, edition: str) -> None:
    """Every fold open, 390 CSS pixels wide: nothing sticks out, no text of a figure falls below 8 pixels."""
    seen = measure(pages[edition], tmp_path, width=390, unfold=True)
    assert seen["wide"] == []
    assert int(str(seen["scroll"])) <= 390
    assert float(str(seen["smallest"])) >= 8.0
    assert seen["pictures"] == seen["titled"]


def test_two_epsilons_and_the_way_of_a_hybrid_fit_a_phone(tmp_path: Path) -> None:
    page = render_html(build_run(sample.pipeline(generator__start="marginals"), shared=True))
    seen = measure(page, tmp_path, width=390, unfold=True)
    assert seen["wide"] == []
    assert float(str(seen["smallest"])) >= 8.0
