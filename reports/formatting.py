"""Format numbers with three significant digits, thousands separators, units and intervals.

All functions are pure. The module also removes characters that control terminals or break renderers
from strings of external origin, and shortens these strings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from reports.quantity import CheckRow, Limit, Quantity
from reports.shortening import shorten_lines

THIN_SPACE = "\u202f"
LIMIT_SIGN = "≤"
"""Sign before a value that a number does not exceed with a probability of 90 %."""
NOT_AVAILABLE = "n/a"
_MAX_DECIMALS = 6
_MONEY_DECIMALS = 9
_SIGNIFICANT_DIGITS = 3


def format_number(value: float) -> str:
    """Format a number with three significant digits: 238, 12.3, 0.0412, 12,300. A number between 0
    and 0.000001 is shown as <0.000001."""
    if 0 < abs(value) < 10**-_MAX_DECIMALS:
        return f"{'-' if value < 0 else ''}<{10**-_MAX_DECIMALS:.{_MAX_DECIMALS}f}"
    return _format_fixed(value, _count_decimals(value))


def format_plain(value: float) -> str:
    """Format a number from user input, without trailing zeros: 50, 0.1, 2.5."""
    text = f"{value:,.{_MAX_DECIMALS}f}".rstrip("0").rstrip(".")
    return text if text not in ("", "-0") else "0"


def format_count(value: int) -> str:
    return f"{value:,}"


def keep_limit_together(label: str) -> str:
    """Replace the spaces after the comparison sign of an objective by thin spaces, which prevent
    line breaks."""
    return re.sub(" (?=[^<>]*$)", THIN_SPACE, label)


def format_count_noun(count: int, noun: str) -> str:
    """Format a count with its noun: `1 stage`, `1,200 requests`."""
    return f"{format_count(count)} {noun}{'' if count == 1 else 's'}"


def format_money(usd: float) -> str:
    """Format US dollars: no decimals from 100 upward, cents from 1 upward, three significant digits
    below 1."""
    if abs(usd) >= 100:
        return _format_fixed(usd, 0)
    return _format_fixed(usd, 2 if abs(usd) >= 1 else max(2, _count_decimals(usd, max_decimals=_MONEY_DECIMALS)))


def format_percent(share: float) -> str:
    return f"{format_number(share * 100)}{THIN_SPACE}%"


def format_probability(value: float) -> str:
    """Format a probability in percent with at most one decimal.

    A probability is never shown as 0 % or 100 %, because it is the share of a finite number of
    simulated cases.
    """
    if value >= 0.9995 or value < 0.0005:
        return f"{'over 99.9' if value > 0.5 else 'under 0.1'}{THIN_SPACE}%"
    return f"{100 * value:.1f}".removesuffix(".0") + f"{THIN_SPACE}%"


def format_p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def format_size(size_bytes: int) -> str:
    """Format a number of bytes: 385 kB, 1.47 MB, 12.3 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return with_unit(format_number(size_bytes / factor), unit)
    return with_unit(format_count(size_bytes), "bytes")


def format_duration(duration_s: float) -> str:
    """Format a duration in seconds: 340 ms, 12.3 s, 2 min 5 s."""
    if duration_s < 1:
        return f"{format_number(duration_s * 1000)}{THIN_SPACE}ms"
    if duration_s < 60:
        return f"{format_number(duration_s)}{THIN_SPACE}s"
    minutes, remainder_s = divmod(round(duration_s), 60)
    return f"{minutes}{THIN_SPACE}min {remainder_s}{THIN_SPACE}s"


def with_unit(text: str, unit: str) -> str:
    """Append a unit to a formatted number after a thin space, as in 238 req/s. A dollar sign is
    placed before the number, as in $310/month."""
    unit_text = format_unit(unit)
    if unit_text.startswith("$"):
        return f"-${text[1:]}{unit_text[1:]}" if text.startswith("-") else f"${text}{unit_text[1:]}"
    return text + unit_text if unit_text.startswith("/") or not unit_text else f"{text}{THIN_SPACE}{unit_text}"


def format_quantity(quantity: Quantity) -> str:
    """Format a value with its confidence interval and unit, as in 238 (231–244) req/s or $310/month
    (290–330); n/a without a value."""
    interval_text = format_interval(quantity)
    if interval_text is None:
        return format_value_unit(quantity)
    if quantity.unit.startswith("USD"):
        return f"{format_value_unit(quantity)} ({interval_text})"
    return with_unit(f"{format_value(quantity)} ({interval_text})", display_unit(quantity))


