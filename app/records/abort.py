"""Rule that aborts a run."""

from __future__ import annotations

import msgspec

from app.records.result import Objective


class AbortRule(msgspec.Struct, frozen=True):
    """Rule that aborts the run as soon as the running stage meets `objective`, but not before
    `after_s` seconds from the start of the stage."""

    text: str
    objective: Objective
    after_s: float
