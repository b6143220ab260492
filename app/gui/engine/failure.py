"""The failure that a command reported on standard error."""

from __future__ import annotations

import msgspec

from app.records.failure import Failure
from loadgen.decoding import decode_json

ERROR_JSON = "--error-json"
"""The option that makes a command report its failure as JSON, too."""


def reported_failure(log: str) -> tuple[Failure | None, str]:
    """The last failure in what a command printed, and the text without it."""
    lines = log.splitlines(keepends=True)
    for place in reversed(range(len(lines))):
        try:
            failure = decode_json(lines[place], Failure)
        except msgspec.DecodeError:
            continue
        return failure, "".join((*lines[:place], *lines[place + 1 :]))
    return None, log
