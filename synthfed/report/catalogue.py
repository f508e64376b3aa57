"""The catalogue record of a release, `catalogue.jsonld`: DCAT-AP 3 with HealthDCAT-AP.

Property names, classes and vocabularies follow HealthDCAT-AP release 8 (its shapes for restricted data;
healthdataeu.pages.code.europa.eu/healthdcat-ap) and DCAT-AP 3.0 (semiceu.github.io/DCAT-AP). What only the data holder
can say comes from `[catalogue]` or is left out: `open_fields` names what the profile asks for and nobody has stated.
Ages are the dictionary's bounds, never the patients'. Whether a record holds personal data is not for this file to
decide.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from synthfed.report.stated import description, files, identifier, provenance, stated, title

_CONTEXT = {
    "adms": "http://www.w3.org/ns/adms#",
    "csvw": "http://www.w3.org/ns/csvw#",
    "cv": "http://data.europa.eu/m8g/",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcatap": "http://data.europa.eu/r5r/",
    "dct": "http://purl.org/dc/terms/",
    "dpv": "https://w3id.org/dpv#",
    "dqv": "http://www.w3.org/ns/dqv#",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "healthdcatap": "http://healthdataportal.eu/ns/health#",
    "prov": "http://www.w3.org/ns/prov#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "spdx": "http://spdx.org/rdf/terms#",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
_EHDS = {"@id": "http://data.europa.eu/eli/reg/2025/327/oj"}  # Regulation (EU) 2025/327
_EU = "http://publications.europa.eu/resource/authority"
_HEALTH = "https://hdeu-dcat.data.health.europa.eu/resource/authority"
_CODING = {"LOINC": "LOINC", "SNOMED": "SNOMED-CT", "ICD-10": "ICD-10", "HGNC": "HGNC", "UCUM": "UCUM"}
_WANTED = {  # by the shapes for restricted data, and not ours to say
    "publisher": "publisher",
    "contact": "contact point",
    "categories": "health category",
    "access_body": "health data access body",
    "license": "licence",
    "page": "page of access",
}
_DATATYPES = {"continuous": "decimal", "count": "integer", "flag": "boolean"}
_FORMATS = {
    "synthetic.csv": ("CSV", "text/csv", "The table as CSV"),
    "synthetic.parquet": ("PARQUET", "application/vnd.apache.parquet", "The table as Parquet"),
}


def render_catalogue(report: Mapping[str, Any]) -> str:
    """Draw `catalogue.jsonld`."""
    return json.dumps({"@context": _CONTEXT, **_dataset(report)}, indent=1, ensure_ascii=False) + "\n"


def open_fields(report: Mapping[str, Any]) -> list[str]:
    """What HealthDCAT-AP asks for and `[catalogue]` does not say."""
    said = stated(report)
    return [words for name, words in _WANTED.items() if name not in said]


def _dataset(report: Mapping[str, Any]) -> dict[str, Any]:
    said, name = stated(report), identifier(report)
    record: dict[str, Any] = {
        "@id": name if _is_address(name) else f"urn:sha256:{report['table_sha256']}",
        "@type": "dcat:Dataset",
        "dct:title": _english(title(report)),
        "dct:description": _english(description(report)),
        "dct:identifier": name,
        "dct:issued": _typed(report["created"], "dateTime"),
        "dct:type": {"@id": f"{_EU}/dataset-type/SYNTHETIC_DATA"},
        "dct:language": {"@id": f"{_EU}/language/ENG"},
        "dct:accessRights": {"@id": f"{_EU}/access-right/{said.get('access', 'RESTRICTED')}"},
        "dcatap:applicableLegislation": _EHDS,
        "dcat:theme": {"@id": f"{_EU}/data-theme/HEAL"},
        "dct:provenance": {"@type": "dct:ProvenanceStatement", "rdfs:label": _english(provenance(report))},
        "prov:wasGeneratedBy": {"@type": "prov:Activity", "rdfs:label": _english(report["run"]["command"])},
        "healthdcatap:numberOfRecords": _typed(report["rows"], "nonNegativeInteger"),
        "healthdcatap:hasStructuredData": _typed("true", "boolean"),
        "healthdcatap:hasVariables": _variables(report),
        **_ages(report),
        **_codes(report),
        "dcat:distribution": [_distribution(report, file) for file in _FORMATS if file in files(report)]
        or [_distribution(report, "synthetic.csv")],
        "healthdcatap:analytics": _page(report),
        "dqv:hasQualityMeasurement": [_measurement(metric) for metric in report["metrics"] if _leads(metric)],
    }
    return record | _of_the_holder(said)


def _of_the_holder(said: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    if "publisher" in said:
        record["dct:publisher"] = _agent(said["publisher"], said.get("contact"))
    if "contact" in said:
        kind = "vcard:hasEmail" if "@" in said["contact"] else "vcard:hasURL"
        record["dcat:contactPoint"] = {"@type": "vcard:Kind", kind: {"@id": _reach(said["contact"])}}
    if "access_body" in said:
        record["healthdcatap:hdab"] = _agent(said["access_body"], said.get("access_body_contact"))
    if "license" in said and _is_address(said["license"]):
        record["dct:license"] = {"@id": said["license"]}
    if "page" in said:
        record["dcat:landingPage"] = {"@id": said["page"]}
    if "spatial" in said:
        places = [place if _is_address(place) else f"{_EU}/country/{place}" for place in said["spatial"]]
        record["dct:spatial"] = [{"@id": place} for place in places]
    if "start" in said or "end" in said:
        ends = {"dcat:startDate": said.get("start"), "dcat:endDate": said.get("end")}
        days = {name: _typed(day, "date") for name, day in ends.items() if day}
        record["dct:temporal"] = {"@type": "dct:PeriodOfTime", **days}
    if "keywords" in said:
        record["dcat:keyword"] = [_english(word) for word in said["keywords"]]
    if "population" in said:
        record["healthdcatap:populationCoverage"] = _english(said["population"])
    if "individuals" in said:
        record["healthdcatap:numberOfUniqueIndividuals"] = _typed(said["individuals"], "nonNegativeInteger")
    if "purpose" in said:
        record["dpv:hasPurpose"] = {"@type": "dpv:Purpose", "dct:description": _english(said["purpose"])}
    if "legal_basis" in said:
        record["dpv:hasLegalBasis"] = {"@type": "dpv:LegalBasis", "dct:description": _english(said["legal_basis"])}
    for name, key in (
        ("categories", "healthdcatap:healthCategory"),
        ("themes", "healthdcatap:healthTheme"),
        ("personal_data", "dpv:hasPersonalData"),
    ):
        if name in said:
            record[key] = [{"@id": address} for address in said[name]]
    return record


def _distribution(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    kind, media, words = _FORMATS[name]
    entry = files(report).get(name, {"sha256": report["table_sha256"]})
    record = {
        "@type": "dcat:Distribution",
        "dct:title": _english(words),
        "dcat:accessURL": {"@id": stated(report).get("page", name)},
        "dcatap:applicableLegislation": _EHDS,
        "dct:format": {"@id": f"{_EU}/file-type/{kind}"},
        "dcat:mediaType": {"@id": f"http://www.iana.org/assignments/media-types/{media}"},
        "spdx:checksum": {
            "@type": "spdx:Checksum",
            "spdx:algorithm": {"@id": "spdx:checksumAlgorithm_sha256"},
            "spdx:checksumValue": _typed(entry["sha256"], "hexBinary"),
        },
    }
    if "bytes" in entry:
        record["dcat:byteSize"] = _typed(entry["bytes"], "nonNegativeInteger")
    return record


def _page(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report, for `healthdcatap:analytics`."""
    return {
        "@type": "dcat:Distribution",
        "dct:title": _english("Fidelity, utility and privacy report"),
        "dcat:accessURL": {"@id": stated(report).get("page", "report.html")},
        "dcatap:applicableLegislation": _EHDS,
        "dct:format": {"@id": f"{_EU}/file-type/HTML"},
    }


