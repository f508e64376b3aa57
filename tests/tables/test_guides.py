from synthfed.tables.guides import guide_blocks, with_guides
from synthfed.tables.schema import Schema
from synthfed.tables.transform import Transformer, public_transformer
from tests.tables.test_transform import TOY


def test_a_derived_group_is_learned_where_a_pipeline_compares_it() -> None:
    guided = with_guides(TOY, ["bmi_class"])
    assert "bmi_class" not in [column.name for column in TOY.modelled]
    assert "bmi_class" in [column.name for column in guided.modelled]
    assert guided["bmi_class"].derived  # rules still have the last word


def test_nothing_else_becomes_a_guide() -> None:
    assert with_guides(TOY, ["sex", "hb", "absent"]) == TOY
    assert guide_blocks(public_transformer(TOY)) == ()


def test_guides_are_found_among_the_codes_also_after_saving() -> None:
    transformer = public_transformer(with_guides(TOY, ["bmi_class"]))
    (place,) = guide_blocks(transformer)
    assert transformer.names[place] == "bmi_class"
    assert guide_blocks(Transformer.from_json(transformer.to_json())) == (place,)


def test_a_schema_saved_before_there_were_guides_has_none() -> None:
    raw = TOY.to_dict()
    raw["columns"] = [{k: v for k, v in column.items() if k != "guide"} for column in raw["columns"]]  # type: ignore[attr-defined]
    assert Schema.from_dict(raw) == TOY
