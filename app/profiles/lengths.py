"""Lengths in tokens: `512`, `uniform 100 to 800`, or a mapping that names a distribution.

`{uniform: {min, max}}`, `{normal: {mean, sd, min, max}}`, `{lognormal: {median, sigma, min, max}}` and
`{empirical: {values, weights}}`, where min is 1 and max none unless given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from pydantic import PlainSerializer, PlainValidator

from app.profiles.problems import BadValueError, UnknownKeyError, did_you_mean
from loadgen.workloads import EmpiricalLength, FixedLength, Length, LognormalLength, NormalLength, UniformLength

MOST_TOKENS = 2_000_000
_UNIFORM = re.compile(r"uniform\s+(\d+)\s+to\s+(\d+)", re.ASCII)
_HINT = "Write 512, `uniform 100 to 800`, or {lognormal: {median: 300, sigma: 0.8, max: 4000}}."
# within so many standard deviations of the middle lies something to draw
_REACH = 4.0


def parse_length(value: object) -> Length:
    if isinstance(value, str):
        match = _UNIFORM.fullmatch(value.strip())
        if match is None:
            raise BadValueError(f"{value!r} is not a length", hint=_HINT)
        value = {"uniform": {"min": int(match[1]), "max": int(match[2])}}
    if not isinstance(value, dict):
        return FixedLength(_tokens(value, "a length"))
    if len(value) != 1:
        raise BadValueError("a distribution of lengths is a mapping with one key, its name", hint=_HINT)
    ((name, given),) = value.items()
    if name not in _READERS:
        raise BadValueError(
            f"no distribution of lengths is called {name!r}", hint=did_you_mean(name, _READERS) or _HINT
        )
    keys, read = _READERS[name]
    if not isinstance(given, dict):
        raise BadValueError(f"{name} needs a mapping of {', '.join(keys)}", hint=_HINT)
    for key in given:
        if key not in keys:
            raise UnknownKeyError(key, keys, None)
    return read(given)


def format_length(length: Length) -> Any:
    """What parses to the very same distribution."""
    if isinstance(length, FixedLength):
        return length.tokens
    given = {_KEYS.get(key, key): value for key, value in msgspec.structs.asdict(length).items()}
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    return {type(length).__struct_config__.tag: {key: value for key, value in given.items() if value not in (None, [])}}


_KEYS = {"low": "min", "high": "max"}


def _uniform(given: dict[str, Any]) -> Length:
    low, high = _tokens(given.get("min", 1), "min"), _tokens(given.get("max"), "max")
    _check_order(low, high)
    return UniformLength(low, high)


def _normal(given: dict[str, Any]) -> Length:
    mean, sd = _number(given.get("mean"), "mean"), _number(given.get("sd"), "sd")
    low, high = _bounds(given)
    if low - mean > _REACH * sd or (high is not None and mean - high > _REACH * sd):
        raise BadValueError("min and max leave next to nothing of that distribution")
    return NormalLength(mean, sd, low, high)


def _lognormal(given: dict[str, Any]) -> Length:
    median, sigma = _number(given.get("median"), "median"), _number(given.get("sigma"), "sigma")
    if sigma > 5:
        raise BadValueError("sigma is the standard deviation of the logarithm: at most 5")
    low, high = _bounds(given)
    if math.log(low / median) > _REACH * sigma or (high is not None and math.log(median / high) > _REACH * sigma):
        raise BadValueError("min and max leave next to nothing of that distribution")
    return LognormalLength(median, sigma, low, high)


def _empirical(given: dict[str, Any]) -> Length:
    values, weights = given.get("values"), given.get("weights", [])
    if not isinstance(values, list) or not values or not isinstance(weights, list) or len(values) > 100_000:
        raise BadValueError("empirical needs values, a list of lengths, and may have weights, a list as long")
    if weights and len(weights) != len(values):
        raise BadValueError(f"empirical has {len(values)} values and {len(weights)} weights")
    numbers = tuple(_number(weight, "a weight", least=0.0) for weight in weights)
    if numbers and not sum(numbers) > 0:
        raise BadValueError("empirical has no weight above zero")
    return EmpiricalLength(tuple(_tokens(value, "a value") for value in values), numbers)


_READERS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Length]]] = {
    "uniform": (("min", "max"), _uniform),
    "normal": (("mean", "sd", "min", "max"), _normal),
    "lognormal": (("median", "sigma", "min", "max"), _lognormal),
    "empirical": (("values", "weights"), _empirical),
}


def _bounds(given: dict[str, Any]) -> tuple[int, int | None]:
    low = _tokens(given.get("min", 1), "min")
    high = None if given.get("max") is None else _tokens(given["max"], "max")
    _check_order(low, high)
    return low, high


def _check_order(low: int, high: int | None) -> None:
    if high is not None and low > high:
        raise BadValueError(f"min {low} is above max {high}")


def _tokens(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or not value >= 1:
        raise BadValueError(f"{what} must be a whole number of at least 1, not {value!r}", hint=_HINT)
    if value > MOST_TOKENS:
        raise BadValueError(f"{what} is more than {MOST_TOKENS:,}, the most that can be asked for")
    return int(value)


def _number(value: object, what: str, least: float = 1e-9) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 1e12:
        raise BadValueError(f"{what} must be a number above zero, not {value!r}")
    return float(value)


TokenLength = Annotated[Length, PlainValidator(parse_length), PlainSerializer(format_length)]