def _variables(report: Mapping[str, Any]) -> dict[str, Any]:
    """The columns, as a CSVW table group."""
    columns = [
        {
            "@type": "csvw:Column",
            "csvw:name": field["name"],
            "csvw:title": _english(field["label"] or field["name"]),
            "csvw:datatype": _DATATYPES.get(field["kind"], "string"),
            "dct:description": _english(describe(field)),
        }
        for field in report.get("fields", ())
    ]
    table = {
        "@type": "csvw:Table",
        "dct:title": _english("synthetic.csv"),
        "csvw:url": {"@id": "synthetic.csv"},
        "csvw:column": columns,
    }
    return {"@type": "csvw:TableGroup", "dct:title": _english("Columns of the synthetic table"), "csvw:table": table}


def describe(field: Mapping[str, Any]) -> str:
    """A column in one sentence: label, unit, values, code."""
    parts = [field["label"] or field["name"]]
    if field["levels"]:
        parts.append(f"one of {', '.join(field['levels'])}")
    elif field["lower"] is not None:
        parts.append(f"{field['lower']:g} to {field['upper']:g}{' ' + field['unit'] if field['unit'] else ''}")
    if field["code"]:
        parts.append(field["code"])
    return "; ".join(parts)


def _ages(report: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary's bounds on age in years; nothing where it has no such column."""
    for field in report.get("fields", ()):
        if field["unit"] == "years" and field["name"].startswith("age") and field["lower"] is not None:
            return {
                "healthdcatap:minTypicalAge": _typed(int(field["lower"]), "nonNegativeInteger"),
                "healthdcatap:maxTypicalAge": _typed(int(field["upper"]), "nonNegativeInteger"),
            }
    return {}


def _codes(report: Mapping[str, Any]) -> dict[str, Any]:
    codes = list(dict.fromkeys(field["code"] for field in report.get("fields", ()) if field["code"]))
    systems = [system for word, system in _CODING.items() if any(word in code for code in codes)]
    record: dict[str, Any] = {"healthdcatap:hasCodeValues": codes} if codes else {}
    if systems:
        record["healthdcatap:hasCodingSystem"] = [{"@id": f"{_HEALTH}/coding-system/{system}"} for system in systems]
    return record


def _leads(metric: Mapping[str, Any]) -> bool:
    return metric["role"] == "deciding" and metric["value"] is not None


def _measurement(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "dqv:QualityMeasurement",
        "dqv:isMeasurementOf": {
            "@type": "dqv:Metric",
            "@id": f"urn:synthfed:{metric['id']}",
            "rdfs:label": metric["label"],
        },
        "dqv:value": _typed(metric["value"], "double"),
    }


def _agent(name: str, contact: str | None) -> dict[str, Any]:
    agent: dict[str, Any] = {"@type": "foaf:Agent", "foaf:name": _english(name)}
    if contact:
        point = {"cv:email": contact} if "@" in contact else {"cv:contactPage": {"@id": contact}}
        agent["cv:contactPoint"] = {"@type": "cv:ContactPoint", **point}
    return agent


def _reach(contact: str) -> str:
    return f"mailto:{contact}" if "@" in contact and ":" not in contact else contact


def _english(words: str) -> dict[str, str]:
    return {"@language": "en", "@value": words}


def _typed(value: Any, kind: str) -> dict[str, str]:
    return {"@type": f"xsd:{kind}", "@value": str(value)}


def _is_address(text: str) -> bool:
    return re.match(r"(https?://|urn:|doi:)\S+$", text) is not None
