"""Data of the live charts: time series of rates and latencies from snapshots, and time series of
machine telemetry with one point every 0.5 s."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from app.gui.charts.ring_buffer import RingBuffer
from app.gui.live.state import Band
from app.records.events import Snapshot, StageStarted
from app.records.gpu import list_throttle_reasons

if TYPE_CHECKING:
    import pyarrow as pa


SERIES_CAPACITY = 32_768
"""Maximum number of points per time series of a run, enough for 2.25 h at four points per second.
Above the maximum, the oldest points are dropped from the chart; the stored run is complete."""
RATES = ("offered", "sent", "completed", "good")
LATENCIES = ("p50", "p95", "p99", "lag")
_WINDOW_NS = 1_000_000_000
_MIN_INTERVAL_S = 0.2
"""Minimum interval over which a rate is computed, in seconds. Over a shorter interval, the rate
would be too noisy."""
_Counts = tuple[int, int, int, int, int | None]


class LiveSeries:
    """Time series of request rates and latencies.

    Each rate is an average over the last second of the running stage. Counters restart at 0 with
    each stage, so the series have a gap between stages.
    """

    def __init__(self) -> None:
        self.ring = RingBuffer(SERIES_CAPACITY, (*RATES, *LATENCIES, "in_flight"))
        self._recent: deque[_Counts] = deque()

    def begin(self, stage: StageStarted, zero_ns: int) -> None:
        first_ns = stage.start_ns - round(stage.lead_in_s * 1e9)
        self._recent = deque([(first_ns, 0, 0, 0, 0)])
        self.ring.append((first_ns - zero_ns) / 1e9, *[None] * (len(RATES) + len(LATENCIES) + 1))

    def add_snapshot(self, snapshot: Snapshot, zero_ns: int) -> None:
        counts: _Counts = (snapshot.at_ns, snapshot.offered, snapshot.sent, snapshot.completed, snapshot.good)
        while len(self._recent) > 1 and snapshot.at_ns - self._recent[1][0] >= _WINDOW_NS:
            self._recent.popleft()
        rates = _compute_rates(self._recent[0], counts) if self._recent else (None,) * len(RATES)
        self._recent.append(counts)
        latencies = (snapshot.latency_p50_ms, snapshot.latency_p95_ms, snapshot.latency_p99_ms, snapshot.lag_p99_ms)
        self.ring.append((snapshot.at_ns - zero_ns) / 1e9, *rates, *latencies, snapshot.in_flight)


def _compute_rates(previous: _Counts, current: _Counts) -> tuple[float | None, ...]:
    interval_s = (current[0] - previous[0]) / 1e9
    if interval_s < _MIN_INTERVAL_S:
        return (None,) * len(RATES)
    return tuple(
        None if a is None or b is None else (b - a) / interval_s for a, b in zip(previous[1:], current[1:], strict=True)
    )


MACHINE_CAPACITY = 16_384
"""Maximum number of points per time series of machine telemetry, enough for 2.25 h at two points
per second. Above the maximum, the oldest points are dropped from the chart."""
_INTERVAL_S = 0.5
_MAX_GAP_S = 2.0
_MAX_BANDS = 200
_THROTTLE = "gpu_throttle_reasons"
_GPU_METRICS = ("gpu_utilization_percent", "gpu_memory_gib", "gpu_power_w", "gpu_sm_clock_mhz")
_HOST_METRICS = ("host_cpu_percent", "host_memory_gib")
_PROCESS_METRICS = tuple(
    f"{source}_{quantity}"
    for source in ("endpoint", "generator", "engine", "model")
    for quantity in ("cpu_cores", "memory_gib")
)
_CHARTED_METRICS = (*_GPU_METRICS, *_HOST_METRICS, *_PROCESS_METRICS, _THROTTLE)
_GPU_SOURCE = re.compile(r"gpu\d+")

Line = tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Label, times in seconds, and values of a time series."""


