"""Rule by which a run aborts itself."""

from __future__ import annotations

import msgspec

from app.records.result import Objective


class AbortRule(msgspec.Struct, frozen=True):
    """A rule that ends the run if the running stage fulfills `objective`, from `after_s` after the stage's start."""

    text: str
    objective: Objective
    after_s: float
