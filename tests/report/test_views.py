"""Every form of a report: from `report.json` alone, no word that nobody may say, verdicts from a closed list."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from matplotlib.axes import Axes

from synthfed.report import render_views, report_bytes, validate_report
from synthfed.report.guarantee import missing_from
from synthfed.report.summary import render_summary
from tests.report import sample
from tests.report.conftest import build

# Anonymity depends on who receives a table (WP29 05/2014), and no page can promise safety.
NEVER = re.compile(
    r"anonym(?:ous|ised|ized)|gdpr[- ]compliant|\bsafe(?:ly)?\b|risk[- ]free|\bcertified\b|privacy (?:is )?guaranteed",
    re.IGNORECASE,
)
VERDICTS = re.compile(
    r"May be considered for controlled release\.|Not for release: .+\.|Not fit for .+\.|"
    r"Not shown: .+ cannot be measured with \d+ hold-out patients\.|Not shown in this edition: [a-z, ]+\.|"
    r"Not shown: [a-z, ]+ could not be measured\."
)
STATED = {
    "title": "AML at four hospitals <2026>",
    "publisher": "University Hospital",
    "contact": "data@hospital.example",
    "license": "https://creativecommons.org/licenses/by/4.0/",
    "page": "https://hospital.example/aml",
    "spatial": ["ITA", "DEU"],
    "start": "2015-01-01",
    "end": "2023-12-31",
    "categories": ["https://hdeu-dcat.data.health.europa.eu/resource/authority/healthcategories/EHRS"],
    "access_body": "The data access body",
    "access_body_contact": "https://body.example",
    "keywords": ["leukaemia"],
    "legal_basis": "Article 9(2)(j) GDPR",
    "individuals": 1600,
}


@pytest.fixture(scope="module")
def views(reports: dict[str, dict[str, Any]]) -> dict[str, dict[str, bytes]]:
    return {edition: render_views(report) for edition, report in reports.items()}


@pytest.fixture(scope="module")
def stated() -> dict[str, Any]:
    """A report whose data holder filled in `[catalogue]`."""
    return build(pipeline=sample.pipeline(catalogue=STATED))


def words_of(content: bytes) -> str:
    """All text of a view, the page without its styles, the PDF by its readable strings."""
    text = content.decode("utf-8", errors="ignore")
    return re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("edition", ["internal", "release", "simulated"])
def test_no_view_says_what_nobody_may_say(views: dict[str, dict[str, bytes]], edition: str) -> None:
    passed_on = {"datasheet.md", "model_card.md", "catalogue.jsonld", "croissant.json"}
    assert set(views[edition]) == {"report.html", "summary.pdf"} | (passed_on if edition != "internal" else set())
    for name, content in views[edition].items():
        assert NEVER.findall(words_of(content)) == [], name


@pytest.mark.parametrize("light", ["green", "amber", "red", "grey"])
@pytest.mark.parametrize("question", ["valid", "faithful", "useful", "private"])
@pytest.mark.parametrize("edition", ["internal", "simulated"])
def test_a_verdict_is_one_of_a_closed_list(edition: str, question: str, light: str) -> None:
    card = sample.scorecard()
    metrics = tuple(
        replace(m, light=light, value=None if light == "grey" else m.value, reason="few" if light == "grey" else "")
        if m.question == question and m.role == "deciding"
        else m
        for m in card.metrics
    )
    report = build(edition, scorecard=replace(card, metrics=metrics))
    assert VERDICTS.fullmatch(report["verdict"]["sentence"]), report["verdict"]["sentence"]


def test_views_follow_from_the_json_alone_byte_by_byte(
    reports: dict[str, dict[str, Any]], views: dict[str, dict[str, bytes]]
) -> None:
    assert render_views(json.loads(report_bytes(reports["release"]))) == views["release"]


def test_the_summary_is_one_small_page_without_a_date_of_making(views: dict[str, dict[str, bytes]]) -> None:
    for edition, files in views.items():
        content = files["summary.pdf"]
        assert len(content) < 100_000, edition
        assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") == 1
        assert b"CreationDate" not in content
        assert b"report.html" in content  # the subject names the accessible original


def test_the_summary_writes_lights_epsilon_and_attack_and_no_forbidden_word(
    reports: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    original = Axes.text

    def text(self: Axes, x: float, y: float, words: str, *args: Any, **look: Any) -> Any:
        written.append(words)
        return original(self, x, y, words, *args, **look)

    monkeypatch.setattr(Axes, "text", text)
    report = reports["internal"]
    render_summary(report)
    said = " ".join(written)
    assert NEVER.findall(said) == []
    for question, light in report["lights"].items():
        assert question.capitalize() in said
        assert light["word"] in said
    for words in (
        "Stays at the site",
        "epsilon = 3",
        "finds 16 of 1,000 patients",
        report["table_sha256"],
        "report.html",
    ):
        assert words in said, words


def test_what_nobody_stated_says_so(views: dict[str, dict[str, bytes]]) -> None:
    card = views["release"]["datasheet.md"].decode()
    assert "**Licence**: not stated by the data holder" in card
    assert "Left open for the catalogue record**: publisher, contact point, health category" in card
    assert json.loads(views["release"]["croissant.json"])["license"] == "not stated by the data holder"
    record = json.loads(views["release"]["catalogue.jsonld"])
    assert not {"dct:publisher", "dct:license", "dpv:hasPersonalData", "healthdcatap:hdab"} & set(record)


def test_what_the_data_holder_stated_is_printed_everywhere(stated: dict[str, Any]) -> None:
    validate_report(stated)
    files = render_views(stated)
    assert b"University Hospital" in files["datasheet.md"]
    assert b"&lt;2026>" in files["datasheet.md"]
    record = json.loads(files["catalogue.jsonld"])
    assert record["dct:publisher"]["cv:contactPoint"] == {"@type": "cv:ContactPoint", "cv:email": STATED["contact"]}
    assert record["dct:temporal"]["dcat:startDate"] == {"@type": "xsd:date", "@value": "2015-01-01"}
    assert [place["@id"][-3:] for place in record["dct:spatial"]] == ["ITA", "DEU"]
    assert json.loads(files["croissant.json"])["license"] == STATED["license"]


def test_the_catalogue_record_holds_what_the_profile_demands(stated: dict[str, Any]) -> None:
    """The mandatory properties of HealthDCAT-AP's shapes for restricted data, and of DCAT-AP 3."""
    record = json.loads(render_views(stated)["catalogue.jsonld"])
    demanded = (
        "dct:title", "dct:description", "dct:identifier", "dct:accessRights", "dcatap:applicableLegislation",
        "dcat:theme", "dcat:distribution", "healthdcatap:hdab", "healthdcatap:healthCategory",
        "healthdcatap:hasStructuredData", "healthdcatap:hasVariables",
    )  # fmt: skip
    assert [name for name in demanded if name not in record] == []
    for distribution in record["dcat:distribution"]:
        assert {"dcat:accessURL", "dcatap:applicableLegislation", "dct:format"} <= set(distribution)
    columns = record["healthdcatap:hasVariables"]["csvw:table"]["csvw:column"]
    assert len(columns) == stated["columns"]
    for column in columns:
        assert {"csvw:name", "csvw:title", "csvw:datatype", "dct:description"} <= set(column)
    assert record["healthdcatap:minTypicalAge"]["@value"] == "18"  # the dictionary's bound
    used = {name.split(":")[0] for name in _keys(record) if ":" in name and not name.startswith("@")}
    assert used <= set(record["@context"])


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for name, inner in value.items() if name != "@context" for key in _keys(inner)}
    return {key for inner in value for key in _keys(inner)} if isinstance(value, list) else set()


