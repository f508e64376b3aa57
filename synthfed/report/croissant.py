"""The release for machine learning tools, `croissant.json`: Croissant 1.1 with the responsible AI vocabulary 1.0.

After docs.mlcommons.org/croissant: the files with their hashes, one record set with a typed field per column, and what
a user of the table should know about its making, its limits and its biases.
"""

import json
from collections.abc import Mapping
from typing import Any

from synthfed.report.catalogue import describe
from synthfed.report.html import badly_represented
from synthfed.report.stated import NOT_STATED, description, files, identifier, provenance, stated, title

_CONTEXT: Mapping[str, Any] = {  # of the specification, section "Appendix 1: JSON-LD context"
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MEDIA = {
    "synthetic.csv": "text/csv",
    "synthetic.parquet": "application/x-parquet",
    "dictionary.toml": "application/toml",
    "rules.toml": "application/toml",
    "pipeline.toml": "application/toml",
    "ledger.json": "application/json",
}
_TYPES = {"continuous": "sc:Float", "count": "sc:Integer", "flag": "sc:Integer"}


def render_croissant(report: Mapping[str, Any]) -> str:
    """Draw `croissant.json`."""
    said = stated(report)
    record: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": title(report),
        "description": description(report),
        "identifier": identifier(report),
        "citeAs": f"{title(report)}. {identifier(report)}",
        "datePublished": report["created"],
        "version": "1.0.0",
        "license": said.get("license", NOT_STATED),
        "url": said.get("page", identifier(report)),
        "publisher": {"@type": "sc:Organization", "name": said.get("publisher", NOT_STATED)},
        "keywords": list(said.get("keywords", ())) or ["synthetic data", report["disease"]],
        "rai:dataCollection": provenance(report),
        "rai:dataCollectionType": "Others",
        "rai:dataCollectionRawData": "Patients' records that stayed at the sites; none is among these files."
        if not report["simulated"]
        else "No patient: a program drew the records that stood in for them.",
        "rai:dataPreprocessingProtocol": list((report.get("made") or {}).get("sentences", ())),
        "rai:dataLimitations": list(report["limits"]),
        "rai:dataBiases": badly_represented(report)
        or ["Rare groups and extreme values are told worst: the noise hides what few patients have, on purpose."],
        "rai:dataUseCases": list(report["verdict"]["may"]),
        "rai:personalSensitiveInformation": _sensitive(report),
        "rai:dataReleaseMaintenancePlan": NOT_STATED,
        "distribution": [_file(report, name) for name in _MEDIA if name in files(report)],
        "recordSet": [_records(report)],
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _sensitive(report: Mapping[str, Any]) -> list[str]:
    """Categories of columns that are sensitive by declaration, and what stands between them and a patient."""
    fields = [field["label"] or field["name"] for field in report.get("fields", ()) if field["sensitive"]]
    return ["Health data, synthetic: no record is a patient.", *fields, report["privacy"]["sentence"]]


def _file(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    entry = files(report)[name]
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{entry['bytes']} B",
        "encodingFormat": _MEDIA[name],
        "sha256": entry["sha256"],
    }


def _records(report: Mapping[str, Any]) -> dict[str, Any]:
    fields = [_field(field) for field in report.get("fields", ())]
    record: dict[str, Any] = {"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}
    key = next((field["name"] for field in report.get("fields", ()) if field["kind"] == "id"), None)
    return {**record, "key": {"@id": f"records/{key}"}} if key else record


def _field(field: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"records/{field['name']}",
        "name": field["name"],
        "description": describe(field),
        "dataType": _TYPES.get(field["kind"], "sc:Text"),
        "source": {"fileObject": {"@id": "synthetic.csv"}, "extract": {"column": field["name"]}},
    }
