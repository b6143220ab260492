"""Queries a driver one call at a time, and remembers which calls it supports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

RETRY_NS = 60_000_000_000

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
    """A query of one or more metrics, in the order of the call's values. `calls` lists the newest call first; the first
    supported one is used."""

    metrics: tuple[str, ...]
    calls: tuple[Callable[[Any], tuple[float, ...]], ...]


class NvmlQueryRunner:
    """Runs queries for one GPU. A lost GPU is not queried again, and all its readings are None.

    Threads may share an instance if each has its own questions.
    """

    def __init__(self) -> None:
        self.is_lost = False
        self._retry_at_ns: dict[MetricQuery, int] = {}
        self._call_indices: dict[MetricQuery, int] = {}

    def run(self, question: MetricQuery, handle: Any, at_ns: int) -> Readings:
        """Run a query. Values are None if the card does not support it; it is then retried once a minute."""
        if not self.is_lost and at_ns >= self._retry_at_ns.get(question, at_ns):
            for index in range(self._call_indices.get(question, 0), len(question.calls)):
                try:
                    values = question.calls[index](handle)
                except UNSUPPORTED_ERRORS:
                    continue
                except LOST_ERRORS:
                    self.is_lost = True
                except pynvml.NVMLError:
                    pass  # a transient driver error only costs this reading
                else:
                    self._call_indices[question] = index
                    return dict(zip(question.metrics, values, strict=True))
                break
            else:
                self._call_indices.pop(question, None)
                self._retry_at_ns[question] = at_ns + RETRY_NS
        return dict.fromkeys(question.metrics)
