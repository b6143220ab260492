"""What the Plan page shows, as plain facts.

What a person changed of a plan's question, as `sizewise plan` takes it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

import msgspec

from app.planning.relaxation import Relaxation
from app.records.plan import Plan
from app.records.plan_question import PlanQuestion
from app.wiring.plan_changes import PRICE
from app.wiring.planning import PlanRequest

Values = tuple[tuple[str, str | None], ...]
"""Keys of `--set` with their values; None is as it was."""


class Change(msgspec.Struct, frozen=True):
    """One step of undo. Changes of one `stroke`, as while a slider is held, are one step; -1 is none."""

    words: str
    values: Values = ()
    slo: tuple[str, ...] | None = None
    prices: tuple[Path, ...] | None = None
    stroke: int = -1


class Edits(msgspec.Struct, frozen=True):
    """`values` are of `--set`, prices of offers among them; `slo` None is that of the sources; `prices` are lists over
    those that the question began with."""

    values: tuple[tuple[str, str], ...] = ()
    slo: tuple[str, ...] | None = None
    prices: tuple[Path, ...] = ()

    def value(self, key: str) -> str | None:
        return dict(self.values).get(key)

    def has(self, key: str) -> bool:
        return self.slo is not None if key == "slo" else any(name == key for name, _ in self.values)

    @property
    def overrides(self) -> tuple[str, ...]:
        return tuple(f"{key}={value}" for key, value in self.values)

    @property
    def priced(self) -> dict[str, str]:
        """By offer, what its price was made."""
        return {key.removeprefix(PRICE): value for key, value in self.values if key.startswith(PRICE)}

    def after(self, change: Change) -> Edits:
        values = dict(self.values)
        for key, value in change.values:
            values.pop(key, None)
            if value is not None:
                values[key] = value
        return Edits(
            tuple(values.items()),
            self.slo if change.slo is None else (change.slo or None),
            self.prices if change.prices is None else change.prices,
        )


NOTHING = Edits()


def request_with(request: PlanRequest, edits: Edits) -> PlanRequest:
    """All that a command line says: what is edited stands for what it was begun with."""
    said = {override.partition("=")[0]: override for override in request.overrides}
    for key, value in edits.values:
        said.pop(key, None)
        said[key] = f"{key}={value}"
    return msgspec.structs.replace(
        request,
        overrides=tuple(said.values()),
        slo=request.slo if edits.slo is None else edits.slo,
        offers=(*request.offers, *edits.prices),
    )


def command_of(request: PlanRequest) -> str:
    """The line that plans the same in a terminal."""
    words = ["sizewise", "plan", *request.sources]
    words += [] if request.traffic is None else ["--traffic", str(request.traffic)]
    for option, values in (("--slo", request.slo), ("--offers", request.offers), ("--set", request.overrides)):
        for value in values:
            words += [option, str(value)]
    return shlex.join(words)


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