def format_value_unit(quantity: Quantity) -> str:
    """Format a value with its unit. A percentile of too few samples shows the sample size: 54.4 ms
    (n = 57)."""
    value = quantity.undersampled if quantity.value is None else quantity.value
    return (
        NOT_AVAILABLE
        if value is None
        else with_unit(_format_limited(quantity, value), display_unit(quantity)) + _format_sample_note(quantity)
    )


def format_inference_rate(quantity: Quantity) -> str:
    """Format the throughput of a local model: 1/s as inferences/s, and tokens per second as they
    are."""
    if quantity.value is not None and quantity.unit != "1/s":
        return format_value_unit(quantity)
    return NOT_AVAILABLE if quantity.value is None else with_unit(format_value(quantity), "inferences/s")


def format_value(quantity: Quantity) -> str:
    """Format a value without its unit, with as many digits as its confidence interval justifies."""
    value = quantity.undersampled if quantity.value is None else quantity.value
    return NOT_AVAILABLE if value is None else _format_limited(quantity, value) + _format_sample_note(quantity)


def _format_limited(quantity: Quantity, value: float) -> str:
    digits = _format_digits(quantity, value)
    return f"{LIMIT_SIGN}{THIN_SPACE}{digits}" if quantity.is_limit else digits


def _format_sample_note(quantity: Quantity) -> str:
    return f" (n = {format_count(quantity.n)})" if quantity.is_undersampled and quantity.n is not None else ""


def format_interval(quantity: Quantity) -> str | None:
    """Format the 95 % confidence interval of a quantity with the decimals of its value, as in
    231–244; `None` without an interval."""
    if quantity.value is None or quantity.ci95 is None:
        return None
    separator = (
        " to " if quantity.ci95[0] < 0 else "–"
    )  # a dash next to a minus sign would look like a second minus sign
    return f"{_format_digits(quantity, quantity.ci95[0])}{separator}{_format_digits(quantity, quantity.ci95[1])}"


def display_unit(quantity: Quantity) -> str:
    return format_unit(quantity.unit)


_UNIT_TEXTS = {"share": "%", "1/s": "req/s", "tokens/s": "tok/s", "kg CO2e/month": "kg CO₂e/month"}


def format_unit(unit: str) -> str:
    """Return the display text of a unit: `req/s` for `1/s`, `$/month` for `USD/month`."""
    return f"${unit.removeprefix('USD')}" if unit.startswith("USD") else _UNIT_TEXTS.get(unit, unit)


def format_limit(limit: Limit) -> str:
    return f"{limit.comparator} {_format_limit_value(limit.value, limit.unit)}"


_METRIC_NAMES = {
    "latency_ms": "latency",
    "service_ms": "service time",
    "first_byte_ms": "time to first byte",
    "ttft_ms": "TTFT",
    "ttft_service_ms": "TTFT from send",
    "ttfo_ms": "TTFO",
    "tpot_ms": "TPOT",
    "itl_ms": "ITL",
    "icl_ms": "ICL",
    "first_message_ms": "time to first message",
    "message_gap_ms": "gap between messages",
}


def format_metric_label(name: str, aggregate: str = "") -> str:
    """Return the display name of a latency metric, such as `p99.9 latency`. An unknown name is
    returned without the suffix `_ms`."""
    metric_text = _METRIC_NAMES.get(name, name.removesuffix("_ms"))
    return f"{aggregate.replace('_', '.')} {metric_text}" if aggregate else metric_text


_STATE_TEXTS = {"passed": "SLO met", "failed": "SLO missed", "fallback": "fallback nodes"}


def display_state(state: str) -> str:
    """Return the display text of a state of a stage or variant; an unknown state is returned
    unchanged."""
    return _STATE_TEXTS.get(state, state)


def format_stage_name(name: str, repeat: int) -> str:
    """Format the name of a stage or of a test of a language model, with its number among the repeats
    from the second on, such as `steady #2`."""
    return f"{name} #{repeat}" if repeat > 1 else name


_COUNT_UNITS = ("responses", "different", "windows", "repetitions", "calls", "prompts")


def format_check_value(row: CheckRow) -> str:
    return _format_check_number(row.value, row.unit)


def format_check(row: CheckRow, write_status: Callable[[str], str] = str) -> str:
    """Format a check with its verdict, value, limit and hint, as in
    `WARN step duration: 3.00 s, limit 10 s. …`."""
    return f"{write_status(row.verdict)} {format_check_finding(row)}"