def test_croissant_names_each_file_with_its_hash_and_each_column_with_its_type() -> None:
    facts = {**sample.run_facts(), "files": [{"name": "synthetic.csv", "bytes": 9, "sha256": "5e" * 32}]}
    record = json.loads(render_views(build(run=facts))["croissant.json"])
    assert "http://mlcommons.org/croissant/1.1" in record["conformsTo"]
    assert record["distribution"][0]["sha256"] == "5e" * 32
    types = {field["name"]: field["dataType"] for field in record["recordSet"][0]["field"]}
    assert (types["age_years"], types["os_days"], types["NPM1"], types["sex"]) == (
        "sc:Float", "sc:Integer", "sc:Integer", "sc:Text",
    )  # fmt: skip
    assert record["recordSet"][0]["key"] == {"@id": "records/patient_id"}


def test_a_complete_statement_lacks_nothing(reports: dict[str, dict[str, Any]]) -> None:
    privacy = reports["release"]["privacy"]
    assert privacy["missing"] == []
    assert [budget["population"] for budget in privacy["budgets"]] == ["train"]
    assert {entry["name"] for entry in privacy["public"]} >= {"clip_norm", "expected_patients"}
    assert privacy["audit"]["said"] == "No audit of epsilon with canaries was run."


@pytest.mark.parametrize("key", ["unit", "public", "trust", "implementation", "not_covered", "covered"])
def test_an_incomplete_statement_is_red_however_small_epsilon(key: str) -> None:
    whole = sample.ledger_of(sample.pipeline(privacy__epsilon=0.5))
    stated = {name: value for name, value in whole.items() if name != key}
    card = sample.scorecard(stated=whole)
    assert build("internal", ledger=whole, scorecard=card)["lights"]["guaranteed"]["light"] == "green"
    report = build("internal", ledger=stated, scorecard=card)
    assert missing_from(stated) != []
    assert report["lights"]["guaranteed"]["light"] == "red"
    assert "incomplete" in report["lights"]["guaranteed"]["because"]
    assert report["verdict"]["code"] == "not_for_release"
