import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg.audit import AuditHead, append_line, require_seen_heads, seen_heads, verify_lines
from synthfed.secagg.refusals import AuditBroken
from tests.secagg.federation import key, public


def make_log(lines=4, name="site0"):
    head, log = AuditHead(), []
    for i in range(lines):
        body = {"round": i, "site": "lyön", "tag": True, "epsilon": 0.1 * i}
        head, line = append_line(
            head, time=f"2026-01-0{i + 1}T00:00:00Z", kind="verified", body=body, identity=key(name)
        )
        log.append(line)
    return head, log


def test_a_log_verifies_to_its_head():
    head, log = make_log()
    assert verify_lines((line + "\n" for line in log), public("site0")) == head == AuditHead(4, head.id)
    assert verify_lines([], public("site0")) == AuditHead()


def test_one_line_known_answer():
    _, log = make_log(1)
    assert json.loads(log[0])["id"] == "b032e6da151a5c7b141c8bcadc1e7a4b74a8c9b07d3dae226ff9ec52e075caf6"


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_edit_is_seen(data):
    _, log = make_log(3)
    text = bytearray("\n".join(log).encode())
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] = data.draw(st.integers(32, 126).filter(lambda byte: byte != text[position]))
    with pytest.raises(AuditBroken, match="audit line"):
        verify_lines(text.decode(errors="replace").split("\n"), public("site0"))


@pytest.mark.parametrize("name", ["id", "signature", "prev"])
def test_another_spelling_of_a_hash_is_seen(name):
    _, log = make_log(2)
    value = json.loads(log[1])[name]
    with pytest.raises(AuditBroken):
        verify_lines([log[0], log[1].replace(value, value.upper())], public("site0"))


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 2, 3], [0, 0, 1, 2], [1, 2, 3]])
def test_reordered_cut_or_doubled_lines_are_seen(order):
    _, log = make_log()
    with pytest.raises(AuditBroken, match="does not follow"):
        verify_lines([log[i] for i in order], public("site0"))


def test_a_log_cut_at_its_end_is_seen_by_whoever_knows_its_head():
    head, log = make_log()
    middle = verify_lines(log[:2], public("site0"))
    assert verify_lines(log, public("site0"), expected=middle) == head
    with pytest.raises(AuditBroken, match="never had the head"):
        verify_lines(log[:2], public("site0"), expected=head)


def test_another_sites_log_is_refused():
    _, log = make_log(name="site1")
    with pytest.raises(AuditBroken):
        verify_lines(log, public("site0"))


@pytest.mark.parametrize("line", ["", "[]", "{}", "null", "3", '{"seq": 0}'])
def test_lines_that_are_no_entries_are_refused(line):
    with pytest.raises(AuditBroken):
        verify_lines([line], public("site0"))


def watched(rounds: int) -> dict[str, tuple[bytes, list[str]]]:
    """Logs of three sites, each of which writes down where the others stood before every round."""
    names = ("site0", "site1", "site2")
    heads, logs = dict.fromkeys(names, AuditHead()), {name: (public(name), []) for name in names}
    for number in range(rounds):
        seen = dict(heads)
        for name in names:
            body = {"round": number, "heads": seen_heads({public(o): seen[o].id for o in names if o != name})}
            heads[name], line = append_line(
                heads[name], time="2026-01-01", kind="masked", body=body, identity=key(name)
            )
            logs[name][1].append(line)
    return logs


def test_logs_that_saw_each_other_grow_agree():
    require_seen_heads(watched(3))
    require_seen_heads({})
    _, log = make_log()
    require_seen_heads({"site0": (public("site0"), log)})  # one that says nothing of others


@pytest.mark.parametrize("kept", [0, 1])
def test_a_log_that_was_rewritten_holds_by_itself_and_not_beside_the_others(kept):
    """The site signs a new chain for the rounds since; its peers were shown the old one."""
    logs = watched(3)
    lines = logs["site1"][1][:kept]
    head = verify_lines(lines, public("site1"))
    for _ in range(kept, 3):
        head, line = append_line(head, time="2026-01-01", kind="masked", body={}, identity=key("site1"))
        lines.append(line)
    assert verify_lines(lines, public("site1")).length == 3
    with pytest.raises(AuditBroken, match=r"log of site 'site1' never had the head .* that site 'site0' was shown"):
        require_seen_heads({**logs, "site1": (public("site1"), lines)})


def test_a_log_that_lost_its_end_is_named_by_whoever_saw_it():
    logs = watched(3)
    with pytest.raises(AuditBroken, match="log of site 'site2' never had"):
        require_seen_heads({**logs, "site2": (public("site2"), logs["site2"][1][:1])})
