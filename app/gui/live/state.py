"""State of the Live page, as immutable records. All times are in seconds from the start of the
run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from app.gui.formatting import State
from app.records.result import Validity

RunKind = Literal["endpoint", "llm_endpoint", "local", "language_model"]
"""Kind of the target, which determines the charts and the headline values. `llm_endpoint`: responses
have tokens; `local`: a model on this machine; `language_model`: a language model on this machine."""

if TYPE_CHECKING:
    from app.analysis.run_progress import RunStep

RunStatus = Literal["idle", "starting", "running", "stopping", "finished", "lost", "failed"]
"""State of the run. `lost`: the load generator ended without reporting the end of the run.
`failed`: the load generator ended before reporting anything."""


class StepCell(msgspec.Struct, frozen=True):
    """A step of the run. `skipped`: a later step was reached without this step. The times are those
    of the running step; `remaining_s` is None if unknown."""

    step: RunStep
    state: Literal["done", "running", "waiting", "skipped"]
    elapsed_s: float = 0.0
    remaining_s: float | None = None


class Kpi(msgspec.Struct, frozen=True, kw_only=True):
    """A headline value of the running stage, with its unit. `detail` gives related values."""

    label: str
    value: str
    detail: str = ""
    state: State = "plain"


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """State of the run for the header of the page, the docks, the toolbar and the status bar.
    `completed_count` and `total_count` are numbers of stages, or of variants of a local run."""

    status: RunStatus = "idle"
    run_id: str | None = None
    name: str = ""
    directory: Path | None = None
    phase: str = ""
    message: str = ""
    position: str = ""
    """Variant and test that is measured, in a run of a local model."""
    steps: tuple[StepCell, ...] = ()
    is_local: bool = False
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
    """Share of the stage that is done, from 0 to 1."""
    remaining_s: float | None = None
    """Remaining time of the running stage; None if the stage ends after a number of requests."""
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


class MeasuredTest(msgspec.Struct, frozen=True, kw_only=True):
    """Measured test of a language model. Values are None if the test does not have them."""

    name: str
    prefill_per_s: float | None
    decode_per_s: float | None
    ttft_ms: float | None
    itl_ms: float | None
    validity: Validity


class VariantLine(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    name: str
    state: Literal["running", "measured", "ended early"]
    times: str
    """Formatted latencies and throughputs of the variant's scenarios."""
    reason: str | None = None
    tests: tuple[MeasuredTest, ...] = ()
    """Measured tests of a language model."""


class Band(msgspec.Struct, frozen=True):
    start_s: float
    end_s: float
    text: str
    state: State