class MachineSeries:
    def __init__(self) -> None:
        self._rings: dict[str, RingBuffer] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._pending: dict[str, tuple[float, dict[str, list[float]]]] = {}
        self._throttled: dict[str, list[Band]] = {}

    @property
    def gpus(self) -> tuple[str, ...]:
        return tuple(sorted(source for source in self._rings if _GPU_SOURCE.fullmatch(source)))

    def add_batch(self, batch: pa.RecordBatch, zero_ns: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        charted_readings = batch.filter(pc.is_in(batch["metric"], pa.array(_CHARTED_METRICS)))
        seconds = (charted_readings["at_ns"].to_numpy() - zero_ns) / 1e9
        values = charted_readings["value"].to_numpy(zero_copy_only=False)
        sources, metrics = charted_readings["source"].to_pylist(), charted_readings["metric"].to_pylist()
        for time_s, source, metric, value in zip(seconds.tolist(), sources, metrics, values.tolist(), strict=True):
            if metric == _THROTTLE:
                self._mark_throttling(source, time_s, value)
            elif source == "host" or metric.startswith(f"{source}_") or _GPU_SOURCE.fullmatch(source):
                self._add(source, time_s, metric, value)

    def lines(self, view: str) -> list[Line]:
        """Return the time series of a view of the machine chart. `view` is a key of `views`."""
        return [
            (text, self._rings[source].x, scale * self._rings[source].column(metric))
            for source, metric, text, scale in self._lines_of_view(view)
            if source in self._rings and metric in self._names[source]
        ]

    def bands(self) -> tuple[Band, ...]:
        """Return a band for each period in which a GPU was throttled."""
        return tuple(band for gpu_bands in self._throttled.values() for band in gpu_bands)

    def _lines_of_view(self, view: str) -> Iterable[tuple[str, str, str, float]]:
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
                    yield gpu, view, _format_gpu(gpu), 1.0

    def _add(self, source: str, time_s: float, metric: str, value: float) -> None:
        start_s, sums = self._pending.setdefault(source, (time_s, {}))
        if time_s - start_s >= _INTERVAL_S:
            self._append_means(source, start_s, sums)
            start_s, sums = self._pending[source] = (time_s, {})
        if value == value:
            total = sums.setdefault(metric, [0.0, 0.0])
            total[0] += value
            total[1] += 1

    def _append_means(self, source: str, start_s: float, sums: dict[str, list[float]]) -> None:
        if source not in self._rings:
            names = (
                _GPU_METRICS
                if _GPU_SOURCE.fullmatch(source)
                else tuple(name for name in _CHARTED_METRICS if name.startswith(f"{source}_"))
            )
            self._names[source], self._rings[source] = names, RingBuffer(MACHINE_CAPACITY, names)
        means = {metric: total / count for metric, (total, count) in sums.items()}
        self._rings[source].append(start_s + _INTERVAL_S / 2, *[means.get(name) for name in self._names[source]])

    def _mark_throttling(self, source: str, time_s: float, reasons: float) -> None:
        names = list_throttle_reasons(reasons) if reasons == reasons else ()
        if not names or not _GPU_SOURCE.fullmatch(source):
            return
        text = f"{_format_gpu(source)}: {', '.join(names)}"
        bands = self._throttled.setdefault(source, [])
        if bands and bands[-1].text == text and time_s - bands[-1].end_s < _MAX_GAP_S:
            bands[-1] = Band(bands[-1].start_s, time_s, text, "warn")
        elif len(bands) < _MAX_BANDS:
            bands.append(Band(time_s, time_s, text, "warn"))


_PROCESSES = {
    "endpoint": "endpoint",
    "generator": "load generator",
    "model": "model",
    "engine": "Sizewise",
}


def views(*, has_gpus: bool) -> dict[str, str]:
    """Return the views of the machine chart as a mapping of keys to titles. The first view is the
    default."""
    gpu_views = {
        "gpu_utilization_percent": "GPU utilization (%)",
        "gpu_memory_gib": "GPU memory (GiB)",
        "gpu_power_w": "GPU power (W)",
        "gpu_sm_clock_mhz": "GPU clock (MHz)",
    }
    return {**(gpu_views if has_gpus else {}), "cpu": "CPU utilization (%)", "memory": "Memory (GiB)"}


def _format_gpu(source: str) -> str:
    return source.upper().replace("GPU", "GPU ")