def format_check_finding(row: CheckRow) -> str:
    """Format a check without its verdict."""
    limit_text = "" if row.limit is None else f", limit {format_check_limit(row)}"
    hint_text = f" {row.hint}" if row.hint else ""
    return f"{row.name}: {format_check_value(row)}{limit_text}.{hint_text}"


_LIMIT_DIGITS = 4
"""Number of significant digits of a limit of a check, which may have been measured."""


def format_check_limit(row: CheckRow) -> str:
    if row.limit is None:
        return "–"
    if isinstance(row.limit, str):
        return row.limit
    return _format_limit_value(float(f"{row.limit:.{_LIMIT_DIGITS}g}"), row.unit or "")


def _format_check_number(value: float | str | None, unit: str | None) -> str:
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, str):
        return value
    if unit == "share":
        return format_percent(value)
    text = format_count(round(value)) if unit in _COUNT_UNITS else format_number(value)
    return with_unit(text, _find_noun(value, unit or ""))


def _format_limit_value(value: float, unit: str) -> str:
    if unit == "share":
        return with_unit(format_plain(value * 100), "%")
    return with_unit(format_plain(value), _find_noun(value, unit))


def _find_noun(value: float, unit: str) -> str:
    """Return a unit of counts in the singular for 1, and any other unit as it is."""
    return unit.removesuffix("s") if value == 1 and unit in _COUNT_UNITS else unit


def _format_digits(quantity: Quantity, value: float) -> str:
    if value == 0:
        return "0"
    if quantity.unit.startswith("USD"):
        return format_money(value)
    if quantity.unit in ("requests", "clients"):
        return format_count(round(value))
    if quantity.unit == "share" and value == 1:
        return "100"
    scale = 100 if quantity.unit == "share" else 1
    # An interval around zero takes the digits of its upper end: 0.00 (0.00–0.12) %
    leading_value = (value if quantity.value is None else quantity.value) or (
        quantity.ci95[1] if quantity.ci95 else 0.0
    )
    decimals = _count_decimals(leading_value * scale)
    return _format_fixed(
        value * scale, max(decimals, _count_decimals_near_one(quantity)) if quantity.unit == "share" else decimals
    )


def _count_decimals_near_one(share: Quantity) -> int:
    """Return the number of decimals needed to distinguish a share from 1, so that 99.96 % is not
    shown as 100 %."""
    value = share.value or share.undersampled or 0.0
    distance_to_one = 1 - (share.ci95[0] if value == 1 and share.ci95 else value)
    return max(0, _count_decimals(100 * distance_to_one) - 2) if 0 < distance_to_one < 0.1 else 0


def _count_decimals(value: float, max_decimals: int = _MAX_DECIMALS) -> int:
    if value == 0 or not math.isfinite(value):
        return 0
    rounded_value = float(f"{value:.{_SIGNIFICANT_DIGITS - 1}e}")
    return min(max_decimals, _SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(rounded_value))))


def _format_fixed(value: float, decimals: int) -> str:
    """Round a number to `decimals`, which may be negative, and format it; -0 becomes 0."""
    if not math.isfinite(value):
        return NOT_AVAILABLE
    rounded_value = round(value, decimals) + 0.0
    return f"{rounded_value:,.{max(0, decimals)}f}"


_Record = TypeVar("_Record", bound=msgspec.Struct)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tab and newline."""


_WHOLE_FIELDS = frozenset(("result_json", "spec_text", "contents"))
"""Fields with a whole document: the result, the profile to measure again, and a linked file."""


def sanitize(record: _Record) -> _Record:
    """Return the record with the control characters in its strings replaced, because a single NUL
    would abort the chart renderer, and with the long lines of its strings shortened, except in whole
    documents."""
    return msgspec.convert(_sanitize_strings(msgspec.to_builtins(record)), type=type(record))


def _sanitize_strings(value: Any, *, is_whole: bool = False) -> Any:
    if isinstance(value, str):
        text = _CONTROL_CHARACTERS.sub("\ufffd", value)
        return text if is_whole else shorten_lines(text)
    if isinstance(value, dict):
        return {name: _sanitize_strings(item, is_whole=name in _WHOLE_FIELDS) for name, item in value.items()}
    return [_sanitize_strings(item) for item in value] if isinstance(value, list | tuple) else value
