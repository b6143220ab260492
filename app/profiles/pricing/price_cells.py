"""Parse the cells of a user's price list. A cell contains a value with a unit, or a number whose
unit is part of the column name."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from typing import Any

from app.profiles import units
from app.profiles.problems import BadValueError

KEY_COLUMNS = ("provider", "instance_type", "region")
MIN_PRICE_USD = 1e-6
"""Minimum of a price per hour in USD. A lower number is an error, and could not be divided by."""
MAX_VALUE = 1e9
_MAX_CHARACTERS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}", re.ASCII)
_LIFETIME = re.compile(r"(\d+\.?\d*)\s*(y|years?|months?)", re.ASCII)
MONTHS_PER_YEAR = 12
_NON_FINITE_TEXTS = ("nan", ".nan", ".inf", "-.inf", "inf", "+inf", "-inf", "infinity", "-infinity", "-nan")


class CellError(BadValueError):
    """Error for a cell with an invalid value. `column` is the name of the column."""

    def __init__(self, column: str, message: str, hint: str | None = None) -> None:
        super().__init__(f"{column}: {message}", hint=hint)
        self.column = column


class CostShare(float):
    """A cost as a fraction of the purchase price of the hardware."""


def parse_cell(column: str, value: object) -> Any:
    """Parse the value of a cell. `column` is the name of a column in PARSERS. Raises CellError for
    an invalid value."""
    if isinstance(value, str) and len(value) > _MAX_CHARACTERS:
        raise CellError(column, f"the value is longer than {_MAX_CHARACTERS} characters")
    try:
        return PARSERS[column](value)
    except BadValueError as error:
        raise CellError(column, str(error), error.hint) from error


def _build_share_parser(parse: Callable[[object], float]) -> Callable[[object], float]:
    def parse_cost(value: object) -> float:
        is_share = isinstance(value, str) and value.strip().endswith(("%", "%/year"))
        return (
            CostShare(units.parse_share(str(value).removesuffix("/year"))) if is_share else _check_maximum(parse(value))
        )

    return parse_cost


def _parse_name(value: object) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not _NAME.fullmatch(text):
        hint = "Use letters, digits, dots, colons, underscores, plus and minus, starting with a letter or digit."
        raise BadValueError(f"{text or value!r:.60} is not a valid name", hint=hint)
    return text


def _parse_number(value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (isinstance(value, str) and "_" in value):
        raise BadValueError(f"{value!r:.60} must be a number of at least 0")
    return _check_maximum(number)


def _check_maximum(number: float) -> float:
    if number > MAX_VALUE:
        raise BadValueError(f"{number:g} is more than {MAX_VALUE:,.0f}")
    return number


def _build_bounded_parser(maximum: float, unit: str) -> Callable[[object], float]:
    def parse_bounded(value: object) -> float:
        number = _parse_number(value)
        if number > maximum:
            raise BadValueError(f"{number:g} exceeds the maximum of any instance ({maximum:,.0f} {unit})")
        return number

    return parse_bounded


def _parse_price_per_hour(value: object) -> float:
    usd = _build_money_or_number_parser(units.parse_usd_per_hour)(value)
    if usd == 0:
        raise BadValueError("0 is not a valid price", hint="Leave the cell empty if the price is unknown.")
    if usd < MIN_PRICE_USD:
        raise BadValueError(f"{usd:g} is less than {MIN_PRICE_USD:.6f} USD per hour")
    return usd


def _build_money_or_number_parser(parse: Callable[[object], float]) -> Callable[[object], float]:
    """Return a parser of amounts of money that also accepts a plain number, which is in USD."""

    def parse_amount(value: object) -> float:
        has_unit = (
            isinstance(value, str) and value.strip()[-1:].isalpha() and value.strip().lower() not in _NON_FINITE_TEXTS
        )
        return _check_maximum(parse(value)) if has_unit else _parse_number(value)

    return parse_amount


def _build_money_parser(parse: Callable[[object], float]) -> Callable[[object], float]:
    return lambda value: _check_maximum(parse(value))


def _parse_date(value: object) -> datetime.date:
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError as error:
        raise BadValueError(f"{value!r:.60} is not a date such as 2026-07-20") from error


def _parse_lifetime(value: object) -> float:
    match = _LIFETIME.fullmatch(value.strip()) if isinstance(value, str) else None
    years = 0.0 if match is None else float(match[1]) / (MONTHS_PER_YEAR if match[2].startswith("month") else 1)
    if not 1 / MONTHS_PER_YEAR <= years <= 50:
        raise BadValueError(f"{value!r:.60} is not a lifetime from 1 month to 50 years", hint="Use a value such as 4y.")
    return years


def _parse_pue(value: object) -> float:
    if not 1 <= (pue := _parse_number(value)) <= 10:
        raise BadValueError(f"{value!r:.60} is not between 1 and 10")
    return pue


def _parse_availability(value: object) -> float:
    if (share := units.parse_share(value)) == 0:
        raise BadValueError("availability must be above 0")
    return share


def _parse_architecture(value: object) -> str:
    if value not in ("x86_64", "arm64"):
        raise BadValueError(f"{value!r:.60} is neither x86_64 nor arm64")
    return str(value)


def _parse_yearly_share(value: object) -> float:
    return units.parse_share(str(value).removesuffix("/year") if isinstance(value, str) else value)


PLAIN_COLUMNS = ("accelerator_count", "vcpus", "memory_gib", "on_demand_usd_per_hour", "spot_usd_per_hour",
          "reserved_1y_usd_per_hour", "cpu_architecture", "country")  # fmt: skip
PARSERS: dict[str, Callable[[object], Any]] = {
    **dict.fromkeys(KEY_COLUMNS, _parse_name),
    "accelerator_key": _parse_name,
    "accelerator_count": _build_bounded_parser(1_000, "accelerators"),
    "vcpus": _build_bounded_parser(10_000, "vCPUs"),
    "memory_gib": _parse_number,
    "on_demand_usd_per_hour": _parse_price_per_hour,
    "spot_usd_per_hour": _parse_price_per_hour,
    "reserved_1y_usd_per_hour": _parse_price_per_hour,
    "as_of_date": _parse_date,
    # Accepted so that rows copied from the bundled table are valid, but ignored: the source is
    # always the user.
    "source": _parse_name,
    "cpu_architecture": _parse_architecture,
    "country": _parse_name,
    "capex_usd": _parse_number,
    "capex": _build_money_parser(units.parse_usd),
    "life": _parse_lifetime,
    "interest": _parse_yearly_share,
    "residual": _build_share_parser(units.parse_usd),
    "power_w": _parse_number,
    "pue": _parse_pue,
    "tariff": _build_money_parser(units.parse_usd_per_kwh),
    "colo": _build_money_parser(units.parse_usd_per_month),
    "support": _build_share_parser(units.parse_usd_per_month),
    "staff": _build_money_parser(units.parse_usd_per_month),
    "network": _build_share_parser(units.parse_usd),
    "availability": _parse_availability,
    "units": units.parse_count,
}
OWNED_COLUMNS = ("life", "interest", "residual", "power_w", "pue", "tariff", "colo", "support", "staff", "network",
             "availability", "units")  # fmt: skip
