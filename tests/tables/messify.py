"""Simulated patients written down as three hospitals would hand them over, with the mapping that each would need.

Nothing here is read by the product: it turns a typed table into files whose true content is known.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from synthfed.cohorts.sites import load_cohort

LABS = ("hb_g_dl", "wbc_10e9_l", "platelets_10e9_l", "ldh_u_l", "bm_blasts_pct", "pb_blasts_pct")
FUSIONS = ("t_15_17", "t_8_21", "inv16_t16_16", "t_9_11", "kmt2a_other", "inv3_t3_3", "other_adverse_fusion")
GENES = ("TP53", "DNMT3A")
COLUMNS = (
    *("patient_id", "age_years", "sex", "aml_type", *LABS, "class_fusion", "mono7", "normal_karyotype", "NPM1"),
    *("FLT3_ITD", "FLT3_ITD_allelic_ratio", *GENES, "induction_response", "os_days", "os_event", "cause_of_death"),
)

SPREADSHEET = """
decimal = ","
missing = [-99, "n.d."]
ignore = ["Ward"]

[columns]
"Patient No" = "patient_id"
"AGE" = "age_years"
"SEX" = "sex"
"HB" = { column = "hb_g_dl", unit = "g/dL" }
"WBC" = { column = "wbc_10e9_l", unit = "10^9/L" }
"PLT" = { column = "platelets_10e9_l", unit = "10^9/L" }
"LDH" = { column = "ldh_u_l", unit = "U/L" }
"BM BLASTS" = { column = "bm_blasts_pct", unit = "%" }
"PB BLASTS" = { column = "pb_blasts_pct", unit = "%" }
"STATUS_OS" = { column = "os_event", codes = { 1 = 1, 0 = 0 } }
"Response" = { column = "induction_response", codes = { CR = "CR", CRi = "CRi", RD = "refractory" } }

[dates]
"Diagnosis" = { order = "dmy", two_digit_years_from = 2000 }
"Last contact" = { order = "dmy", two_digit_years_from = 2000 }

[differences]
os_days = { from = "Diagnosis", to = "Last contact" }
"""

WORKBOOK = """
[columns]
"Pat-Nr" = "patient_id"
"Alter" = "age_years"
"Geschlecht" = { column = "sex", codes = { 1 = "male", 2 = "female" } }
"Vitalstatus" = { column = "os_event", codes = { 1 = 0, 2 = 1 } }
"Hb (g/L)" = { column = "hb_g_dl", unit = "g/L" }
"Leukozyten (/µL)" = { column = "wbc_10e9_l", unit = "/µL" }
"Thrombozyten (/nL)" = { column = "platelets_10e9_l", unit = "/nL" }
"LDH (µkat/L)" = { column = "ldh_u_l", unit = "µkat/L" }
"Blasten KM" = { column = "bm_blasts_pct", unit = "fraction" }
"Blasten PB" = { column = "pb_blasts_pct", unit = "fraction" }
"Ansprechen" = "induction_response"
"-7" = "mono7"

[dates]
"Erstdiagnose" = { serials = true }
"Letzter Kontakt" = { serials = true }

[differences]
os_days = { from = "Erstdiagnose", to = "Letzter Kontakt" }
"""

REDCAP = """
redcap_dictionary = "milano_fields.csv"

[columns]
record_id = "patient_id"
age_dx = "age_years"
hb = "hb_g_dl"
wbc = "wbc_10e9_l"
plt = "platelets_10e9_l"
ldh = "ldh_u_l"
bm_bl = "bm_blasts_pct"
pb_bl = "pb_blasts_pct"
flt3_ar = "FLT3_ITD_allelic_ratio"
response = "induction_response"
vital = "os_event"
death_cause = "cause_of_death"
cyto___1 = "t_15_17"
cyto___2 = "t_8_21"
cyto___3 = "inv16_t16_16"
cyto___4 = "t_9_11"
cyto___5 = "kmt2a_other"
cyto___6 = "inv3_t3_3"
cyto___7 = "other_adverse_fusion"
cyto___8 = "mono7"
cyto___9 = "normal_karyotype"
mut___tp53 = "TP53"
mut___dnmt3a = "DNMT3A"

[dates]
dx_date = {}
last_contact = {}

