"""Exchange rates with their dates, and warnings about outdated rates."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from app.errors import ProfileError, UsageError
from app.profiles.bundled import DATA_DIRECTORY
from app.profiles.document import Document, read_document
from app.profiles.problems import BadValueError, did_you_mean
from app.records.offers import ExchangeRate

USD = "USD"
MAX_RATE_AGE_DAYS = 90
_CURRENCY_CODE = re.compile(r"[A-Z]{3}")
_MONEY = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*([A-Z]{3})(?:/(?:month|year|h|hour|kWh))?", re.ASCII)
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP"}
"""Currency symbols that stand for one currency; ¥ stands for two."""
_SYMBOL_AMOUNT = re.compile(
    r"(?P<sign>[-+]?)(?P<before>[$€£])?\s*(?P<number>[\d.]+(?:[eE][-+]?\d+)?)\s*(?P<after>[$€£])?"
)


def replace_currency_symbol(text: str) -> str:
    """Return an amount of money, such as `100 €/month` or `$5/h`, with the code of the currency after the number in
    place of the symbol; any other text stripped of spaces, but otherwise unchanged."""
    match = _SYMBOL_AMOUNT.match(text.strip())
    if match is None or (match["before"] is None) == (match["after"] is None):
        return text.strip()
    currency = _SYMBOLS[match["before"] or match["after"]]
    return f"{match['sign']}{match['number']} {currency}{text.strip()[match.end() :]}"


@cache
def load_bundled_exchange_rates() -> Mapping[str, ExchangeRate]:
    return load_exchange_rates(DATA_DIRECTORY / "hardware" / "currencies.yaml")


def load_exchange_rates(path: Path) -> dict[str, ExchangeRate]:
    """Load exchange rates by currency code. Raises UsageError with the file and the line of the
    error."""
    try:
        document = read_document(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(document.value, dict):
        raise ProfileError("currencies must be a mapping such as {EUR: {usd: 1.1, date: 2026-01-31}}", path=str(path))
    return {code: _parse_rate(code, rate_fields, document, path) for code, rate_fields in document.value.items()}


def find_usd_rate(currency: str) -> float:
    """Return the value of one unit of a currency in USD. Raises BadValueError for an unknown
    currency, with the most similar currency as hint."""
    if currency == USD:
        return 1.0
    rates = load_bundled_exchange_rates()
    if currency not in rates:
        hint = did_you_mean(currency, (USD, *rates)) or f"Use one of {', '.join((USD, *rates))}."
        raise BadValueError(f"the currency {currency!r} is unknown", hint=hint)
    return rates[currency].usd


def find_currency_warnings(values: object, today: datetime.date) -> tuple[str, ...]:
    """Return a warning for each currency in a document whose exchange rate is more than 90 days
    old.

    `values` is the content of the document, or a collection of strings.
    """
    used_codes = sorted(
        {code for text in _iter_texts(values) if (code := _find_currency(text)) is not None}
        & load_bundled_exchange_rates().keys()
    )
    return tuple(
        warning
        for code in used_codes
        if (warning := format_rate_warning(load_bundled_exchange_rates()[code], today)) is not None
    )


def format_rate_warning(rate: ExchangeRate, today: datetime.date) -> str | None:
    age_days = (today - rate.as_of).days
    if age_days <= MAX_RATE_AGE_DAYS:
        return None
    return (
        f"{rate.currency} is converted at {rate.usd:g} USD, the rate of {rate.as_of} ({age_days} days old). Write "
        "the amount in USD to be exact."
    )


def _find_currency(text: str) -> str | None:
    amount = text.rpartition("=")[2]  # the text may be an override such as plan.budget=4000 EUR/month
    match = _MONEY.fullmatch(replace_currency_symbol(amount))
    return None if match is None else match[1]


def _iter_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _iter_texts(value.values())
    elif isinstance(value, Iterable):
        for item in value:
            yield from _iter_texts(item)


def _parse_rate(code: str, rate_fields: Any, document: Document, path: Path) -> ExchangeRate:
    rate_error = ProfileError(
        f"the exchange rate of {code!r} is invalid",
        path=str(path),
        line=document.lines.get((code,)),
        hint="Use an entry such as EUR: {usd: 1.1, date: 2026-01-31}.",
    )
    if (
        not _CURRENCY_CODE.fullmatch(code)
        or not isinstance(rate_fields, dict)
        or not {"usd", "date"} <= rate_fields.keys()
    ):
        raise rate_error
    usd = rate_fields["usd"]
    if not isinstance(usd, int | float) or isinstance(usd, bool) or usd <= 0:
        raise rate_error
    try:
        as_of = datetime.date.fromisoformat(str(rate_fields["date"]))
    except ValueError as error:
        raise rate_error from error
    return ExchangeRate(code, float(usd), as_of, str(rate_fields.get("source", "")))
