"""Finding the highest rate that holds: which rate to try next, given what held so far."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

_MOST_HALVINGS = 6
_LAST_STEP = 0.08


class Probe(msgspec.Struct, frozen=True):
    """One stage to run. `repeat` counts the holds of one rate from 1."""

    kind: Literal["probe", "hold"]
    rate_per_s: float
    repeat: int = 1


class SearchOutcome(msgspec.Struct, frozen=True):
    """`max_rate_per_s` held in all its repeats, else None with a `reason`. `bracket`: the highest rate that was seen to
    hold and the lowest that failed; None for one that was not found."""

    max_rate_per_s: float | None
    reason: str | None
    bracket: tuple[float | None, float | None]
    probes: int


class RateSearch:
    """Doubles from the start (or halves, when the start fails), bisects in log space, then holds the best rate.

    The holds of a rate are judged together: one that fails fails the rate, and the search steps down to a lower one
    that it holds in turn. The last probes of the budget are kept for holds.
    """

    def __init__(self, start_per_s: float, repeats: int, resolution: float = 0.02, max_probes: int = 25) -> None:
        self._start_per_s, self._repeats = start_per_s, repeats
        self._resolution, self._max_probes = resolution, max_probes
        self._held: list[float] = []
        self._failed: float | None = None
        self._holding: float | None = None
        self._holds = 0
        self._probes = 0

    def next(self) -> Probe | None:
        """What to run now; the same again until it was recorded, None when the search is over."""
        if self._is_over():
            return None
        if self._holding is not None:
            return Probe("hold", self._holding, self._holds + 1)
        return Probe("probe", self._next_rate())

    def record(self, probe: Probe, held: bool) -> None:
        """`probe` is what `next` gave."""
        self._probes += 1
        if held:
            self._held.append(probe.rate_per_s)
        else:
            self._failed = probe.rate_per_s  # each rate tried lies below all that failed
        if probe.kind == "probe":
            self._choose_hold()
        elif held:
            self._holds += 1
        else:
            self._holds, self._holding = 0, probe.rate_per_s / (1 + self._step_down)

    def outcome(self) -> SearchOutcome:
        """What is known now, whether or not the search is over."""
        found = self._holding if self._has_found() else None
        return SearchOutcome(found, None if found else self._reason(), (self._carried, self._failed), self._probes)

    @property
    def _carried(self) -> float | None:
        """The highest rate that held and lies below all that failed."""
        return max((rate for rate in self._held if self._failed is None or rate < self._failed), default=None)

    @property
    def _budget_left(self) -> int:
        return self._max_probes - self._probes

    @property
    def _step_down(self) -> float:
        """Small steps keep the answer near the limit; with one set of holds left, one that is likely to hold."""
        return self._resolution if self._budget_left >= 2 * self._repeats else _LAST_STEP

    def _choose_hold(self) -> None:
        carried, failed = self._carried, self._failed
        if carried is None:
            return
        is_narrow = failed is not None and failed / carried <= 1 + self._resolution
        if is_narrow or self._budget_left <= self._repeats:
            self._holding = carried

    def _next_rate(self) -> float:
        carried, failed = self._carried, self._failed
        if carried is None:
            return self._start_per_s if failed is None else failed / 2
        return carried * 2 if failed is None else math.sqrt(carried * failed)

    def _has_found(self) -> bool:
        return self._holds >= self._repeats

    def _is_over(self) -> bool:
        if self._has_found() or self._budget_left < max(1, self._repeats - self._holds):
            return True
        is_at_the_bottom = self._failed is not None and self._failed <= self._start_per_s / 2**_MOST_HALVINGS
        return is_at_the_bottom and self._holding is None and self._carried is None

    def _reason(self) -> str:
        if not self._is_over():
            return "the search was cut short"
        if self._failed is not None and self._holding is None:
            return f"even {self._failed:.4g}/s, the lowest rate tried, failed"
        return f"no rate held {self._repeats} times within {self._max_probes} probes"
