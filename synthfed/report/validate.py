"""Checks a report against its JSON Schema, the file that lies beside the page's template."""

import json
from collections.abc import Mapping
from typing import Any

from synthfed.errors import ConfigError, DossierError
from synthfed.resources import shipped


def validate_report(report: Mapping[str, Any]) -> None:
    """Refuse a report that does not have the published form.

    Raises:
        ConfigError: `jsonschema` is not installed.
        DossierError: The report departs from the schema; the message names the place, never the value found there.
    """
    try:
        from jsonschema import Draft202012Validator
    except ImportError as error:
        raise ConfigError("validate_report needs the package 'jsonschema'; pip install 'synthfed[dev]'") from error
    schema = json.loads((shipped("reports/templates") / "report.schema.json").read_text(encoding="utf-8"))
    faults = sorted(Draft202012Validator(schema).iter_errors(report), key=lambda fault: list(map(str, fault.path)))
    if faults:
        shown = [
            f"  {fault.json_path}: breaks {fault.validator} {_wanted(fault.validator_value)}" for fault in faults[:10]
        ]
        raise DossierError("report does not follow synthfed.report/1:\n" + "\n".join(shown))


def _wanted(rule: object) -> str:
    text = json.dumps(rule, sort_keys=True, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."
