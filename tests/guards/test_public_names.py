"""`synthfed` exports what it says, and every name resolves."""

import synthfed


def test_every_public_name_loads() -> None:
    for name in synthfed.__all__:
        assert getattr(synthfed, name).__name__ == name


def test_public_names_have_one_home_each() -> None:
    assert sorted(synthfed.__all__) == sorted(synthfed._HOMES)
    assert set(dir(synthfed)) == set(synthfed.__all__)
