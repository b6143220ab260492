"""State of the Live page, as immutable records. Times are in seconds from the start of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from app.gui.formatting import State
from app.records.result import Validity

RunStatus = Literal["idle", "starting", "running", "stopping", "finished", "lost", "failed"]
"""State of the run. `lost`: the engine ended without reporting an end. `failed`: it ended before it reported
anything."""


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """State of the run for the page's header, the docks, the toolbar and the status bar. `done` and `total` count
    stages, or variants of a local run."""

    status: RunStatus = "idle"
    run_id: str | None = None
    name: str = ""
    directory: Path | None = None
    phase: str = ""
    message: str = ""
    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0
    eta_s: float | None = None
    validity: Validity | None = None
    """Validity so far, or None if nothing has been checked yet."""
    reasons: tuple[str, ...] = ()
    """Reasons why the run is not VALID."""

    @property
    def is_running(self) -> bool:
        return self.status in ("starting", "running", "stopping")


class StageCell(msgspec.Struct, frozen=True, kw_only=True):
    """A stage on the ribbon. `is_slo_met` and `validity` are None until it has ended."""

    index: int
    name: str
    rate: str
    start_s: float
    end_s: float | None
    share_done: float
    is_slo_met: bool | None = None
    validity: Validity | None = None
    can_change: bool = False
    """True if the rate of the stage can be changed."""
    rate_per_s: float | None = None
    can_extend: bool = False
    """True if the stage can be extended: it has a constant rate or a number of clients."""


class Marker(msgspec.Struct, frozen=True):
    at_s: float
    text: str


class FailureLine(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of one class. `error` is the class as in the rows; `sample` is the text of the first error, or empty if
    none was reported."""

    error: str
    first_s: float
    count: int
    sample: str = ""


class VariantLine(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    name: str
    state: Literal["running", "measured", "ended early"]
    times: str
    """Times of its scenarios, as text."""
    reason: str | None = None


class Band(msgspec.Struct, frozen=True):
    start_s: float
    end_s: float
    text: str
    state: State
