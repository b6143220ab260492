"""How numbers look: three significant digits, commas between thousands, units, intervals. Pure functions.

Texts from outside, without the characters that steer terminals and break renderers.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeVar

import msgspec

from reports.model import CheckRow, Limit, Quantity, StageRow

THIN = "\u202f"
NOT_AVAILABLE = "n/a"
_MAX_DECIMALS = 6
_MONEY_DECIMALS = 9
_SIGNIFICANT = 3


def number(value: float) -> str:
    """Three significant digits: 238, 12.3, 0.0412, 12 300; what is too small for that says so."""
    if 0 < abs(value) < 10**-_MAX_DECIMALS:
        return f"{'-' if value < 0 else ''}<{10**-_MAX_DECIMALS:.{_MAX_DECIMALS}f}"
    return _fixed(value, _decimals(value))


def plain(value: float) -> str:
    """A number somebody chose, without measured zeros: 50, 0.1, 2.5."""
    text = f"{value:,.{_MAX_DECIMALS}f}".rstrip("0").rstrip(".")
    return text if text not in ("", "-0") else "0"


def count(value: int) -> str:
    return f"{value:,}"


def counted(number_of: int, noun: str) -> str:
    """As in `1 stage` and `1,200 requests`."""
    return f"{count(number_of)} {noun}{'' if number_of == 1 else 's'}"


def money(value: float) -> str:
    """US dollars: whole above 100, cents down to 1, three significant digits below."""
    if abs(value) >= 100:
        return _fixed(value, 0)
    return _fixed(value, 2 if abs(value) >= 1 else max(2, _decimals(value, most=_MONEY_DECIMALS)))


def percent(share: float) -> str:
    return f"{number(share * 100)}{THIN}%"


def chance(value: float) -> str:
    """A probability to a tenth of a percent, never rounded to certainty or to none."""
    if 0.9995 <= value < 1 or 0 < value < 0.0005:
        return f"{'over 99.9' if value > 0.5 else 'under 0.1'}{THIN}%"
    return f"{100 * value:.1f}".removesuffix(".0") + f"{THIN}%"


def p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def size(value_bytes: int) -> str:
    """As in 385 kB, 1.47 MB, 12.3 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value_bytes >= scale:
            return with_unit(number(value_bytes / scale), unit)
    return with_unit(count(value_bytes), "bytes")


def seconds(value: float) -> str:
    """A duration: 340 ms, 12.3 s, 2 min 5 s."""
    if value < 1:
        return f"{number(value * 1000)}{THIN}ms"
    if value < 60:
        return f"{number(value)}{THIN}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}{THIN}min {rest}{THIN}s"


def with_unit(text: str, unit: str) -> str:
    """Rates stick to their number as in 238/s; other units stand behind a thin space."""
    unit = "/s" if unit == "1/s" else unit
    return text + unit if unit.startswith("/") or not unit else f"{text}{THIN}{unit}"


def quantity(one: Quantity) -> str:
    """The value with its interval and unit, as in 238 (231–244)/s; n/a without a value."""
    return with_unit(f"{value(one)} ({low_high})", shown_unit(one)) if (low_high := interval(one)) else value_unit(one)


def value_unit(one: Quantity) -> str:
    return NOT_AVAILABLE if one.value is None else with_unit(value(one), shown_unit(one))


def value(one: Quantity) -> str:
    """The number alone, to the digits its interval deserves."""
    return NOT_AVAILABLE if one.value is None else _digits(one, one.value)


def interval(one: Quantity) -> str | None:
    """The 95 % interval in the digits of the value, as in 231–244; None when there is none."""
    if one.value is None or one.ci95 is None:
        return None
    between = " to " if one.ci95[0] < 0 else "–"  # a dash beside a minus reads as another minus
    return f"{_digits(one, one.ci95[0])}{between}{_digits(one, one.ci95[1])}"


def shown_unit(one: Quantity) -> str:
    return {"share": "%", "1/s": "/s"}.get(one.unit, one.unit)


def limit(one: Limit) -> str:
    return f"{one.comparator} {_chosen(one.value, one.unit)}"


_METRICS = {
    "latency_ms": "latency",
    "service_ms": "service time",
    "first_byte_ms": "time to the first byte",
    "ttft_ms": "TTFT",
    "ttft_service_ms": "TTFT from the send",
    "ttfo_ms": "TTFO",
    "tpot_ms": "TPOT",
    "itl_ms": "ITL",
    "icl_ms": "ICL",
}


def metric(name: str) -> str:
    """A time's name as people say it; a name of its own without the unit."""
    return _METRICS.get(name, name.removesuffix("_ms"))


StageState = Literal["INVALID", "not judged", "held", "failed"]


def stage_state(row: StageRow) -> StageState:
    """What became of a stage, in a word or two."""
    if row.trust == "INVALID":
        return "INVALID"
    return "not judged" if row.held is None else "held" if row.held else "failed"


_COUNTED = ("answers", "different")


def check_value(row: CheckRow) -> str:
    return _measured_or_text(row.value, row.unit)


def check_limit(row: CheckRow) -> str:
    if row.limit is None:
        return "–"
    if isinstance(row.limit, str):
        return row.limit
    return _chosen(row.limit, row.unit or "")


def _measured_or_text(value: float | str | None, unit: str | None) -> str:
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, str):
        return value
    if unit == "share":
        return percent(value)
    return with_unit(count(round(value)) if unit in _COUNTED else number(value), unit or "")


def _chosen(value: float, unit: str) -> str:
    return with_unit(plain(value * 100), "%") if unit == "share" else with_unit(plain(value), unit)


def _digits(one: Quantity, part: float) -> str:
    if part == 0:
        return "0"
    if one.unit.startswith("USD"):
        return money(part)
    if one.unit in ("requests", "clients"):
        return count(round(part))
    if one.unit == "share" and part == 1:
        return "100"
    scale = 100 if one.unit == "share" else 1
    # an interval around nothing still has digits of its own: 0.00 (0.00–0.12) %
    leading = one.value or (one.ci95[1] if one.ci95 else 0.0)
    decimals = _decimals(leading * scale)
    return _fixed(part * scale, max(decimals, _decimals_below_all(one)) if one.unit == "share" else decimals)


def _decimals_below_all(one: Quantity) -> int:
    """Of a share close to all, what is missing counts: 99.96 %, not 100 %."""
    value = one.value or 0.0
    missing = 1 - (one.ci95[0] if value == 1 and one.ci95 else value)
    return max(0, _decimals(100 * missing) - 2) if 0 < missing < 0.1 else 0


def _decimals(value: float, most: int = _MAX_DECIMALS) -> int:
    if value == 0 or not math.isfinite(value):
        return 0
    rounded = float(f"{value:.{_SIGNIFICANT - 1}e}")
    return min(most, _SIGNIFICANT - 1 - math.floor(math.log10(abs(rounded))))


def _fixed(value: float, decimals: int) -> str:
    """Rounded to `decimals`, which may be negative; never -0."""
    if not math.isfinite(value):
        return NOT_AVAILABLE
    rounded = round(value, decimals) + 0.0
    return f"{rounded:,.{max(0, decimals)}f}"


_Record = TypeVar("_Record", bound=msgspec.Struct)
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def printable(record: _Record) -> _Record:
    """The record with every control character of its texts replaced; a NUL alone would abort the chart renderer."""
    return msgspec.convert(_cleaned(msgspec.to_builtins(record)), type=type(record))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list | tuple) else value
