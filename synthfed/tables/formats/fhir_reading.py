"""Read a hospital's FHIR R4 resources: Patient, Condition and Observation, in bundles or one per line (NDJSON).

An Observation gives a value for each of its codes and components: quantities with their UCUM unit, numbers, coded
answers, texts, yes and no. Its LOINC number names the column; a local code or text that the mapping or the dictionary
knows does, too. `entered-in-error` and `cancelled` are left out. Bundles are held in memory; NDJSON is read line by
line and is the way for more than some thousand patients.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthfed.errors import DataError, UnreadableFile
from synthfed.tables.dictionary import Dictionary
from synthfed.tables.findings import Finding, Log
from synthfed.tables.formats.codes import column_by_loinc, columns_of_persons
from synthfed.tables.formats.days import read_days
from synthfed.tables.formats.diagnoses import Conditions, diagnosis_codes, diagnosis_days
from synthfed.tables.formats.events import Analyte, Days, Events, Patients, Survey, Value
from synthfed.tables.formats.fhir_files import resources_in
from synthfed.tables.formats.fhir_values import analyte_of, codings_of, dict_in, dicts_in, text_of, value_of
from synthfed.tables.formats.gathering import gather
from synthfed.tables.formats.sources import fhir_files
from synthfed.tables.mapping import mapping_path
from synthfed.tables.mapping_lines import TableMapping

PATIENT_SYSTEM = "http://synthfed.invalid/patient"  # identifiers that an export of ours keeps

_LEFT_OUT = frozenset(["entered-in-error", "cancelled"])
# kinds of resources that are named when they are met; another word is not repeated
_KINDS = frozenset(
    re.findall(
        r"\w+",
        """
        Patient Condition Observation Encounter EpisodeOfCare Procedure Medication MedicationRequest MedicationStatement
        MedicationAdministration MedicationDispense DiagnosticReport ServiceRequest Specimen ImagingStudy Immunization
        AllergyIntolerance FamilyMemberHistory CarePlan CareTeam Goal Organization Practitioner PractitionerRole
        Location Device DocumentReference Composition Questionnaire QuestionnaireResponse ResearchStudy ResearchSubject
        Group List Consent Coverage Claim ExplanationOfBenefit Provenance OperationOutcome Parameters Binary
        """,
    )
)
# code system data-absent-reason; another word is not repeated
_REASONS = frozenset(["unknown", "asked-unknown", "temp-unknown", "not-asked", "asked-declined", "masked", "error"])
_REASONS |= frozenset(["not-applicable", "unsupported", "as-text", "not-a-number", "negative-infinity"])
_REASONS |= frozenset(["positive-infinity", "not-performed", "not-permitted"])


def read_fhir(
    path: Path, dictionary: Dictionary, mapping: TableMapping, *, extra: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """A table of texts with one row per Patient, ready for `type_table`, and what was done.

    Args:
        path: A bundle, an NDJSON file, or a folder of them that belong together.
        extra: Not used: a Patient has no further columns.

    Raises:
        UnreadableFile: It is no JSON, or holds no Patient.
        DataError: Everything undecided or contradictory, in one message.
    """
    log = Log()
    resources = _collected(path, log)
    note = "read as FHIR: " + ", ".join(
        f"{resources.kinds[kind]} {kind}" for kind in ("Patient", "Condition", "Observation") if resources.kinds[kind]
    )
    log.findings.insert(0, Finding("format", path.name, len(resources.patients), note))
    patients, events = resources.tables(dictionary, mapping)
    frame = gather(patients, events, dictionary, mapping, log=log)
    log.raise_problems(f"{path.name} (mapping file: {mapping_path(path).name})")
    return frame, tuple(log.findings)


def survey_fhir(path: Path, dictionary: Dictionary) -> Survey:
    """What the resources hold, for drafting a mapping; problems are left to reading.

    Raises:
        UnreadableFile: It is no JSON, or holds no Patient.
    """
    return _collected(path, Log()).survey(dictionary)


def _collected(path: Path, log: Log) -> "_Resources":
    resources = _Resources(log)
    for file in fhir_files(path, bundles=True) if path.is_dir() else [path]:
        for resource in resources_in(file):
            resources.add(resource)
    if not resources.patients:
        held = ", ".join(f"{count} {kind}" for kind, count in resources.kinds.most_common(5)) or "nothing"
        raise UnreadableFile(
            f"{path.name} holds no Patient but {held}; give Patient, Condition and Observation resources"
        )
    return resources


@dataclass(slots=True)
class _Distinct:
    """Positions of distinct things, so that a row is an integer."""

    places: dict[Any, int] = field(default_factory=dict)

    def __call__(self, thing: Any) -> int:
        return self.places.setdefault(thing, len(self.places))


class _Resources:
    """What was met so far, as integers that point into distinct texts."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.kinds: Counter[str] = Counter()
        self.patients: dict[str, dict[str, Any]] = {}
        self.references: dict[str, str] = {}  # reference as written -> Patient.id
        self.reasons: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.twice = self.contrary = self.untold = 0
        self.subjects, self.analytes, self.values, self.dates = _Distinct(), _Distinct(), _Distinct(), _Distinct()
        self.rows = tuple(array("l") for _ in range(4))
        self.conditions: list[tuple[int, tuple[str, ...], int]] = []
        self.held: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()

    def add(self, resource: Mapping[str, Any]) -> None:
        kind = str(resource["resourceType"])
        self.kinds[kind if kind in _KINDS else "something else"] += 1
        readers: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "Patient": self._patient,
            "Condition": self._condition,
            "Observation": self._observation,
        }
        if kind in readers:
            readers[kind](resource)

    def _patient(self, resource: Mapping[str, Any]) -> None:
        identity = resource.get("id") or resource.get("_fullUrl")
        if not isinstance(identity, str):
            self.untold += 1
            return
        own = [i.get("value") for i in dicts_in(resource.get("identifier")) if i.get("system") == PATIENT_SYSTEM]
        about = {
            "id": own[0] if own and isinstance(own[0], str) else identity,
            "sex": text_of(resource.get("gender")),
            "born": text_of(resource.get("birthDate")),
            "died": text_of(resource.get("deceasedDateTime")),
        }
        if identity in self.patients:
            self.twice += 1
            self.contrary += self.patients[identity] != about
            return
        self.patients[identity] = about
        for name in (f"Patient/{identity}", f"urn:uuid:{identity}", resource.get("_fullUrl")):
            if isinstance(name, str):
                self.references[name] = identity

    def _condition(self, resource: Mapping[str, Any]) -> None:
        status = codings_of(resource.get("verificationStatus"))
        if any(code == "entered-in-error" for _, code, _ in status):
            self.left_out["entered in error"] += 1
            return
        codes = tuple(code for _, code, _ in codings_of(resource.get("code")) if code)
        words = codes + tuple(t for t in (text_of(dict_in(resource.get("code")).get("text")),) if t)
        onset = text_of(resource.get("onsetDateTime")) or text_of(dict_in(resource.get("onsetPeriod")).get("start"))
        date = onset or text_of(resource.get("recordedDate"))
        self.conditions.append((self._subject(resource), words, self.dates(date[:10])))

    def _observation(self, resource: Mapping[str, Any]) -> None:
        status = text_of(resource.get("status"))
        if status in _LEFT_OUT:
            self.left_out[status.replace("-", " ")] += 1
            return
        start = text_of(dict_in(resource.get("effectivePeriod")).get("start"))
        date = text_of(resource.get("effectiveDateTime")) or start or text_of(resource.get("effectiveInstant"))
        date = (date or text_of(resource.get("issued")))[:10]
        subject = self._subject(resource)
        parts = [resource, *dicts_in(resource.get("component"))]
        for part in parts:
            analyte = analyte_of(part.get("code"))
            value, problem = value_of(part)
            if problem:
                self.left_out[problem] += 1
            elif value is None:
                if "dataAbsentReason" in part:
                    said = [code for _, code, _ in codings_of(part["dataAbsentReason"]) if code in _REASONS]
                    self.reasons[next(iter(said), "other")] += 1
                    self.held.add(analyte)
            else:
                for row, item in zip(
                    self.rows, (subject, self.analytes(analyte), self.values(value), self.dates(date)), strict=True
                ):
                    row.append(item)

    def _subject(self, resource: Mapping[str, Any]) -> int:
        return self.subjects(text_of(dict_in(resource.get("subject")).get("reference")))

    # ------------------------------------------------------------------------------------------ as tables

    def survey(self, dictionary: Dictionary) -> Survey:
        """Everything met, for drafting a mapping."""
        mapping = TableMapping()
        events, owner, known = self._events(mapping)
        conditions = self._conditions(owner, known)
        counts = conditions.counts()
        held = {key: any(person[key] for person in self.patients.values()) for key in ("sex", "born", "died")}
        dated = bool(conditions.codes)
        return Survey(
            events=events,
            conditions={next(iter(c), ""): int(n) for c, n in zip(conditions.codes, counts, strict=True)},
            diagnosis_is_known=bool(diagnosis_codes(conditions, dictionary, mapping).any()) or not conditions.codes,
            from_persons=columns_of_persons(
                dictionary.schema, sex=held["sex"], age=held["born"] and dated, death=held["died"] and dated
            ),
        )

    def tables(self, dictionary: Dictionary, mapping: TableMapping) -> tuple[Patients, Events]:
        """Everything met, for `gather`."""
        self._tell()
        events, owner, known = self._events(mapping)
        return self._people(dictionary, mapping, owner, known), events

    def _events(self, mapping: TableMapping) -> tuple[Events, Any, Days]:
        """Values by patient; the patient behind each subject; the day behind each date."""
        place = {identity: i for i, identity in enumerate(self.patients)}
        owner = np.array([self._position(name, place) for name in self.subjects.places] or [-1], dtype=np.int32)
        subject, analyte, value, date = (np.frombuffer(row, dtype="l") if len(row) else _none() for row in self.rows)
        patient = owner[subject]
        strange = patient < 0
        if strange.any():
            note = "Observations of Patients that are not here; left out"
            self.log.findings.append(Finding("unknown_person", "Observation", int(strange.sum()), note))
        known = self._known_days(mapping, date)
        analytes = [Analyte(spellings, loincs) for spellings, loincs in self.analytes.places]
        kept = ~strange
        events = Events(
            patient=patient[kept],
            analyte=analyte[kept].astype(np.int32),
            value=value[kept].astype(np.int32),
            day=known[date][kept],
            analytes=tuple(analytes),
            values=tuple(Value(*parts) for parts in self.values.places),
        )
        return events, owner, known

    def _position(self, reference: str, place: Mapping[str, int]) -> int:
        identity = self.references.get(reference)
        if identity is None:  # an absolute address of the same resource, perhaps with its version
            parts = reference.split("/_history/")[0].split("/")
            identity = parts[-1] if len(parts) > 1 and parts[-2] == "Patient" else None
        return -1 if identity is None else place.get(identity, -1)

    def _tell(self) -> None:
        if self.untold:
            self.log.problems.append((DataError, f"{self.untold} Patients have no id"))
        if self.contrary:
            self.log.problems.append(
                (DataError, f"{self.contrary} Patients come twice with different content; keep one of each")
            )
        elif self.twice:
            note = "Patients that come twice with the same content were merged"
            self.log.findings.append(Finding("duplicate", "Patient", self.twice, note))
        for reason, count in sorted(self.left_out.items()):
            self.log.findings.append(Finding("left_out", "resources", count, f"{reason}; left out"))
        for reason, count in sorted(self.reasons.items()):
            note = f"dataAbsentReason {reason!r}, read as missing"
            self.log.findings.append(Finding("missing_code", "Observation", count, note))
        others = {kind: n for kind, n in self.kinds.items() if kind not in ("Patient", "Condition", "Observation")}
        if others:
            note = f"other resources, not read: {', '.join(sorted(others))}"
            self.log.findings.append(Finding("ignored", "resources", sum(others.values()), note))

    def _known_days(self, mapping: TableMapping, date: Any) -> Days:
        words = [text if len(text) == 10 else "" for text in self.dates.places]  # a year or month alone is no day
        counts = np.bincount(date, minlength=len(words)).tolist()
        return read_days(words or [""], "effectiveDateTime", mapping, counts=counts or [0], log=self.log)

    def _people(self, dictionary: Dictionary, mapping: TableMapping, owner: Any, known: Days) -> Patients:
        about = list(self.patients.values())
        born = [person["born"] for person in about]
        full = [text if len(text) == 10 else f"{text[:4]}-01-01" if text else "" for text in born]
        count = [1] * len(about)
        return Patients(
            ids=pd.Series([person["id"] for person in about], dtype="object"),
            sex=pd.Series([{"unknown": "", "other": ""}.get(p["sex"], p["sex"]) for p in about], dtype="object"),
            born=read_days(full, "birthDate", mapping, counts=count, log=self.log),
            year_only=np.array([0 < len(text) < 10 for text in born], dtype=bool),
            diagnosed=diagnosis_days(
                self._conditions(owner, known), len(about), dictionary, mapping, where="Condition", log=self.log
            ),
            died=read_days([p["died"][:10] for p in about], "deceasedDateTime", mapping, counts=count, log=self.log),
            seen=np.full(len(about), np.nan),
            held=self._held(dictionary),
        )

    def _conditions(self, owner: Any, known: Days) -> Conditions:
        codes = _Distinct()
        rows = [(subject, codes(words), date) for subject, words, date in self.conditions]
        subject, code, date = (np.array([row[i] for row in rows], dtype=np.int32) for i in range(3))
        return Conditions(owner[subject], code, known[date], tuple(codes.places))

    def _held(self, dictionary: Dictionary) -> frozenset[str]:
        """Columns of which somebody is said to have no value: they are asked for, even where nobody has one."""
        numbers = column_by_loinc(dictionary.schema)
        named = {name for spellings, _ in self.held for name in spellings if name in dictionary.schema}
        return frozenset(named | {numbers[code] for _, loincs in self.held for code in loincs if code in numbers})


def _none() -> Any:
    return np.zeros(0, dtype="l")
