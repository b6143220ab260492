"""Parse and format values with units in profile notation: `30s`, `200/s`, `0.1%`, `4000 USD/month`,
`20%/year`.

Every `parse_…` function raises BadValueError for an invalid value. Every `format_…` function
returns text from which the same number can be parsed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from app.profiles.pricing.currencies import find_usd_rate, replace_currency_symbol
from app.profiles.problems import BadValueError, did_you_mean

_DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE_UNITS = {"/s": 1.0, "/min": 60.0, "/h": 3600.0, "/day": 86400.0}
_SIZE_UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_BANDWIDTH_UNITS = {
    **{f"{unit}/s": size for unit, size in _SIZE_UNITS.items()},
    **{"Mbit/s": 1e6 / 8, "Gbit/s": 1e9 / 8},
}
_QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*)", re.ASCII)
_REDUNDANCY = re.compile(r"n(?:\+(\d{1,3}))?", re.IGNORECASE)
_MONEY = re.compile(r"[^A-Za-z/]*(?:[eE][-+]?\d+\s*)?([A-Za-z]+)(?:/.*)?", re.ASCII)
_SECONDS_PER_DAY = 86400.0


def parse_duration_s(value: object) -> float:
    number, unit = _parse_number_and_unit(value, _DURATION_UNITS, "a duration", "30s, 500ms or 10m")
    return _check_not_negative(number * _DURATION_UNITS[unit], value)


def format_duration(duration_s: float) -> str:
    for unit, scale in reversed(_DURATION_UNITS.items()):
        text = f"{duration_s / scale:.6g}{unit}"
        if duration_s >= scale and parse_duration_s(text) == duration_s:
            return text
    return f"{duration_s!r}s" if duration_s else "0s"


def parse_days(value: object) -> int:
    days = parse_duration_s(value) / _SECONDS_PER_DAY
    if days != round(days):
        raise BadValueError(f"{value!r} is not a whole number of days", hint="Use a value such as 180d.")
    return round(days)


def parse_rate_per_s(value: object) -> float:
    rate_per_s = parse_non_negative_rate_per_s(value)
    if rate_per_s <= 0:
        raise BadValueError(f"{value!r} must be above zero")
    return rate_per_s


def parse_non_negative_rate_per_s(value: object) -> float:
    """Parse a rate in requests per second. Unlike `parse_rate_per_s`, 0/s is allowed."""
    number, unit = _parse_number_and_unit(value, _RATE_UNITS, "a rate", "200/s or 6000/min")
    return _check_not_negative(number / _RATE_UNITS[unit], value)


def format_rate(rate_per_s: float) -> str:
    return _format_number(rate_per_s) + "/s"


def parse_share(value: object) -> float:
    """Parse a percentage from 0 % to 100 %, and return a fraction from 0 to 1."""
    number, _ = _parse_number_and_unit(value, {"%": 0.01}, "a percentage", "90%")
    if not 0 <= number <= 100:
        raise BadValueError(f"{value!r} must be between 0% and 100%")
    return number / 100


def parse_multiple(value: object) -> float:
    """Parse a percentage above 0 % and at most 1000 %, and return a factor above 0 and at most
    10."""
    number, _ = _parse_number_and_unit(value, {"%": 0.01}, "a percentage", "80%")
    if not 0 < number <= 1000:
        raise BadValueError(f"{value!r} must be above 0% and at most 1000%")
    return number / 100


def parse_speed(value: object) -> float:
    number, _ = _parse_number_and_unit(value, {"x": 1.0}, "a replay speed", "2x")
    if not 1e-3 <= number <= 1e6:
        raise BadValueError(f"{value!r} must be between 0.001x and 1000000x")
    return number


def format_speed(speed: float) -> str:
    return _format_number(speed) + "x"


def format_share(share: float) -> str:
    return _format_percent(share) + "%"


def parse_growth_per_year(value: object) -> float:
    number, _ = _parse_number_and_unit(value, {"%/year": 0.01}, "a growth rate", "20%/year")
    if number <= -100:
        raise BadValueError(f"{value!r} would remove all traffic")
    return number / 100


def format_growth(growth_per_year: float) -> str:
    return _format_percent(growth_per_year) + "%/year"


def parse_usd(value: object) -> float:
    """Parse an amount of money in any known currency, and convert it to USD with the stored
    exchange rate.

    All other `parse_usd_…` functions convert currencies in the same way.
    """
    return _parse_usd(value, {"": 1.0}, "an amount of money", "40000 USD")


def parse_usd_per_month(value: object) -> float:
    return _parse_usd(value, {"/month": 1.0, "/year": 12.0}, "an amount per month", "4000 USD/month")


def parse_usd_per_hour(value: object) -> float:
    return _parse_usd(value, {"/h": 1.0, "/hour": 1.0}, "a price per hour", "0.9 USD/h")


def parse_usd_per_kwh(value: object) -> float:
    return _parse_usd(value, {"/kWh": 1.0}, "an electricity price", "0.15 USD/kWh")


def format_usd_per_month(usd_per_month: float) -> str:
    return _format_number(usd_per_month) + " USD/month"


def parse_usd_per_unit(value: object) -> float:
    """Parse the price of an API per 1k requests or per 1M tokens, and return the price in USD per
    1k requests or per 1M tokens."""
    return _parse_usd(value, {"/1k": 1.0, "/1M": 1.0}, "a price per unit", "2 USD/1k or 0.60 USD/1M")


def parse_usd_per_1m_tokens(value: object) -> float:
    return _parse_usd(value, {"/1M": 1.0}, "a price per 1M tokens", "3 USD/1M")


def format_usd_per_1m_tokens(usd: float) -> str:
    return _format_number(usd) + " USD/1M"


def parse_power_w(value: object) -> float:
    number, unit = _parse_number_and_unit(value, {"W": 1.0, "kW": 1e3, "MW": 1e6}, "a power value", "20 kW")
    return _check_not_negative(number * {"W": 1.0, "kW": 1e3, "MW": 1e6}[unit], value)


def format_power(watts: float) -> str:
    return f"{_format_number(watts)} W"


def parse_bytes(value: object) -> float:
    number, unit = _parse_number_and_unit(value, _SIZE_UNITS, "a size", "8GB")
    return _check_not_negative(number * _SIZE_UNITS[unit], value)


def parse_bytes_per_s(value: object) -> float:
    number, unit = _parse_number_and_unit(value, _BANDWIDTH_UNITS, "a bandwidth", "500MB/s or 10Gbit/s")
    bytes_per_s = number * _BANDWIDTH_UNITS[unit]
    if bytes_per_s <= 0:
        raise BadValueError(f"{value!r} must be above zero")
    return bytes_per_s


def parse_count(value: object) -> int:
    """Parse an integer of at least 1. Integers in scientific notation, such as `1e6`, are
    allowed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise BadValueError(f"{value!r} must be a whole number of at least 1")
    return int(value)


