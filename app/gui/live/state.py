"""What the Live page shows, as plain records. Seconds count from the start of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from app.gui.formatting import State
from app.records.result import Trust

Going = Literal["idle", "starting", "running", "stopping", "finished", "lost", "failed"]
"""`lost`: the engine went without a word; `failed`: before it said anything."""


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """For the page's header, and for docks, toolbar and status bar. `done` of `total` are stages, or variants."""

    going: Going = "idle"
    run_id: str | None = None
    name: str = ""
    directory: Path | None = None
    phase: str = ""
    message: str = ""
    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0
    eta_s: float | None = None
    trust: Trust | None = None
    """None where nothing was checked yet."""
    reasons: tuple[str, ...] = ()
    """Why it is not VALID."""

    @property
    def is_running(self) -> bool:
        return self.going in ("starting", "running", "stopping")


class StageCell(msgspec.Struct, frozen=True, kw_only=True):
    """A stage on the ribbon. `held` and `trust` are None until it is over."""

    index: int
    name: str
    rate: str
    start_s: float
    end_s: float | None
    share_done: float
    held: bool | None = None
    trust: Trust | None = None
    can_change: bool = False
    """Whether its rate may be changed."""
    rate_per_s: float | None = None
    can_extend: bool = False
    """Whether it may be made longer: it has one rate, or clients."""


class Marker(msgspec.Struct, frozen=True):
    at_s: float
    text: str


class FailureLine(msgspec.Struct, frozen=True, kw_only=True):
    """`error` is the class of the error, as rows have it; `sample` is what was seen of the first, if it was told."""

    error: str
    first_s: float
    count: int
    sample: str = ""


class VariantLine(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    name: str
    state: Literal["running", "measured", "ended early"]
    times: str
    """Of its scenarios, in words."""
    reason: str | None = None


class Band(msgspec.Struct, frozen=True):
    start_s: float
    end_s: float
    text: str
    state: State
