"""From snapshots to the lines of the live charts."""

from __future__ import annotations

from collections import deque

from app.gui.charts.ring import Ring
from app.records.events import Snapshot, StageStarted

CAPACITY = 32_768
"""Four a second for two hours and a quarter; then the oldest go. The stored run has everything."""
RATES = ("offered", "sent", "completed", "good")
LATENCIES = ("p50", "p95", "p99", "lag")
_OVER_NS = 1_000_000_000
_LEAST_S = 0.2
"""A rate over less is noise."""
_Counts = tuple[int, int, int, int, int | None]


class LiveSeries:
    """Rates are over the last second of the running stage, which counts anew; between stages there is a gap."""

    def __init__(self) -> None:
        self.ring = Ring(CAPACITY, (*RATES, *LATENCIES, "in_flight"))
        self._recent: deque[_Counts] = deque()

    def begin(self, stage: StageStarted, zero_ns: int) -> None:
        first_ns = stage.start_ns - round(stage.lead_in_s * 1e9)
        self._recent = deque([(first_ns, 0, 0, 0, 0)])
        self.ring.append((first_ns - zero_ns) / 1e9, *[None] * (len(RATES) + len(LATENCIES) + 1))

    def take(self, told: Snapshot, zero_ns: int) -> None:
        now: _Counts = (told.at_ns, told.offered, told.sent, told.completed, told.good)
        while len(self._recent) > 1 and told.at_ns - self._recent[1][0] >= _OVER_NS:
            self._recent.popleft()
        rates = _rates(self._recent[0], now) if self._recent else (None,) * len(RATES)
        self._recent.append(now)
        latencies = (told.latency_p50_ms, told.latency_p95_ms, told.latency_p99_ms, told.lag_p99_ms)
        self.ring.append((told.at_ns - zero_ns) / 1e9, *rates, *latencies, told.in_flight)


def _rates(before: _Counts, now: _Counts) -> tuple[float | None, ...]:
    over_s = (now[0] - before[0]) / 1e9
    if over_s < _LEAST_S:
        return (None,) * len(RATES)
    return tuple(None if a is None or b is None else (b - a) / over_s for a, b in zip(before[1:], now[1:], strict=True))
