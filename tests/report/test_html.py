"""The page: self-contained, readable without colour, and free of words nobody may say."""

import json
import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest

from synthfed.report import render_html, report_bytes
from synthfed.resources import shipped
from tests.report import sample
from tests.report.conftest import build

EDITIONS = ["internal", "release", "simulated"]
NEVER = [
    "anonymous",
    "anonymised",
    "anonymized",
    "GDPR-compliant",
    "safe",
    "risk-free",
    "certified",
    "privacy guaranteed",
]


class Outline(HTMLParser):
    """Tags, ids and references of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words += f" {data}"

    def ids(self) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get("id"))]

    def count(self, name: str) -> int:
        return sum(tag == name for tag, _ in self.tags)


@pytest.mark.parametrize("edition", EDITIONS)
def test_page_needs_nothing_from_outside(pages: dict[str, str], edition: str) -> None:
    page = pages[edition]
    outline = Outline(page)
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in outline.tags}
    plain = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=\s]+", "", page)
    assert re.findall(r"https?:|//\w|@import|@font-face|\son\w+=", plain) == []
    for _, attrs in outline.tags:
        for name in ("href", "src"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/png;base64,")), attrs
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page


@pytest.mark.parametrize("edition", EDITIONS)
def test_words_nobody_may_say_are_not_said(
    reports: dict[str, dict[str, Any]], pages: dict[str, str], edition: str
) -> None:
    everything = pages[edition] + report_bytes(reports[edition]).decode()
    found = [word for word in NEVER if re.search(rf"\b{word}\b", everything, flags=re.IGNORECASE)]
    assert found == []


@pytest.mark.parametrize("path", ["report.html.j2", "report.css", "report.schema.json"])
def test_templates_never_hold_those_words(path: str) -> None:
    text = (shipped("reports/templates") / path).read_text(encoding="utf-8")
    assert [word for word in NEVER if re.search(rf"\b{word}\b", text, flags=re.IGNORECASE)] == []


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_picture_has_words_and_every_figure_a_table(pages: dict[str, str], edition: str) -> None:
    page = pages[edition]
    opening = r'<svg viewBox="[^"]+" role="img" aria-labelledby="(\S+) (\S+)">'
    pictures = re.findall(opening + r'<title id="(\S+)">(.+?)</title><desc id="(\S+)">(.+?)</desc>', page)
    drawn = [attrs for tag, attrs in Outline(page).tags if tag == "svg" and attrs.get("aria-hidden") != "true"]
    assert len(pictures) == len(drawn) > 10
    assert all((a, b) == (t, d) and title and words for a, b, t, title, d, words in pictures)
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL)
    assert figures
    for figure in figures:
        assert "<figcaption" in figure
        assert "<details" in figure
        assert figure.count("<tr>") > 1


@pytest.mark.parametrize("edition", EDITIONS)
def test_structure_serves_a_screen_reader(pages: dict[str, str], edition: str) -> None:
    outline = Outline(pages[edition])
    ids = outline.ids()
    assert len(ids) == len(set(ids)), sorted({i for i in ids if ids.count(i) > 1})
    assert (
        outline.count("h1") == outline.count("main") == outline.count("title") - pages[edition].count('role="img"') == 1
    )
    assert dict(outline.tags[0][1]) == {"lang": "en"}
    targets = [attrs["href"] for tag, attrs in outline.tags if tag == "a"]
    assert all(target is not None and target[1:] in ids for target in targets)
    assert "#main" in targets


@pytest.mark.parametrize(
    ("edition", "banner"),
    [("internal", "Stays at the site"), ("release", "Release edition"), ("simulated", "Simulated patients")],
)
def test_banner_names_the_edition_first(pages: dict[str, str], edition: str, banner: str) -> None:
    body = pages[edition].split("<body>")[1]
    assert banner in body.split("<header")[0]


def test_first_screen_says_all_five_lights_in_words(pages: dict[str, str], reports: dict[str, dict[str, Any]]) -> None:
    header = Outline(pages["simulated"].split("<header")[1].split("</header>")[0]).words
    assert reports["simulated"]["verdict"]["sentence"] in header
    for question, light in reports["simulated"]["lights"].items():
        assert question in header
        assert light["word"] in header


def test_release_shows_no_number_of_a_patient(pages: dict[str, str]) -> None:
    words = Outline(pages["release"]).words
    assert "641" not in words
    assert "An attacker finds" not in words
    assert "patients</span>" not in pages["release"]


def test_the_same_report_gives_the_same_page(reports: dict[str, dict[str, Any]], pages: dict[str, str]) -> None:
    read_back = json.loads(report_bytes(reports["simulated"]))
    assert render_html(read_back) == pages["simulated"]


def test_page_is_small_and_quick(reports: dict[str, dict[str, Any]]) -> None:
    started = time.process_time()
    page = render_html(reports["simulated"])
    assert time.process_time() - started < 8.0
    assert len(page.encode()) < 1_000_000


def test_text_from_outside_is_escaped() -> None:
    report = build(pipeline=sample.pipeline(title="<script>alert(1)</script> & <b>"))
    page = render_html(report)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_labels_from_a_dictionary_cannot_break_a_picture() -> None:
    card = sample.scorecard()
    hostile = {**card.figures["marginals"][0], "label": "</title><script>x</script>", "column": "$x^2$"}
    card = type(card)(card.metrics, {**card.figures, "marginals": [hostile]}, card.seed, card.rows)
    assert "<script" not in render_html(build(scorecard=card))


def test_page_without_any_figure_still_stands() -> None:
    card = sample.scorecard()
    run = {**sample.run_facts(), "history": []}
    page = render_html(build(scorecard=type(card)(card.metrics, {}, card.seed, card.rows), run=run))
    assert "The membership attack was not run" in page


def test_colours_keep_their_contrast_in_light_and_dark() -> None:
    """WCAG 2.2 AA: 4.5:1 for text, 3:1 for the marks of figures."""
    css = (shipped("reports/templates") / "report.css").read_text(encoding="utf-8")
    blocks = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(blocks) == 3
    for colours in blocks:
        for text in ("ink", "soft", "link", "accent", "green", "amber", "red", "grey"):
            for ground in ("paper", "page"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, colours[text], ground)
        assert contrast(colours["real"], colours["paper"]) >= 3.0
        assert contrast(colours["banner-ink"], colours["banner"]) >= 4.5


def contrast(one: str, two: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
