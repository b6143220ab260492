"""Which of the prepared requests are asked for how often: `in-turn`, `uniform`, `zipf` or `{zipf: 1.1}`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from app.profiles.problems import BadValueError, did_you_mean
from loadgen.workloads import Popularity

_KINDS = ("in-turn", "uniform", "zipf")
_HINT = "Write in-turn, uniform, zipf, or {zipf: 1.1} with its exponent."


def parse_popularity(value: object) -> Popularity:
    if isinstance(value, dict) and list(value) == ["zipf"]:
        exponent = value["zipf"]
        if isinstance(exponent, bool) or not isinstance(exponent, int | float) or not 0 < exponent <= 10:
            raise BadValueError(f"the exponent of zipf is a number above 0 and at most 10, not {exponent!r}")
        return Popularity("zipf", float(exponent))
    if value == "zipf":
        return Popularity("zipf")
    if value == "uniform":
        return Popularity("uniform")
    if value == "in-turn":
        return Popularity()
    hint = did_you_mean(value, _KINDS) if isinstance(value, str) else None
    raise BadValueError(f"{value!r} is not a popularity", hint=hint or _HINT)


def format_popularity(popularity: Popularity) -> Any:
    return {"zipf": popularity.exponent} if popularity.kind == "zipf" else popularity.kind


PopularityText = Annotated[Popularity, PlainValidator(parse_popularity), PlainSerializer(format_popularity)]
