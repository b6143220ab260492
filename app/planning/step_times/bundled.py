"""The bundled fit of the model of step times to published measurements."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

from app.planning.step_times.estimate import FittedEvidence

FILE = files("profiles") / "evidence" / "step_times.json"


@cache
def load_bundled_evidence() -> FittedEvidence:
    return msgspec.json.decode(FILE.read_bytes(), type=FittedEvidence)


def format_evidence(evidence: FittedEvidence) -> bytes:
    """Return the contents of the bundled file, with numbers rounded to five digits."""
    return (
        msgspec.json.format(msgspec.json.encode(_round(msgspec.to_builtins(evidence, order="sorted"))), indent=1)
        + b"\n"
    )


def _round(value: object) -> object:
    match value:
        case dict():
            return {key: _round(item) for key, item in value.items()}
        case list() | tuple():
            return [_round(item) for item in value]
        case float():
            return float(f"{value:.5g}")
        case _:
            return value
