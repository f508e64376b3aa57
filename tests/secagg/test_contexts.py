from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg.contexts import SumConfig, context1, digest, layout_digest, lp
from tests.secagg.federation import make_context, make_roster

fields = st.lists(st.binary(max_size=12), max_size=5)


@given(fields, fields)
@settings(deadline=None)
def test_different_fields_have_different_bytes(left, right):
    assert (lp(*left) == lp(*right)) == (left == right)
    assert (digest(*left) == digest(*right)) == (left == right)


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": bytes(32)},
        {"purpose": "analytics:00"},
        {"round_index": 6},
        {"attempt": 1},
        {"roster_digest": bytes(32)},
        {"config_digest": bytes(32)},
        {"layout_digest": bytes(32)},
    ],
)
def test_every_field_changes_the_context(change):
    context = make_context(make_roster(3))
    assert replace(context, **change).digest() != context.digest()


CONFIG = SumConfig(bounds=("1", "0.5"), scales=(30, 31), threshold=3, smallest=3, pipeline_digest=bytes(32))


@pytest.mark.parametrize(
    "change",
    [
        {"bounds": ("1", "0.25")},
        {"scales": (30, 30)},
        {"threshold": 4},
        {"smallest": 4},
        {"pipeline_digest": bytes([1] * 32)},
        {"aux": False},
        {"fast_release": False},
        {"post_quantum": True},
    ],
)
def test_every_setting_changes_the_configuration(change):
    assert replace(CONFIG, **change).digest() != CONFIG.digest()


def test_bounds_need_scales():
    with pytest.raises(ValueError, match="scale"):
        replace(CONFIG, scales=(30,))


def test_layout_sees_names_shapes_and_order():
    one, two = ("a", (2, 3)), ("b", (3, 2))
    found = {layout_digest([one, two]), layout_digest([two, one]), layout_digest([("a", (3, 2)), two])}
    assert len(found | {layout_digest([one])}) == 4


def test_second_context_sees_set_messages_and_model():
    hellos, shares = {1: b"h1", 2: b"h2"}, {1: b"s1", 2: b"s2"}
    base = context1(b"0", hellos=hellos, shares=shares, model_digest=b"m")
    others = {
        context1(b"1", hellos=hellos, shares=shares, model_digest=b"m"),
        context1(b"0", hellos=hellos | {2: b"x"}, shares=shares, model_digest=b"m"),
        context1(b"0", hellos=hellos, shares=shares | {1: b"x"}, model_digest=b"m"),
        context1(b"0", hellos=hellos, shares=shares, model_digest=b"n"),
        context1(b"0", hellos={1: b"h1", 3: b"h2"}, shares={1: b"s1", 3: b"s2"}, model_digest=b"m"),
    }
    assert len(others | {base}) == 6
    assert context1(b"0", hellos=dict(reversed(hellos.items())), shares=shares, model_digest=b"m") == base
    with pytest.raises(ValueError, match="U1"):
        context1(b"0", hellos=hellos, shares={1: b"s1"}, model_digest=b"m")
