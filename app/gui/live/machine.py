"""Data of the live charts: time series of rates and latencies from snapshots, and time series of
machine telemetry with one point every 0.5 s."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from app.gui.charts.ring_buffer import RingBuffer
from app.gui.live.state import Band
from app.records.events import Snapshot, StageStarted
from app.records.gpu import list_throttle_reasons
from app.records.telemetry_sources import format_gpu_source, is_gpu_source

if TYPE_CHECKING:
    import pyarrow as pa


SERIES_CAPACITY = 32_768
"""Maximum number of points per time series of a run, enough for 2.25 h at four points per second.
Above the maximum, the oldest points are dropped from the chart; the stored run is complete."""
RATES = ("offered", "sent", "completed", "good")
LATENCIES = ("p50", "p95", "p99", "lag")
_TOKEN_COLUMNS = (
    "prefill_tokens_per_s", "decode_tokens_per_s", "ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "tpot_p95_ms",
    "itl_p50_ms", "itl_p95_ms",
)  # fmt: skip
"""Columns of a language model, named as the fields of `Snapshot`."""
_COUNTED_COLUMNS = (*RATES, "tokens")
_COLUMNS = (*_COUNTED_COLUMNS, *LATENCIES, "in_flight", *_TOKEN_COLUMNS)
_RATE_WINDOW_NS = 1_000_000_000
_MIN_RATE_INTERVAL_S = 0.2
"""Minimum interval over which a rate is computed, in seconds. Over a shorter interval, the rate
would be too noisy."""
_Counts = tuple[int, int, int, int, int | None, int | None]


class LiveSeries:
    """Time series of request rates, latencies, and the tokens of a language model.

    Each rate is an average over the last second of the running stage. Counters restart at 0 with
    each stage, so the series have a gap between stages.
    """

    def __init__(self) -> None:
        self.ring = RingBuffer(SERIES_CAPACITY, _COLUMNS)
        self.last_rates: dict[str, float | None] = {}
        """Rates at the last snapshot, by column."""
        self._recent_counts: deque[_Counts] = deque()

    def begin(self, stage: StageStarted, zero_ns: int) -> None:
        first_ns = stage.start_ns - round(stage.lead_in_s * 1e9)
        self._recent_counts = deque([(first_ns, 0, 0, 0, 0, 0)])
        self.ring.append((first_ns - zero_ns) / 1e9, *[None] * len(_COLUMNS))

    def add_snapshot(self, snapshot: Snapshot, zero_ns: int) -> None:
        counts: _Counts = (
            snapshot.at_ns,
            snapshot.offered,
            snapshot.sent,
            snapshot.completed,
            snapshot.good,
            snapshot.output_tokens,
        )
        while len(self._recent_counts) > 1 and snapshot.at_ns - self._recent_counts[1][0] >= _RATE_WINDOW_NS:
            self._recent_counts.popleft()
        no_rates: tuple[float | None, ...] = (None,) * len(_COUNTED_COLUMNS)
        rates = _compute_rates(self._recent_counts[0], counts) if self._recent_counts else no_rates
        self.last_rates = dict(zip(_COUNTED_COLUMNS, rates, strict=True))
        self._recent_counts.append(counts)
        latencies = (snapshot.latency_p50_ms, snapshot.latency_p95_ms, snapshot.latency_p99_ms, snapshot.lag_p99_ms)
        tokens = [getattr(snapshot, column) for column in _TOKEN_COLUMNS]
        self.ring.append((snapshot.at_ns - zero_ns) / 1e9, *rates, *latencies, snapshot.in_flight, *tokens)


def _compute_rates(previous: _Counts, current: _Counts) -> tuple[float | None, ...]:
    interval_s = (current[0] - previous[0]) / 1e9
    if interval_s < _MIN_RATE_INTERVAL_S:
        return (None,) * len(_COUNTED_COLUMNS)
    return tuple(
        None if previous_count is None or current_count is None else (current_count - previous_count) / interval_s
        for previous_count, current_count in zip(previous[1:], current[1:], strict=True)
    )


MACHINE_CAPACITY = 16_384
"""Maximum number of points per time series of machine telemetry, enough for 2.25 h at two points
per second. Above the maximum, the oldest points are dropped from the chart."""
_SAMPLE_INTERVAL_S = 0.5
_MAX_GAP_S = 2.0
_MAX_BANDS = 200
_THROTTLE_METRIC = "gpu_throttle_reasons"
_GPU_METRICS = ("gpu_utilization_percent", "gpu_memory_gib", "gpu_power_w", "gpu_sm_clock_mhz")
_HOST_METRICS = ("host_cpu_percent", "host_memory_gib")
_PROCESS_METRICS = tuple(
    f"{source}_{quantity}"
    for source in ("endpoint", "generator", "engine", "model")
    for quantity in ("cpu_cores", "memory_gib")
)
_CHARTED_METRICS = (*_GPU_METRICS, *_HOST_METRICS, *_PROCESS_METRICS, _THROTTLE_METRIC)

Line = tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64], str]
"""Label, times in seconds, and values of a time series, and the source of the values."""


class MachineSeries:
    def __init__(self) -> None:
        self._rings_by_source: dict[str, RingBuffer] = {}
        self._metrics_by_source: dict[str, tuple[str, ...]] = {}
        self._pending_sums: dict[str, tuple[float, dict[str, list[float]]]] = {}
        self._throttling_bands_by_gpu: dict[str, list[Band]] = {}

    @property
    def gpus(self) -> tuple[str, ...]:
        return tuple(sorted(source for source in self._rings_by_source if is_gpu_source(source)))

    def add_batch(self, batch: pa.RecordBatch, zero_ns: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        charted_readings = batch.filter(pc.is_in(batch["metric"], pa.array(_CHARTED_METRICS)))
        times_s = (charted_readings["at_ns"].to_numpy() - zero_ns) / 1e9
        values = charted_readings["value"].to_numpy(zero_copy_only=False)
        sources, metrics = charted_readings["source"].to_pylist(), charted_readings["metric"].to_pylist()
        for time_s, source, metric, value in zip(times_s.tolist(), sources, metrics, values.tolist(), strict=True):
            if metric == _THROTTLE_METRIC:
                self._mark_throttling(source, time_s, value)
            elif source == "host" or metric.startswith(f"{source}_") or is_gpu_source(source):
                self._add_reading(source, time_s, metric, value)

    def lines(self, view: str) -> list[Line]:
        """Return the time series of a view of the machine chart. `view` is a key of
        `get_view_titles`."""
        return [
            (text, self._rings_by_source[source].x, scale * self._rings_by_source[source].column(metric), source)
            for source, metric, text, scale in self._lines_of_view(view)
            if source in self._rings_by_source and metric in self._metrics_by_source[source]
        ]

    def read_last(self, source: str, metric: str) -> float | None:
        """Return the last value of a metric; `None` if it was not reported."""
        values = self._read_column(source, metric)
        return float(values[-1]) if values.size else None

    def read_peak(self, source: str, metric: str) -> float | None:
        """Return the largest value of a metric; `None` if it was not reported."""
        values = self._read_column(source, metric)
        return float(values.max()) if values.size else None

    def _read_column(self, source: str, metric: str) -> npt.NDArray[np.float64]:
        if source not in self._rings_by_source:
            return np.zeros(0)
        values = self._rings_by_source[source].column(metric)
        finite_values: npt.NDArray[np.float64] = values[np.isfinite(values)]
        return finite_values

    def bands(self) -> tuple[Band, ...]:
        """Return a band for each period in which a GPU was throttled."""
        return tuple(band for gpu_bands in self._throttling_bands_by_gpu.values() for band in gpu_bands)

    def _lines_of_view(self, view: str) -> Iterable[tuple[str, str, str, float]]:
        match view:
            case "cpu":
                yield "host", "host_cpu_percent", "whole machine (%)", 1.0
            case "process_cpu":
                for source, text in _PROCESS_LABELS.items():
                    yield source, f"{source}_cpu_cores", f"{text} (% of a core)", 100.0
            case "memory":
                yield "host", "host_memory_gib", "whole machine (GiB)", 1.0
                for source, text in _PROCESS_LABELS.items():
                    yield source, f"{source}_memory_gib", f"{text} (GiB)", 1.0
            case "process_memory":
                for source, text in _PROCESS_LABELS.items():
                    yield source, f"{source}_memory_gib", f"{text} RSS (GiB)", 1.0
            case _:
                for gpu in self.gpus:
                    yield gpu, view, format_gpu_source(gpu), 1.0

    def _add_reading(self, source: str, time_s: float, metric: str, value: float) -> None:
        start_s, sums = self._pending_sums.setdefault(source, (time_s, {}))
        if time_s - start_s >= _SAMPLE_INTERVAL_S:
            self._append_means(source, start_s, sums)
            start_s, sums = self._pending_sums[source] = (time_s, {})
        if value == value:
            sum_and_count = sums.setdefault(metric, [0.0, 0.0])
            sum_and_count[0] += value
            sum_and_count[1] += 1

    def _append_means(self, source: str, start_s: float, sums: dict[str, list[float]]) -> None:
        if source not in self._rings_by_source:
            metrics = (
                _GPU_METRICS
                if is_gpu_source(source)
                else tuple(metric for metric in _CHARTED_METRICS if metric.startswith(f"{source}_"))
            )
            self._metrics_by_source[source], self._rings_by_source[source] = (
                metrics,
                RingBuffer(MACHINE_CAPACITY, metrics),
            )
        means = {metric: total / count for metric, (total, count) in sums.items()}
        self._rings_by_source[source].append(
            start_s + _SAMPLE_INTERVAL_S / 2, *[means.get(metric) for metric in self._metrics_by_source[source]]
        )

    def _mark_throttling(self, source: str, time_s: float, reason_bits: float) -> None:
        reason_names = list_throttle_reasons(reason_bits) if reason_bits == reason_bits else ()
        if not reason_names or not is_gpu_source(source):
            return
        text = f"{format_gpu_source(source)}: {', '.join(reason_names)}"
        bands = self._throttling_bands_by_gpu.setdefault(source, [])
        if bands and bands[-1].text == text and time_s - bands[-1].end_s < _MAX_GAP_S:
            bands[-1] = Band(bands[-1].start_s, time_s, text, "warn")
        elif len(bands) < _MAX_BANDS:
            bands.append(Band(time_s, time_s, text, "warn"))


_PROCESS_LABELS = {
    "endpoint": "endpoint",
    "generator": "load generator",
    "model": "model",
    "engine": "Sizewise",
}


def get_view_titles(*, has_gpus: bool) -> dict[str, str]:
    """Return the views of the machine chart as a mapping of keys to titles. The first view is the
    default. The CPU and the memory of processes have views of their own, because the scales of
    those of the machine are others."""
    gpu_views = {
        "gpu_utilization_percent": "GPU utilization (%)",
        "gpu_memory_gib": "GPU memory (GiB)",
        "gpu_power_w": "GPU power (W)",
        "gpu_sm_clock_mhz": "GPU clock (MHz)",
    }
    return {
        **(gpu_views if has_gpus else {}),
        "cpu": "CPU utilization (%)",
        "process_cpu": "CPU of processes (% of a core)",
        "memory": "Memory (GiB)",
        "process_memory": "Memory of processes (GiB)",
    }