def parse_redundancy(value: object) -> int:
    """Parse `n`, `n+1` and so on, and return the number of spare instances."""
    match = _REDUNDANCY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValueError(f"{value!r} is not a valid redundancy", hint="Write n+1, n+2, or n for no spare.")
    return int(match[1] or 0)


def format_redundancy(spare_count: int) -> str:
    return f"n+{spare_count}" if spare_count else "n"


def _parse_number_and_unit(value: object, units: Mapping[str, float], quantity: str, example: str) -> tuple[float, str]:
    example_hint = f"Use a value such as {example}."
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise BadValueError(f"{value!r} has no unit", hint=example_hint)
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        text = "a mapping of keys" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
        raise BadValueError(f"{text} is not {quantity}", hint=example_hint)
    number, unit = float(match[1]), match[2]
    if not unit and unit not in units:
        raise BadValueError(f"{value!r} is not {quantity}: it has no unit", hint=example_hint)
    if unit not in units:
        raise BadValueError(
            f"{value!r} is not {quantity}: the unit {unit!r} is unknown", hint=did_you_mean(unit, units) or example_hint
        )
    if not math.isfinite(number):
        raise BadValueError(f"{value!r} is too large")
    return number, unit


def _parse_usd(value: object, divisors: Mapping[str, float], quantity: str, example: str) -> float:
    """Parse an amount of money and convert it to USD. `divisors` maps each suffix allowed after the
    currency, such as `/year`, to the divisor of the amount."""
    if isinstance(value, str):
        value = replace_currency_symbol(value)
    match = _MONEY.fullmatch(value) if isinstance(value, str) else None
    currency = match[1] if match is not None else "USD"
    # The units contain the currency, so that a typo as in USD/monht gets a suggestion, and so that
    # for 5 EURO/month only the currency is reported as unknown.
    units = {currency + suffix: divisor for suffix, divisor in divisors.items()}
    number, unit = _parse_number_and_unit(value, units, quantity, example)
    return _check_not_negative(number, value) * find_usd_rate(currency) / units[unit]


def _check_not_negative(number: float, value: object) -> float:
    if number < 0:
        raise BadValueError(f"{value!r} must not be below zero")
    return number


def _format_number(number: float) -> str:
    """Return the shortest representation of a float, without `.0` for integers."""
    return f"{number:.0f}" if number == round(number) and abs(number) < 1e15 else repr(number)


def _format_percent(share: float) -> str:
    """Return the shortest percentage that equals `share` exactly when divided by 100. If there is
    none, return the nearest percentage."""
    percent = share * 100
    neighbors = (percent, math.nextafter(percent, math.inf), math.nextafter(percent, -math.inf))
    texts = (_format_number(round(number, digits)) for digits in range(20) for number in neighbors)
    return next((text for text in texts if float(text) / 100 == share), _format_number(percent))
