"""From telemetry to the lines of the machine's chart: half a second of readings is one point.

From snapshots to the lines of the live charts.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from app.gui.charts.ring import Ring
from app.gui.live.state import Band
from app.records.events import Snapshot, StageStarted
from app.records.gpu import throttle_names

if TYPE_CHECKING:
    import pyarrow as pa


SERIES_CAPACITY = 32_768
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
        self.ring = Ring(SERIES_CAPACITY, (*RATES, *LATENCIES, "in_flight"))
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


CAPACITY = 16_384
"""Two a second for two hours and a quarter; then the oldest go."""
_POINT_S = 0.5
_GAP_S = 2.0
_MOST_BANDS = 200
_THROTTLE = "gpu_throttle_reasons"
_GPU = ("gpu_utilisation_percent", "gpu_memory_gib", "gpu_power_w", "gpu_sm_clock_mhz")
_HOST = ("host_cpu_percent", "host_memory_gib")
_OF_PROCESSES = tuple(
    f"{source}_{what}"
    for source in ("endpoint", "generator", "engine", "model")
    for what in ("cpu_cores", "memory_gib")
)
_WANTED = (*_GPU, *_HOST, *_OF_PROCESSES, _THROTTLE)
_GPU_SOURCE = re.compile(r"gpu\d+")

Line = tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Label, seconds, values."""


class MachineSeries:
    def __init__(self) -> None:
        self._rings: dict[str, Ring] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._open: dict[str, tuple[float, dict[str, list[float]]]] = {}
        self._throttled: dict[str, list[Band]] = {}

    @property
    def gpus(self) -> tuple[str, ...]:
        return tuple(sorted(source for source in self._rings if _GPU_SOURCE.fullmatch(source)))

    def take(self, batch: pa.RecordBatch, zero_ns: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = batch.filter(pc.is_in(batch["metric"], pa.array(_WANTED)))
        seconds = (wanted["at_ns"].to_numpy() - zero_ns) / 1e9
        values = wanted["value"].to_numpy(zero_copy_only=False)
        sources, metrics = wanted["source"].to_pylist(), wanted["metric"].to_pylist()
        for at_s, source, metric, value in zip(seconds.tolist(), sources, metrics, values.tolist(), strict=True):
            if metric == _THROTTLE:
                self._mark_throttling(source, at_s, value)
            elif source == "host" or metric.startswith(f"{source}_") or _GPU_SOURCE.fullmatch(source):
                self._add(source, at_s, metric, value)

    def lines(self, view: str) -> list[Line]:
        """Of one of VIEWS."""
        return [
            (text, self._rings[source].x, scale * self._rings[source].column(metric))
            for source, metric, text, scale in self._shown(view)
            if source in self._rings and metric in self._names[source]
        ]

    def bands(self) -> tuple[Band, ...]:
        """Where a GPU was held back."""
        return tuple(band for of_gpu in self._throttled.values() for band in of_gpu)

    def _shown(self, view: str) -> Iterable[tuple[str, str, str, float]]:
        match view:
            case "cpu":
                yield "host", "host_cpu_percent", "whole machine (%)", 1.0
                for source, text in _PROCESSES.items():
                    yield source, f"{source}_cpu_cores", f"{text} (% of a core)", 100.0
            case "memory":
                yield "host", "host_memory_gib", "whole machine (GiB)", 1.0
                for source, text in _PROCESSES.items():
                    yield source, f"{source}_memory_gib", f"{text} (GiB)", 1.0
            case _:
                for gpu in self.gpus:
                    yield gpu, view, gpu.upper().replace("GPU", "GPU "), 1.0

    def _add(self, source: str, at_s: float, metric: str, value: float) -> None:
        began_s, sums = self._open.setdefault(source, (at_s, {}))
        if at_s - began_s >= _POINT_S:
            self._close(source, began_s, sums)
            began_s, sums = self._open[source] = (at_s, {})
        if value == value:
            total = sums.setdefault(metric, [0.0, 0.0])
            total[0] += value
            total[1] += 1

    def _close(self, source: str, began_s: float, sums: dict[str, list[float]]) -> None:
        if source not in self._rings:
            names = _GPU if _GPU_SOURCE.fullmatch(source) else tuple(n for n in _WANTED if n.startswith(f"{source}_"))
            self._names[source], self._rings[source] = names, Ring(CAPACITY, names)
        means = {metric: total / count for metric, (total, count) in sums.items()}
        self._rings[source].append(began_s + _POINT_S / 2, *[means.get(name) for name in self._names[source]])

    def _mark_throttling(self, source: str, at_s: float, reasons: float) -> None:
        names = throttle_names(reasons) if reasons == reasons else ()
        if not names or not _GPU_SOURCE.fullmatch(source):
            return
        text = f"{source.upper()}: {', '.join(names)}"
        bands = self._throttled.setdefault(source, [])
        if bands and bands[-1].text == text and at_s - bands[-1].end_s < _GAP_S:
            bands[-1] = Band(bands[-1].start_s, at_s, text, "warn")
        elif len(bands) < _MOST_BANDS:
            bands.append(Band(at_s, at_s, text, "warn"))


_PROCESSES = {
    "endpoint": "endpoint",
    "generator": "load generator",
    "model": "model",
    "engine": "engine",
}


def views(*, has_gpus: bool) -> dict[str, str]:
    """What the machine's chart can show, by key, the first of them at first."""
    of_gpus = {
        "gpu_utilisation_percent": "GPU use (%)",
        "gpu_memory_gib": "GPU memory (GiB)",
        "gpu_power_w": "GPU power (W)",
        "gpu_sm_clock_mhz": "GPU clock (MHz)",
    }
    return {**(of_gpus if has_gpus else {}), "cpu": "Processor use (%)", "memory": "Memory (GiB)"}
