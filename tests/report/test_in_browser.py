"""The page in a real browser: it fits a phone, stays readable, and keeps its contrast by day and by night."""

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

HARNESS = r"""<!doctype html><body style="margin:0">
<iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}">
</iframe><pre id="out"></pre><script>onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  if ({unfold}) page.querySelectorAll("details").forEach(d => d.open = true);
  const wide = [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg, .skip, .metrics thead")
    && e.getBoundingClientRect().right > {width} + 1).map(e => e.tagName + "." + e.className);
  const scale = t => Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b);  // also of turned text
  const tiny = [...page.querySelectorAll("svg text")].filter(t => t.getBoundingClientRect().height > 0)
    .map(t => parseFloat(page.defaultView.getComputedStyle(t).fontSize) * scale(t));
  const view = page.defaultView, channels = text => (text.match(/[\d.]+/g) || []).map(Number);
  const luminance = rgb => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => {{  // the nearest background that hides what is behind it
    for (; e; e = e.parentElement) {{
      const rgba = channels(view.getComputedStyle(e).backgroundColor);
      if (rgba.length === 3 || rgba[3] === 1) return rgba;
    }}
    return [255, 255, 255];
  }};
  const shown = e => e.getClientRects().length && !e.closest(".skip, .metrics thead");
  const pale = [];
  for (const e of page.querySelectorAll("body *")) {{
    const words = [...e.childNodes].filter(n => n.nodeType === 3 && n.textContent.trim());
    if (!words.length || !shown(e) || e.closest("title, desc, style")) continue;
    const look = view.getComputedStyle(e), ink = channels(e.closest("svg") ? look.fill : look.color);
    const [dark, light] = [luminance(ink), luminance(ground(e))].sort((a, b) => a - b);
    const big = parseFloat(look.fontSize) >= 24 || (parseFloat(look.fontSize) >= 18.66 && look.fontWeight >= 700);
    if ((light + 0.05) / (dark + 0.05) < (big ? 3 : 4.5)) pale.push(e.tagName + ": " + words[0].textContent.trim());
  }}
  const mute = [...page.querySelectorAll("img, svg")].filter(e => !e.closest("[aria-hidden=true]")
    && !(e.getAttribute("alt") || (e.getAttribute("role") === "img" && e.querySelector(":scope > title")?.textContent
    && e.querySelector(":scope > desc")?.textContent))).length;
  document.getElementById("out").textContent = JSON.stringify({{
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches, pale: pale.slice(0, 8), mute,
    scroll: page.documentElement.scrollWidth, wide: wide.slice(0, 5), smallest: Math.min(...tiny),
    pictures: page.querySelectorAll("svg[role=img]").length,
    titled: page.querySelectorAll("svg[role=img] > title").length}});
}};</script>"""


def measure(page: str, folder: Path, *, width: int, unfold: bool = False, dark: bool = False) -> dict[str, object]:
    file = folder / "harness.html"
    file.write_text(
        HARNESS.format(width=width, page=html.escape(page, quote=True), unfold=str(unfold).lower()), encoding="utf-8"
    )
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
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


@pytest.mark.parametrize("dark", [False, True])
def test_every_word_keeps_its_contrast_and_every_picture_its_words(
    pages: dict[str, str], tmp_path: Path, dark: bool
) -> None:
    """WCAG 2.2 AA, from the styles that the browser computed: 4.5:1, large text 3:1."""
    seen = measure(pages["simulated"], tmp_path, width=1280, unfold=True, dark=dark)
    assert seen["dark"] is dark
    assert seen["pale"] == []
    assert seen["mute"] == 0
    assert seen["wide"] == []


def test_the_browser_sees_a_pale_word_and_a_picture_without_words(pages: dict[str, str], tmp_path: Path) -> None:
    spoilt = '<main id="main"><p style="color: #bbb">pale</p><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'
    seen = measure(pages["release"].replace('<main id="main">', spoilt), tmp_path, width=1280)
    assert seen["pale"] == ["P: pale"]
    assert seen["mute"] == 1
