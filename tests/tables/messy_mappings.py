"""The mapping files a data manager would write for three hospitals' hand-overs: words of the software, no patients."""

_GENES = [
    "NPM1",
    "FLT3_ITD",
    "FLT3_TKD",
    "DNMT3A",
    "TET2",
    "IDH1",
    "IDH2_R140",
    "IDH2_R172",
    "NRAS",
    "KRAS",
    "PTPN11",
    "KIT",
    "RUNX1",
    "ASXL1",
    "SRSF2",
    "SF3B1",
    "U2AF1",
    "ZRSR2",
    "STAG2",
    "BCOR",
    "EZH2",
    "TP53",
    "WT1",
]

_FLAGS = """
[compose]
IDH2 = { any = ["IDH2_R140", "IDH2_R172"] }
karyotype_known = { known = ["normal_karyotype", "complex_karyotype", "mono7"] }
"""

SPREADSHEET = (
    """
decimal = ","
missing = [-99, "n.d."]
not_recorded = ["aml_type", "prior_mds", "CEBPA", "cause_of_death"]

[columns]
"ID" = "patient_id"
"AGE" = "age_years"
"SEX" = "sex"
"STATUS_OS" = { column = "os_event", codes = { 1 = 1, 0 = 0 } }
"ELN 2017" = "eln2017"
"HB" = { column = "hb_g_dl", unit = "g/dL" }
"PLT" = { column = "platelets_10e9_l", unit = "10^9/L" }
"WBC" = { column = "wbc_10e9_l", unit = "10^9/L" }
"LDH" = { column = "ldh_u_l", unit = "U/L" }
"BM BLASTS" = { column = "bm_blasts_pct", unit = "%" }
"PB BLASTS " = { column = "pb_blasts_pct", unit = "%" }
"RESPONSE TO INDUCTION" = "induction_response"
"monosomal" = "monosomal_karyotype"
"MLL_REARRANGED (not t(9;11))" = "kmt2a_other"

[dates]
"Date of diagnosis" = { order = "dmy", two_digit_years_from = 2000 }
"Date of last contact" = { order = "dmy", two_digit_years_from = 2000 }

[differences]
os_days = { from = "Date of diagnosis", to = "Date of last contact" }
"""
    + _FLAGS
)

GERMAN_WORKBOOK = (
    """
not_recorded = ["aml_type", "prior_mds", "CEBPA", "cause_of_death"]

[columns]
"Pat-Nr" = "patient_id"
"Geschlecht (1=m, 2=w)" = { column = "sex", codes = { 1 = "male", 2 = "female" } }
"Alter" = "age_years"
"Vitalstatus (1=lebt, 2=verstorben)" = { column = "os_event", codes = { 1 = 0, 2 = 1 } }
"Hb (g/L)" = { column = "hb_g_dl", unit = "g/L" }
"Leukozyten (/µL)" = { column = "wbc_10e9_l", unit = "/uL" }
"Thrombozyten (/nL)" = { column = "platelets_10e9_l", unit = "/nL" }
"LDH (µkat/L)" = { column = "ldh_u_l", unit = "µkat/L" }
"Blasten KM" = { column = "bm_blasts_pct", unit = "fraction" }
"Blasten PB" = { column = "pb_blasts_pct", unit = "fraction" }
"Ansprechen" = "induction_response"
"Karyotyp normal" = "normal_karyotype"
"Karyotyp komplex" = "complex_karyotype"
"Karyotyp monosomal" = "monosomal_karyotype"
"t(15;17)" = "t_15_17"
"t(8;21)" = "t_8_21"
"inv(16)/t(16;16)" = "inv16_t16_16"
"t(9;11)" = "t_9_11"
"KMT2A sonstige" = "kmt2a_other"
"inv(3)/t(3;3)" = "inv3_t3_3"
"-5/5q-" = "minus5_5q"
"-7" = "mono7"
"7q-" = "del7q"
"+8" = "plus8_8q"
"-17/17p-" = "mono17_17p_abn17p"
"-Y" = "mono_y"

[dates]
"Erstdiagnose" = { serials = true }
"Letzter Kontakt" = { serials = true }

[differences]
os_days = { from = "Erstdiagnose", to = "Letzter Kontakt" }
"""
    + _FLAGS
)

_BOXES = [
    "t_15_17",
    "t_8_21",
    "inv16_t16_16",
    "t_9_11",
    "kmt2a_other",
    "inv3_t3_3",
    "minus5_5q",
    "mono7",
    "del7q",
    "plus8_8q",
    "mono17_17p_abn17p",
    "mono_y",
    "complex_karyotype",
    "monosomal_karyotype",
    "normal_karyotype",
]

REDCAP = (
    (
        """
redcap_dictionary = "{dictionary}"
not_recorded = ["prior_mds", "CEBPA"]

[columns]
record_id = "patient_id"
age_dx = "age_years"
sex = "sex"
aml_type = "aml_type"
eln_2017 = "eln2017"
hb = "hb_g_dl"
wbc = "wbc_10e9_l"
plt = "platelets_10e9_l"
ldh = "ldh_u_l"
bm_bl = "bm_blasts_pct"
pb_bl = "pb_blasts_pct"
npm1 = "NPM1"
flt3_itd = "FLT3_ITD"
flt3_ar = "FLT3_ITD_allelic_ratio"
response = "induction_response"
vital = "os_event"
death_cause = "cause_of_death"
"""
        + "".join(f'cyto___{box} = "{name}"\n' for box, name in enumerate(_BOXES, start=1))
        + "".join(
            f'mut___{gene.lower().replace("_", "")} = "{gene}"\n' for gene in _GENES if gene not in ("NPM1", "FLT3_ITD")
        )
        + """
[dates]
dx_date = {{}}
last_contact = {{}}

[differences]
os_days = {{ from = "dx_date", to = "last_contact" }}

[compose]
IDH2 = {{ any = ["mut___idh2r140", "mut___idh2r172"] }}
karyotype_known = {{ any = ["cyto_done"] }}
"""
    )
    .replace("{{", "{")
    .replace("}}", "}")
)
