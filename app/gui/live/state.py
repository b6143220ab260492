"""State of the Live page, as immutable records. All times are in seconds from the start of the
run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from app.gui.formatting import State
from app.records.result import Validity

RunStatus = Literal["idle", "starting", "running", "stopping", "finished", "lost", "failed"]
"""State of the run. `lost`: the load generator ended without reporting the end of the run.
`failed`: the load generator ended before reporting anything."""


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """State of the run for the header of the page, the docks, the toolbar and the status bar.
    `completed_count` and `total_count` are numbers of stages, or of variants of a local run."""

    status: RunStatus = "idle"
    run_id: str | None = None
    name: str = ""
    directory: Path | None = None
    phase: str = ""
    message: str = ""
    completed_count: int = 0
    total_count: int | None = None
    elapsed_s: float = 0.0
    eta_s: float | None = None
    validity: Validity | None = None
    """Validity of the run so far, or None if no check has been evaluated yet."""
    reasons: tuple[str, ...] = ()
    """Reasons why the run is WARN or INVALID."""

    @property
    def is_running(self) -> bool:
        return self.status in ("starting", "running", "stopping")


class StageCell(msgspec.Struct, frozen=True, kw_only=True):
    """A stage on the ribbon. `is_slo_met` and `validity` are None until the stage has ended."""

    index: int
    name: str
    load_text: str
    start_s: float
    end_s: float | None
    progress: float
    is_slo_met: bool | None = None
    validity: Validity | None = None
    can_change_rate: bool = False
    """True if the request rate of the stage can be changed."""
    rate_per_s: float | None = None
    can_extend: bool = False
    """True if the stage can be extended, which requires a constant rate or a fixed concurrency."""


class Marker(msgspec.Struct, frozen=True):
    time_s: float
    text: str


class VariantLine(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    name: str
    state: Literal["running", "measured", "ended early"]
    times: str
    """Formatted latencies and throughputs of the variant's scenarios."""
    reason: str | None = None


class Band(msgspec.Struct, frozen=True):
    start_s: float
    end_s: float
    text: str
    state: State
