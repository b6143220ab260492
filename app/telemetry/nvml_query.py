"""Query the NVIDIA driver with individual calls, and cache which calls the driver supports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

RETRY_INTERVAL_NS = 60_000_000_000

Readings = dict[str, float | None]

UNSUPPORTED_ERRORS = (
    pynvml.NVMLError_NotSupported,
    pynvml.NVMLError_NoPermission,
    pynvml.NVMLError_FunctionNotFound,
    pynvml.NVMLError_ArgumentVersionMismatch,
    AttributeError,  # the binding is older than the call
)
LOST_ERRORS = (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_ResetRequired)


@dataclass(frozen=True)
class MetricQuery:
    """A query of one or more metrics.

    `calls` are alternative NVML calls, newest first. Each call returns the values of `metrics` in
    order. The first call that the driver supports is used."""

    metrics: tuple[str, ...]
    calls: tuple[Callable[[Any], tuple[float, ...]], ...]


class NvmlQueryRunner:
    """Runner of metric queries for one GPU. A lost GPU is not queried again, and all its metrics
    are None.

    Several threads may use one runner if they run different queries."""

    def __init__(self) -> None:
        self.is_lost = False
        self._retry_at_ns_by_query: dict[MetricQuery, int] = {}
        self._call_index_by_query: dict[MetricQuery, int] = {}

    def run(self, query: MetricQuery, handle: Any, at_ns: int) -> Readings:
        """Run a query and return its values by metric. If the GPU does not support the query, the
        values are None and the query is retried once per minute."""
        if not self.is_lost and at_ns >= self._retry_at_ns_by_query.get(query, at_ns):
            for index in range(self._call_index_by_query.get(query, 0), len(query.calls)):
                try:
                    values = query.calls[index](handle)
                except UNSUPPORTED_ERRORS:
                    continue
                except LOST_ERRORS:
                    self.is_lost = True
                except pynvml.NVMLError:
                    pass  # after a transient driver error, only this reading is missing
                else:
                    self._call_index_by_query[query] = index
                    return dict(zip(query.metrics, values, strict=True))
                break
            else:
                self._call_index_by_query.pop(query, None)
                self._retry_at_ns_by_query[query] = at_ns + RETRY_INTERVAL_NS
        return dict.fromkeys(query.metrics)
