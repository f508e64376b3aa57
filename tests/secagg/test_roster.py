import datetime
from dataclasses import replace
from ssl import PEM_cert_to_DER_cert

import pytest

from synthfed.federation.deployment.certificates import make_link
from synthfed.secagg.refusals import RosterRefused, UnknownSender
from synthfed.secagg.roster import Member, Roster, default_threshold, sign_roster
from tests.secagg.federation import FROM, UNTIL, key, make_roster, public

STEWARD = public("steward")


def signed(members, **changes):
    settings = {"steward": key("steward"), "relay_key": public("relay"), "valid_from": FROM, "valid_until": UNTIL}
    return sign_roster(members, **(settings | changes))


def members(sites):
    return [Member(i, f"site{i}", f"Hospital {i}", public(f"site{i}")) for i in range(sites)]


def test_a_roster_reads_back_from_its_file():
    listed = [*members(2), Member(9, "milano", 'Clinica "Sant\\Anna" però', public("m"))]
    roster = signed(listed)
    assert Roster.from_toml(roster.to_toml(), steward_key=STEWARD, on=FROM) == roster


def certificate(name):
    return PEM_cert_to_DER_cert(make_link(name).public.decode())


def test_an_address_and_a_certificate_for_direct_links_are_signed_with_the_rest():
    plain = members(3)
    linked = [replace(plain[0], address="lyon.example.org:9443", certificate=certificate("lyon")), *plain[1:]]
    roster = signed(linked)
    assert Roster.from_toml(roster.to_toml(), steward_key=STEWARD, on=FROM) == roster
    assert signed(plain).digest() not in (roster.digest(), b"")
    moved = roster.to_toml().replace("lyon.example.org", "evil.example.org")
    with pytest.raises(RosterRefused, match="not signed by its steward"):
        Roster.from_toml(moved, steward_key=STEWARD, on=FROM)
    exchanged = roster.to_toml().replace(linked[0].certificate.hex(), certificate("lyon").hex())
    with pytest.raises(RosterRefused, match="not signed by its steward"):
        Roster.from_toml(exchanged, steward_key=STEWARD, on=FROM)
    with pytest.raises(RosterRefused, match="one key"):
        signed([linked[0], replace(plain[1], address="b:1", certificate=linked[0].certificate), plain[2]])


@pytest.mark.parametrize(
    ("address", "shown", "match"),
    [
        ("lyon.example.org:9443", b"", "no usable certificate"),
        ("lyon.example.org:9443", b"\x30\x00", "no usable certificate"),
        ("lyon.example.org:9443", bytes(5000), "no usable certificate"),
        ("", b"\x30\x00", "wanted host:port"),
        ("lyon.example.org", certificate("lyon"), "wanted host:port"),
        ("lyon.example.org:70000", certificate("lyon"), "wanted host:port"),
        ('lyon"\n:1', certificate("lyon"), "wanted host:port"),
    ],
)
def test_a_link_needs_an_address_and_a_certificate(address, shown, match):
    with pytest.raises(RosterRefused, match=match):
        replace(members(1)[0], address=address, certificate=shown)


@pytest.mark.parametrize(("sites", "threshold"), [(3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (10, 7), (20, 14), (50, 34)])
def test_default_thresholds_are_those_of_the_design(sites, threshold):
    assert default_threshold(sites) == threshold
    assert make_roster(sites).threshold == threshold


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m[:2], "2 sites"),
        (lambda m: [*m[:2], Member(2, "site2", "hospital 1", public("site2"))], "organisations"),
        (lambda m: [*m, Member(2, "other", "Other", public("other"))], "indices"),
        (lambda m: [*m, Member(3, "site2", "Other", public("other"))], "one name"),
        (lambda m: [*m, Member(3, "other", "Other", public("site2"))], "one key"),
        (lambda m: [*m, Member(3, "other", "Other", public("relay"))], "one key"),
        (lambda m: members(51), "51 sites"),
    ],
)
def test_unsafe_rosters_are_refused(change, match):
    with pytest.raises(RosterRefused, match=match):
        signed(change(members(3)))


@pytest.mark.parametrize(("sites", "threshold"), [(5, 3), (4, 2), (3, 2), (3, 4), (7, 4)])
def test_thresholds_that_open_two_sums_are_refused(sites, threshold):
    with pytest.raises(RosterRefused, match="threshold"):
        signed(members(sites), threshold=threshold)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("index", 65534), ("site", "Lyon"), ("site", ""), ("organisation", " "), ("organisation", "a\nb"),
        ("public_key", b"short"),
    ],
)  # fmt: skip
def test_malformed_members_are_refused(field, value):
    with pytest.raises(RosterRefused):
        replace(members(1)[0], **{field: value})


def test_validity_is_checked_on_a_day():
    roster = make_roster(3)
    roster.require_valid_on(UNTIL)
    for day in (FROM - datetime.timedelta(days=1), UNTIL + datetime.timedelta(days=1)):
        with pytest.raises(RosterRefused, match="valid from"):
            roster.require_valid_on(day)
        with pytest.raises(RosterRefused, match="valid from"):
            Roster.from_toml(roster.to_toml(), steward_key=STEWARD, on=day)
    with pytest.raises(RosterRefused, match="validity"):
        signed(members(3), valid_from=UNTIL, valid_until=FROM)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version = 1", "version = 2"),
        ("threshold = 3", "threshold = 4"),
        ('name = "site1"', 'name = "other"'),
        ("Hospital 2", "Hospital 9"),
        ("index = 3", "index = 2"),
        ("valid_until = 2026", "valid_until = 2027"),
        (public("site1").hex(), public("sybil").hex()),
        (public("relay").hex(), public("other relay").hex()),
    ],
)
def test_any_edit_of_the_file_is_refused(old, new):
    text = make_roster(4).to_toml()
    assert old in text
    with pytest.raises(RosterRefused, match="steward"):
        Roster.from_toml(text.replace(old, new), steward_key=STEWARD, on=FROM)


def test_a_foreign_steward_is_refused():
    foreign = signed(members(3), steward=key("other steward"))
    with pytest.raises(RosterRefused, match="another steward"):
        Roster.from_toml(foreign.to_toml(), steward_key=STEWARD, on=FROM)


@pytest.mark.parametrize("text", ["", "version = ", "version = 1", 'site = [{index = "a"}]', "site = 3"])
def test_files_that_are_no_roster_are_refused(text):
    with pytest.raises(RosterRefused):
        Roster.from_toml(text, steward_key=STEWARD, on=FROM)


def test_unknown_keys_are_refused():
    with pytest.raises(RosterRefused, match="unknown keys"):
        Roster.from_toml("extra = 1\n" + make_roster(3).to_toml(), steward_key=STEWARD, on=FROM)


def test_lookups_name_what_is_missing():
    roster = make_roster(3)
    assert roster.member("site1") == roster.at(10)
    assert roster.names([3, 17]) == "site0, site2"
    with pytest.raises(RosterRefused, match="'nobody'"):
        roster.member("nobody")
    with pytest.raises(UnknownSender):
        roster.at(4)


@pytest.mark.parametrize(
    ("old", "new"), [("version = 1", 'version = "1"'), (public("site1").hex(), public("site1").hex().upper())]
)
def test_values_have_one_spelling(old, new):
    with pytest.raises(RosterRefused, match="cannot be read"):
        Roster.from_toml(make_roster(3).to_toml().replace(old, new), steward_key=STEWARD, on=FROM)
