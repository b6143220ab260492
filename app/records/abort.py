"""When a run gives up by itself."""

from __future__ import annotations

import msgspec

from app.records.result import Objective


class AbortRule(msgspec.Struct, frozen=True):
    """The run ends where the running stage does what `objective` says, from `after_s` after its start on."""

    text: str
    objective: Objective
    after_s: float