[differences]
os_days = { from = "dx_date", to = "last_contact" }
"""

_CODES = "-991, Truly missing | -997, Truly unknown"
_FIELDS = f"""record_id|text|||||
sex|radio|1, Male ~ 0, Female||||
age_dx|text|||18|100|
dx_date|text|||||y
aml_type|dropdown|1, De novo ~ 2, Secondary ~ 3, Therapy-related ~ 9, Other ~ {_CODES.replace("|", "~")}||||
hb|text||mmol/L|1|12|
wbc|text||x10^9/L|0|600|
plt|text||x10^9/L|0|2000|
ldh|text||U/L|50|20000|
bm_bl|text||%|0|100|
pb_bl|text||%|0|100|
cyto_done|yesno|||||
cyto|checkbox|1, a ~ 2, b ~ 3, c ~ 4, d ~ 5, e ~ 6, f ~ 7, g ~ 8, h ~ 9, i||||
npm1|radio|1, Mutated ~ 0, Wild type||||
flt3_itd|radio|1, Present ~ 0, Absent||||
flt3_ar|text||mutant / wild type|0|100|
ngs_done|yesno|||||
mut|checkbox|tp53, TP53 ~ dnmt3a, DNMT3A||||
response|dropdown|1, CR ~ 2, CRi ~ 3, Refractory ~ {_CODES.replace("|", "~")}||||
last_contact|text|||||y
vital|radio|1, Alive ~ 2, Dead ~ -997, Truly unknown||||
death_cause|dropdown|1, Disease ~ 2, Treatment ~ 3, Other ~ 4, Unknown||||
os_days|calc|||||
comment|notes|||||"""
_BRANCHING = {
    "cyto": "[cyto_done] = '1'",
    "mut": "[ngs_done] = '1'",
    "flt3_ar": "[flt3_itd] = '1'",
    "death_cause": "[vital] = '2'",
}
_DICTIONARY_HEADERS = (
    *("Variable / Field Name", "Form Name", "Section Header", "Field Type", "Field Label"),
    *("Choices, Calculations, OR Slider Labels", "Field Note", "Text Validation Type OR Show Slider Number"),
    *("Text Validation Min", "Text Validation Max", "Identifier?", "Branching Logic (Show field only if...)"),
    *("Required Field?", "Custom Alignment", "Question Number (surveys only)", "Matrix Group Name"),
    *("Matrix Ranking?", "Field Annotation"),
)


def simulated_patients(patients: int = 240, seed: int = 11) -> pd.DataFrame:
    """Patients whose karyotype and panel are known together or not at all, as forms can say."""
    cohort = load_cohort("aml", sites=1, patients=patients, seed=seed)
    table = pd.concat([*cohort.sites.values(), *cohort.holdouts.values()], ignore_index=True)[list(COLUMNS)]
    _hide_together(table, ["class_fusion", "mono7", "normal_karyotype"])
    _hide_together(table, list(GENES))
    return table


def _hide_together(table: pd.DataFrame, columns: Sequence[str]) -> None:
    gone = table[list(columns)].isna().any(axis=1)
    for name in columns:
        table[name] = table[name].mask(gone)


def _texts(values: pd.Series, missing: str = "") -> list[str]:
    return [missing if pd.isna(v) else f"{v:g}" if isinstance(v, float) else str(v) for v in values.astype("object")]


def _days(table: pd.DataFrame, seed: int) -> tuple[list[date], list[date | None]]:
    rng = np.random.default_rng(seed)
    start = [date(2008, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 3600, len(table))]
    end = [None if pd.isna(d) else s + timedelta(days=int(d)) for s, d in zip(start, table["os_days"], strict=True)]
    return start, end


def _fusion_flags(table: pd.DataFrame, missing: str, yes: str, no: str) -> dict[str, list[str]]:
    levels = [*FUSIONS[:-1], "other_adverse"]
    return {
        flag: [missing if pd.isna(f) else yes if f == level else no for f in table["class_fusion"].astype("object")]
        for flag, level in zip(FUSIONS, levels, strict=True)
    }


def write_spreadsheet(table: pd.DataFrame, folder: Path, name: str = "lyon") -> Path:
    """`;`, decimal comma, thousands dots, day-first dates in several styles, repeated patients."""
    start, end = _days(table, 1)
    styles = ("%d/%m/%Y", "%d/%m/%y", "%d.%m.%Y", "%d-%m-%Y")
    sexes = {"male": ("M", "m", "M ", "Male"), "female": ("F", "f", "Female", "F")}
    columns: dict[str, list[str]] = {
        "Patient No": _texts(table["patient_id"]),
        "Ward": ["7B"] * len(table),
        "Diagnosis": [day.strftime(styles[i % 4]) for i, day in enumerate(start)],
        "Last contact": ["-99" if day is None else day.strftime(styles[(i // 2) % 4]) for i, day in enumerate(end)],
        "AGE": _texts(table["age_years"]),
        "SEX": [sexes[sex][i % 4] for i, sex in enumerate(table["sex"])],
        "AML TYPE": _texts(table["aml_type"], "n.d."),
        "STATUS_OS": _texts(table["os_event"], "-99"),
    }
    for header, lab in zip(("HB", "WBC", "PLT", "LDH", "BM BLASTS", "PB BLASTS"), LABS, strict=True):
        columns[header] = [_with_marks(v) for v in table[lab].astype("object")]
    columns |= _fusion_flags(table, "NA", "1", "0")
    for flag in ("mono7", "normal_karyotype", "NPM1", "FLT3_ITD", *GENES):
        columns[flag] = _texts(table[flag], "-99")
    columns["FLT3-ITD ratio"] = [t.replace(".", ",") for t in _texts(table["FLT3_ITD_allelic_ratio"], "-99")]
    columns["Response"] = ["RD" if r == "refractory" else r for r in _texts(table["induction_response"], "n.d.")]
    columns["cause_of_death"] = _texts(table["cause_of_death"])
    frame = pd.DataFrame(columns)
    partial = frame.iloc[[3, 8]].assign(**{"NPM1": "", "Last contact": ""})
    frame = pd.concat([frame, frame.iloc[[5]], partial], ignore_index=True)
    path = folder / f"{name}.csv"
    text = frame.to_csv(sep=";", index=False, lineterminator="\r\n") + ";" * (frame.shape[1] - 1) + "\r\n"
    path.write_bytes(("\ufeff" + text).encode())
    path.with_suffix(".mapping.toml").write_text(SPREADSHEET, encoding="utf-8")
    return path


def _with_marks(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return "-99"
    number = float(value)  # type: ignore[arg-type]
    whole = f"{number:,.0f}".replace(",", ".")
    return whole if number == round(number) else f"{number:.1f}".replace(".", ",")


def write_workbook(table: pd.DataFrame, folder: Path, name: str = "berlin") -> Path:
    """A German workbook: other units, fractions, 1/2 codes, three kinds of dates, umlauts."""
    start, end = _days(table, 2)

    def cell(day: date | None, i: int) -> object:
        if day is None:
            return None
        if i % 10 == 0:
            return day.isoformat()
        return (day - date(1899, 12, 30)).days if i % 19 == 0 else datetime(day.year, day.month, day.day)

    def scaled(column: str, factor: float, digits: int) -> list[object]:
        return [None if pd.isna(v) else round(float(v) * factor, digits) for v in table[column].astype("object")]

    columns: dict[str, list[object]] = {
        "Pat-Nr": list(_texts(table["patient_id"])),
        "Geschlecht": [1 if sex == "male" else 2 for sex in table["sex"]],
        "Alter": [int(age) for age in table["age_years"]],
        "AML TYPE": list(_texts(table["aml_type"], "unk")),
        "Erstdiagnose": [cell(day, i) for i, day in enumerate(start)],
        "Letzter Kontakt": [cell(day, i + 3) for i, day in enumerate(end)],
        "Vitalstatus": [None if pd.isna(e) else int(e) + 1 for e in table["os_event"]],
        "Hb (g/L)": [str(v) if i % 20 == 0 and v is not None else v for i, v in enumerate(scaled("hb_g_dl", 10, 0))],
        "Leukozyten (/µL)": scaled("wbc_10e9_l", 1000, 0),
        "Thrombozyten (/nL)": scaled("platelets_10e9_l", 1, 0),
        "LDH (µkat/L)": scaled("ldh_u_l", 1 / 60, 2),
        "Blasten KM": scaled("bm_blasts_pct", 0.01, 4),
        "Blasten PB": scaled("pb_blasts_pct", 0.01, 4),
        "Ansprechen": [r.replace("refractory", "refraktär") for r in _texts(table["induction_response"], "n.d.")],
        "-7": [{"1": "ja", "0": "nein"}.get(t, "unk") for t in _texts(table["mono7"])],
        "normal_karyotype": [{"1": "ja", "0": "nein"}.get(t, "-") for t in _texts(table["normal_karyotype"])],
        "FLT3-ITD ratio": [None if pd.isna(v) else float(v) for v in table["FLT3_ITD_allelic_ratio"]],
        "cause_of_death": list(_texts(table["cause_of_death"])),
    }
    columns |= {flag: list(words) for flag, words in _fusion_flags(table, "n.d.", "ja", "nein").items()}
    for gene in ("NPM1", "FLT3_ITD", *GENES):
        columns[gene] = [{"1": "pos", "0": "neg"}.get(t, "n.d.") for t in _texts(table[gene])]
    path = folder / f"{name}.xlsx"
    pd.DataFrame(columns).to_excel(path, sheet_name="Export", index=False)
    path.with_suffix(".mapping.toml").write_text(WORKBOOK, encoding="utf-8")
    return path


def write_redcap(table: pd.DataFrame, folder: Path, name: str = "milano") -> Path:
    """A raw REDCap export with bare carriage returns, and its data dictionary."""
    start, end = _days(table, 3)

    def coded(column: str, codes: dict[str, int], missing: str) -> list[str]:
        return [missing if pd.isna(v) else str(codes[str(v)]) for v in table[column].astype("object")]

    hb = [None if pd.isna(v) else round(float(v) / 1.6114, 2) for v in table["hb_g_dl"]]
    cyto, panel = table["class_fusion"].notna(), table["TP53"].notna()
    boxes = _fusion_flags(table, "0", "1", "0")
    columns: dict[str, list[str]] = {
        "record_id": _texts(table["patient_id"]),
        "redcap_data_access_group": ["milano"] * len(table),
        "sex": coded("sex", {"male": 1, "female": 0}, ""),
        "age_dx": _texts(table["age_years"]),
        "demographics_complete": ["2"] * len(table),
        "dx_date": [day.isoformat() for day in start],
        "aml_type": coded("aml_type", {"de_novo": 1, "secondary": 2, "therapy_related": 3, "other": 9}, "-991"),
        "hb": ["-991" if v is None else f"{v:g}" for v in hb],
        "cyto_done": ["1" if known else "0" for known in cyto],
    }
    for field, lab in zip(("wbc", "plt", "ldh", "bm_bl", "pb_bl"), LABS[1:], strict=True):
        columns[field] = _texts(table[lab], "-997")
    columns |= {f"cyto___{i}": boxes[flag] for i, flag in enumerate(FUSIONS, start=1)}
    columns |= {"cyto___8": _texts(table["mono7"], "0"), "cyto___9": _texts(table["normal_karyotype"], "0")}
    columns |= {"npm1": _texts(table["NPM1"]), "flt3_itd": _texts(table["FLT3_ITD"])}
    columns["flt3_ar"] = _texts(table["FLT3_ITD_allelic_ratio"])
    columns["ngs_done"] = ["1" if known else "0" for known in panel]
    columns |= {f"mut___{gene.lower()}": _texts(table[gene], "0") for gene in GENES}
    columns["response"] = coded("induction_response", {"CR": 1, "CRi": 2, "refractory": 3}, "-991")
    columns["last_contact"] = ["" if day is None else day.isoformat() for day in end]
    columns["vital"] = ["-997" if pd.isna(e) else str(int(e) + 1) for e in table["os_event"]]
    columns["death_cause"] = coded("cause_of_death", {"disease": 1, "treatment": 2, "other": 3, "unknown": 4}, "")
    columns["os_days"] = _texts(table["os_days"])
    columns["comment"] = ['seen "twice", well'] * len(table)
    path = folder / f"{name}.csv"
    path.write_bytes(pd.DataFrame(columns).to_csv(index=False, lineterminator="\r").encode())
    write_redcap_dictionary(folder / f"{name}_fields.csv")
    path.with_suffix(".mapping.toml").write_text(REDCAP, encoding="utf-8")
    return path


def write_redcap_dictionary(path: Path) -> None:
    """The 18-column data dictionary of the export above."""
    rows = []
    for line in _FIELDS.splitlines():
        name, kind, choices, note, low, high, identifier = line.split("|")
        row = dict.fromkeys(_DICTIONARY_HEADERS, "")
        row |= {"Variable / Field Name": name, "Form Name": "demographics", "Field Type": kind, "Field Note": note}
        row |= {"Choices, Calculations, OR Slider Labels": choices.replace("~", "|"), "Identifier?": identifier}
        row |= {"Text Validation Min": low, "Text Validation Max": high, "Field Label": name}
        row["Branching Logic (Show field only if...)"] = _BRANCHING.get(name, "")
        rows.append(row)
    pd.DataFrame(rows).to_csv(path, index=False)
