"""Request rows as what charts draw: rates and latencies over time, percentile spectra, errors."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.analysis.estimates import share
from app.analysis.rows import NOT_STARTED, StageRows, read_rows
from app.analysis.sample_size import needed_samples
from app.analysis.spans import is_inside, span_ms
from app.records.result import Result, Stage
from app.reporting.quantities import quantity
from reports import model

MAX_POINTS = 300
_BIN_WIDTHS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0)
_COLUMNS = {
    **dict.fromkeys(("intended_s", "sent_s", "end_s", "latency_ms", "service_ms", "ttft_ms"), "float64"),
    "error": "object",
    **dict.fromkeys(("is_ok", "is_good"), "bool"),
}


def request_times(rows: pd.DataFrame | pa.Table, result: Result) -> pd.DataFrame:
    """One row an arrival, times in seconds from the start of the run, NaN where there is none. `error` is None for a
    success; `is_good`: answered inside every limit of the SLO. An intended start that is not known is the send."""
    if len(rows) == 0:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()})
    read = read_rows(rows)
    start_ns = result.clock.monotonic_start_ns
    intended_s = (read.intended_ns - start_ns) / 1e9
    sent_s = np.where(read.was_sent, (read.sent_ns - start_ns) / 1e9, np.nan)
    end_s = np.where(read.is_success | read.is_failed, (read.end_ns - start_ns) / 1e9, np.nan)
    return pd.DataFrame(
        {
            "intended_s": intended_s,
            "sent_s": sent_s,
            "end_s": end_s,
            "latency_ms": np.where(read.has_intended, (end_s - intended_s) * 1e3, np.nan),
            "service_ms": (end_s - sent_s) * 1e3,
            "ttft_ms": _or_nan(span_ms(read, "ttft_ms"), len(intended_s)),
            "error": _error_classes(read),
            "is_ok": read.is_success,
            "is_good": is_inside(read, [one.objective for one in result.slo]),
        }
    )


def load_series(requests: pd.DataFrame, times: str = "latency_ms") -> model.LoadSeries | None:
    """None when nothing was asked. At most MAX_POINTS bins; `times` is the column whose percentiles are shown."""
    if requests.empty:
        return None
    first = math.floor(requests["intended_s"].min())
    last = float(requests[["intended_s", "end_s"]].max().max())
    width = next((one for one in _BIN_WIDTHS_S if (last - first) / one < MAX_POINTS - 1), _BIN_WIDTHS_S[-1])
    edges = first + width * np.arange(math.floor((last - first) / width) + 2)[: MAX_POINTS + 1]

    def per_s(times: pd.Series) -> tuple[float, ...]:
        return _rounded(np.histogram(times.dropna(), edges)[0] / width)

    answered = requests[requests["is_ok"]]
    p50, p95 = (_binned_percentile(answered, times, edges, q) for q in (0.50, 0.95))
    return model.LoadSeries(
        bin_s=width,
        at_s=_rounded((edges[:-1] + edges[1:]) / 2),
        offered_per_s=per_s(requests["intended_s"]),
        sent_per_s=per_s(requests["sent_s"]),
        completed_per_s=per_s(answered["end_s"]),
        good_per_s=per_s(requests.loc[requests["is_good"], "end_s"]),
        p50_ms=p50,
        p95_ms=p95,
        in_flight=_in_flight(requests, edges[1:]),
        ttft_p95_ms=_binned_percentile(answered, "ttft_ms", edges, 0.95) if answered["ttft_ms"].notna().any() else (),
    )


def spectra(requests: pd.DataFrame, stages: tuple[Stage, ...], start_ns: int) -> tuple[model.Spectrum, ...]:
    """Latency, service time and TTFT of the stages' successful requests, pooled."""
    inside = pd.Series(False, index=requests.index)
    for stage in stages:
        start_s, end_s = ((edge - start_ns) / 1e9 for edge in (stage.window.start_ns, stage.window.end_ns))
        inside |= (requests["intended_s"] >= start_s) & (requests["intended_s"] < end_s)
    pooled = requests[inside & requests["is_ok"]]
    labels = {
        "latency_ms": "latency, from the intended start",
        "service_ms": "service time, from the send",
        "ttft_ms": "TTFT, from the intended start",
    }
    known = {label: pooled[name].dropna() for name, label in labels.items()}
    return tuple(_spectrum(label, values) for label, values in known.items() if not values.empty)


def error_rows(requests: pd.DataFrame) -> tuple[model.ErrorRow, ...]:
    """By class, most frequent first: all requests of the run, failed probes included."""
    classes = requests["error"].dropna()
    rows = []
    for error, count in sorted(classes.value_counts().items(), key=lambda pair: (-pair[1], str(pair[0]))):
        at_s = requests.loc[classes.index[classes == error], "intended_s"]
        rows.append(
            model.ErrorRow(
                error=str(error),
                count=int(count),
                share=quantity(share(int(count), len(requests)), "share"),
                first_s=float(at_s.min()),
                last_s=float(at_s.max()),
            )
        )
    return tuple(rows)


def _or_nan(values: npt.NDArray[np.float64] | None, size: int) -> npt.NDArray[np.float64]:
    return np.full(size, np.nan) if values is None else values


def _error_classes(read: StageRows) -> npt.NDArray[np.object_]:
    classes = read.error.copy()
    classes[~read.is_failed] = None
    classes[~read.was_started] = NOT_STARTED
    return classes


def _binned_percentile(
    answered: pd.DataFrame, times: str, edges: npt.NDArray[np.float64], q: float
) -> tuple[float | None, ...]:
    bins = np.searchsorted(edges, answered["intended_s"], side="right") - 1
    grouped = answered[times].groupby(bins).quantile(q, interpolation="higher")
    return tuple(_or_none(grouped.get(one)) for one in range(len(edges) - 1))


def _in_flight(requests: pd.DataFrame, at_s: npt.NDArray[np.float64]) -> tuple[int, ...]:
    """Sent and not yet ended at each time."""
    sent = np.sort(requests["sent_s"].dropna().to_numpy())
    ended = np.sort(requests.loc[requests["sent_s"].notna(), "end_s"].dropna().to_numpy())
    open_ones = np.searchsorted(sent, at_s, side="right") - np.searchsorted(ended, at_s, side="right")
    return tuple(int(one) for one in open_ones)


def _spectrum(label: str, values: pd.Series) -> model.Spectrum:
    """A twelfth of a decade apart towards the slow end, as far as the number of values allows a percentile at all."""
    ordered = np.sort(values.to_numpy())
    tail = 1 - 0.5 * 10 ** (-np.arange(0, 61) / 12)
    shares = [one for one in (*np.linspace(0.05, 0.45, 9), *tail) if needed_samples(one) <= len(ordered)]
    ranks = [math.ceil(one * len(ordered) - 1e-9) - 1 for one in shares]
    return model.Spectrum(
        label=label, n=len(ordered), share=_rounded(np.array(shares), 6), ms=_rounded(ordered[ranks], 4)
    )


def _or_none(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(float(value), 4)


def _rounded(values: npt.NDArray[np.float64], decimals: int = 3) -> tuple[float, ...]:
    return tuple(float(one) for one in np.round(values, decimals))
