"""What each kind of stage is: one row per kind.

Which stages count, which are points of the capacity curve, and which the user can change while they
run are derived from these rows. A new kind is one more row, and its name in `StageKind`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

StageKind = Literal["warmup", "probe", "step", "steady", "closed", "varying", "spike", "batch"]
"""Kind of a stage. `probe`: a short stage of a search for the max rate; `step`: a stage of a search
that confirms or refutes a rate; `steady`: a constant rate; `closed`: a closed loop of clients that
wait for responses; `varying`: a rate that changes continuously; `spike`: a rate that jumps up and
returns; `batch`: a job of the Batch API, which has no arrivals."""


class StageTraits(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of a kind of stage."""

    is_measured: bool = True
    """Whether the stage counts for the verdict and is shown by default. A warm-up does not."""
    is_search: bool = False
    """Whether a search for the max rate chose the load of the stage."""
    has_fixed_rate: bool = False
    """Whether the stage has one rate, so that it is a point of the capacity curve."""
    confirms_rate: bool = False
    """Whether the stage is meant to decide about its fixed rate. A probe only explores."""
    has_constant_load: bool = False
    """Whether the profile sets one load for the whole stage: a rate or a number of clients."""
    has_changing_rate: bool = False
    """Whether the rate changes during the stage."""
    can_change_rate: bool = False
    """Whether the user can change the rate while the stage runs, unless a trace or clients determine
    it. Warm-ups are not measured, and a search chooses its own rates."""
    can_be_extended: bool = False
    """Whether the user can extend the stage while it runs, unless it replays a trace. A rate curve
    has a fixed length."""

    @property
    def is_configured(self) -> bool:
        """Whether the profile defines the stage: it is measured, and not chosen by a search."""
        return self.is_measured and not self.is_search

    @property
    def has_variable_rate(self) -> bool:
        """Whether the stage is measured, and has no fixed rate that other stages could have too."""
        return self.is_measured and not self.has_fixed_rate

    @property
    def has_configured_rate(self) -> bool:
        """Whether the profile defines the stage and its one rate."""
        return self.is_configured and self.has_fixed_rate


STAGE_KINDS: dict[StageKind, StageTraits] = {
    "warmup": StageTraits(is_measured=False),
    "probe": StageTraits(is_search=True, has_fixed_rate=True),
    "step": StageTraits(is_search=True, has_fixed_rate=True, confirms_rate=True),
    "steady": StageTraits(
        has_fixed_rate=True, confirms_rate=True, has_constant_load=True, can_change_rate=True, can_be_extended=True
    ),
    "closed": StageTraits(has_constant_load=True, can_be_extended=True),
    "varying": StageTraits(has_changing_rate=True, can_change_rate=True),
    "spike": StageTraits(has_changing_rate=True, can_change_rate=True),
    "batch": StageTraits(),
}


def format_stage_label(name: str, repeat: int) -> str:
    """Format the name of a stage or of a test of a language model, with its number among the repeats
    from the second on, such as `steady #2`. Reports format it alike."""
    return f"{name} #{repeat}" if repeat > 1 else name
