"""What the Plan page shows, as plain facts."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.gui.plan.edits import NOTHING, Edits
from app.planning.relaxation import Relaxation
from app.records.plan import Plan
from app.records.plan_question import PlanQuestion
from app.wiring.planning import PlanRequest

Phase = Literal["empty", "loading", "failed", "planning", "preview", "simulated"]
Kernels = Literal["unknown", "compiling", "ready"]
Source = Literal["peak", "users", "trace"]


class Loaded(msgspec.Struct, frozen=True):
    """The question as its sources tell it. `refits` where another SLO makes another measurement of it."""

    request: PlanRequest
    question: PlanQuestion
    peak_from: Source
    refits: bool
    supposes_traffic: bool = False
    """The sources tell of none."""


class PlanState(msgspec.Struct, frozen=True):
    """`question` is the edited one, which `plan` answers as soon as `is_current`; `error` is of the sources where the
    phase is failed, else of the last edit. `took_ms` is of the last answer."""

    phase: Phase = "empty"
    loaded: Loaded | None = None
    edits: Edits = NOTHING
    question: PlanQuestion | None = None
    plan: Plan | None = None
    is_current: bool = False
    took_ms: float = 0.0
    kernels: Kernels = "unknown"
    error: Exception | None = None
    unplaced: PlanRequest | None = None
    """What was asked for where its sources do not say what they ran on, and the user may."""
    relaxations: tuple[Relaxation, ...] | None = None
    """None while it is not known what would let an offer fit."""
