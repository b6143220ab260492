"""NVML's field values: several readings in one call, each with a return code and a moment of its own."""

from __future__ import annotations

from typing import Any

import pynvml

from app.telemetry.gpu_asking import ASK_AGAIN_NS, GONE, NOT_OFFERED, NvmlQuery, Readings

_TX, _RX = "gpu_pcie_tx_mb_per_s", "gpu_pcie_rx_mb_per_s"

# the binding has no names for some of them in its older versions
FIELDS: dict[str, tuple[int, float]] = {
    "gpu_power_w": (186, 1e-3),
    "gpu_power_average_w": (185, 1e-3),
    "gpu_energy_j": (83, 1e-3),
    "gpu_memory_temperature_c": (82, 1.0),
    _TX: (197, 1.0),
    _RX: (198, 1.0),
}
"""By metric: NVML's number of the field, and what one of its units is in units of the metric; bytes for PCIe."""

_MEMBERS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
}
_UNKNOWN_FIELD = (*NOT_OFFERED, pynvml.NVMLError_InvalidArgument)
_WRAP = 2**32


class ByteRate:
    """A counter of bytes as MB/s between two of its values, by the driver's clock."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None
        self._mb_per_s: float | None = None

    def follow(self, counted: float, at_us: int, wraps: bool) -> float | None:
        """The rate since the counter was last renewed: None at first, and where its clock or itself went back."""
        if self._last is None or at_us != self._last[1]:
            self._mb_per_s = None if self._last is None else self._rate(counted, at_us, wraps)
            self._last = counted, at_us
        return self._mb_per_s

    def _rate(self, counted: float, at_us: int, wraps: bool) -> float | None:
        assert self._last is not None
        passed, elapsed_us = counted - self._last[0], at_us - self._last[1]
        if passed < 0 and wraps:
            passed += _WRAP
        return passed / elapsed_us if passed >= 0 and elapsed_us > 0 else None  # bytes/µs are MB/s


class FieldReader:
    """The fields of one GPU. Those it does not offer are left out of the call, and asked for again once a minute.

    The call's structures are built once: building them anew would cost more than the call does.
    """

    def __init__(self, handle: Any, query: NvmlQuery) -> None:
        self._handle = handle
        self._query = query
        self._traffic = {_TX: ByteRate(), _RX: ByteRate()}
        self._ask_all_ns: int | None = None
        self._prepare(())

    def read(self, at_ns: int) -> Readings:
        readings: Readings = dict.fromkeys(FIELDS)
        if self._query.is_lost:
            return readings
        if self._ask_all_ns is None or self._ask_all_ns <= at_ns:
            self._ask_all_ns = at_ns + ASK_AGAIN_NS
            if len(self._metrics) < len(FIELDS):
                self._prepare(tuple(FIELDS))
        try:
            self._read_into(readings, at_ns)
        except NOT_OFFERED:
            self._prepare(())
        except GONE:
            self._query.is_lost = True
        except pynvml.NVMLError:
            pass  # a hiccup of the driver costs these readings alone
        return readings

    def _read_into(self, readings: Readings, at_ns: int) -> None:
        if not self._metrics:
            return
        code = pynvml.nvmlLib.nvmlDeviceGetFieldValues(self._handle, len(self._metrics), self._values)
        if code != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(code)
        offered = [metric for metric in self._metrics if self._take(metric, readings, at_ns)]
        if len(offered) < len(self._metrics):
            self._prepare(tuple(offered))

    def _prepare(self, metrics: tuple[str, ...]) -> None:
        self._metrics = metrics
        self._values = (pynvml.c_nvmlFieldValue_t * len(metrics))()
        self._views = {}
        for metric, value in zip(metrics, self._values, strict=True):
            value.fieldId = FIELDS[metric][0]
            self._views[metric] = value, value.value

    def _take(self, metric: str, readings: Readings, at_ns: int) -> bool:
        """Whether the card offers it. A hiccup is no refusal."""
        value, union = self._views[metric]
        if value.nvmlReturn != pynvml.NVML_SUCCESS:
            error = pynvml.NVMLError(value.nvmlReturn)
            if isinstance(error, GONE):
                raise error
            return not isinstance(error, _UNKNOWN_FIELD)
        kind = value.valueType
        number = getattr(union, _MEMBERS.get(kind, "ullVal"))
        traffic = self._traffic.get(metric)
        if traffic is None:
            readings[metric] = number * FIELDS[metric][1]
        else:
            wraps = kind == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
            readings[metric] = traffic.follow(number, value.timestamp or at_ns // 1_000, wraps)
        return True
