import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthfed.secagg.refusals import SealBroken
from synthfed.secagg.sealed import seal, unseal

KEY = bytes(range(32))


@given(st.binary(max_size=200), st.binary(max_size=20))
@settings(deadline=None)
def test_what_was_sealed_opens_in_its_row(state, row):
    assert unseal(KEY, seal(KEY, state, row=row), row=row) == state


def test_another_row_key_or_byte_does_not_open():
    sealed = seal(KEY, b"state", row=b"run/0")
    altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for key, value, row in (
        (KEY, sealed, b"run/1"),
        (bytes(32), sealed, b"run/0"),
        (KEY, altered, b"run/0"),
        (KEY, b"short", b"run/0"),
        (b"short", sealed, b"run/0"),
    ):
        with pytest.raises(SealBroken):
            unseal(key, value, row=row)


def test_equal_states_look_different():
    assert seal(KEY, b"state", row=b"r") != seal(KEY, b"state", row=b"r")
