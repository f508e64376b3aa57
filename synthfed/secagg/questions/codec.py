"""Questions as plain JSON values and back, so that a plan can travel inside a signed manifest.

Decoding is lenient; the caller encodes again and compares the text, which catches whatever is not exactly a question.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from synthfed.secagg.questions.among import Among, Condition, Every, Is, Not, Present, Some, Within
from synthfed.secagg.questions.binned import BinnedQuantiles
from synthfed.secagg.questions.counts import Contingency, Frequency, Histogram
from synthfed.secagg.questions.covariance import Covariance, RawCovariance
from synthfed.secagg.questions.quantiles import Quantiles
from synthfed.secagg.questions.question import Bounds, Question
from synthfed.secagg.questions.sums import Count, Moments, RawMoments, RawSum, Sum

_KINDS: Mapping[str, type] = {
    "among": Among,
    "binned_quantiles": BinnedQuantiles,
    "contingency": Contingency,
    "count": Count,
    "covariance": Covariance,
    "frequency": Frequency,
    "histogram": Histogram,
    "moments": Moments,
    "quantiles": Quantiles,
    "raw_covariance": RawCovariance,
    "raw_moments": RawMoments,
    "raw_sum": RawSum,
    "sum": Sum,
}
_CONDITIONS: Mapping[str, type] = {
    "every": Every,
    "is": Is,
    "not": Not,
    "present": Present,
    "some": Some,
    "within": Within,
}
_NAMES = {kind: name for names in (_KINDS, _CONDITIONS) for name, kind in names.items()}


def encode_question(question: Question) -> dict[str, Any]:
    """Plain values: `kind` and the question's fields."""
    plain: dict[str, Any] = _plain(question)
    return plain


def decode_question(plain: Mapping[str, Any]) -> Question:
    """The question of plain values.

    Raises:
        ValueError, TypeError, KeyError: They make no question.
    """
    kind = _KINDS[plain["kind"]]
    decoders = {**_FIELDS, "of": _many_bounds} if kind in (Covariance, RawCovariance) else _FIELDS
    question: Question = kind(**{field.name: decoders[field.name](plain[field.name]) for field in fields(kind)})
    return question


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not hasattr(value, "__dataclass_fields__"):
        return value
    named = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return {"kind": _NAMES[type(value)], **named} if type(value) in _NAMES else named


def _frequency(plain: Mapping[str, Any]) -> Frequency:
    question = decode_question(plain)
    if not isinstance(question, Frequency):
        raise TypeError(f"a contingency is of two frequencies, not of {plain['kind']!r}")
    return question


def _bounds(plain: Mapping[str, Any]) -> Bounds:
    return Bounds(str(plain["column"]), float(plain["lower"]), float(plain["upper"]))


def _many_bounds(plain: Any) -> tuple[Bounds, ...]:
    return tuple(_bounds(item) for item in plain)


def _condition(plain: Mapping[str, Any]) -> Condition:
    kind = _CONDITIONS[plain["kind"]]
    condition: Condition = kind(**{field.name: _FIELDS[field.name](plain[field.name]) for field in fields(kind)})
    return condition


def _floats(plain: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in plain)


_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "column": str,
    "condition": _condition,
    "edges": _floats,
    "first": _frequency,
    "levels": lambda plain: tuple(str(level) for level in plain),
    "lower": float,
    "of": _bounds,
    "part": _condition,
    "parts": lambda plain: tuple(_condition(item) for item in plain),
    "probabilities": _floats,
    "question": decode_question,
    "second": _frequency,
    "step": float,
    "upper": float,
    "values": _floats,
}
