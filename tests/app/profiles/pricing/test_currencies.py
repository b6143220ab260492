from __future__ import annotations

import datetime
import random
from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles import units
from app.profiles.pricing.currencies import (
    find_currency_warnings,
    find_usd_rate,
    format_rate_warning,
    load_bundled_exchange_rates,
    load_exchange_rates,
)
from app.records.offers import ExchangeRate

DAY = datetime.date(2026, 1, 31)


def test_bundled_exchange_rates_are_dated_and_plausible() -> None:
    rates = load_bundled_exchange_rates()
    assert {"EUR", "GBP", "JPY", "INR"} <= rates.keys()
    assert 0.8 < rates["EUR"].usd < 1.6
    assert rates["JPY"].usd < 0.02
    assert all(rate.as_of.year >= 2025 and rate.source for rate in rates.values())
    assert find_usd_rate("USD") == 1.0


def test_amounts_survive_conversion_to_usd_and_back() -> None:
    dice = random.Random(1)
    for code, rate in load_bundled_exchange_rates().items():
        amount = round(dice.uniform(1, 1e6), 2)
        usd = units.parse_usd(f"{amount} {code}")
        assert usd == pytest.approx(amount * rate.usd)
        assert usd / find_usd_rate(code) == pytest.approx(amount)
        assert units.parse_usd_per_month(units.format_usd_per_month(usd)) == usd


def test_exchange_rate_over_90_days_old_has_a_warning() -> None:
    rate = ExchangeRate("EUR", 1.1, DAY, "x")
    assert format_rate_warning(rate, DAY + datetime.timedelta(90)) is None
    note = format_rate_warning(rate, DAY + datetime.timedelta(91))
    assert (
        note
        == "EUR is converted at 1.1 USD, the rate of 2026-01-31 (91 days old). Write the amount in USD to be exact."
    )


def test_each_outdated_currency_of_a_document_is_reported_once() -> None:
    profile = {"plan": {"budget": "4000 EUR/month"}, "rows": [{"tariff": "0.15 EUR/kWh", "n": 3}], "name": "SEK"}
    late = datetime.date(2040, 1, 1)
    assert [note[:3] for note in find_currency_warnings(profile, late)] == ["EUR"]
    assert [note[:3] for note in find_currency_warnings(["plan.budget=400 GBP/month"], late)] == ["GBP"]
    assert find_currency_warnings(profile, load_bundled_exchange_rates()["EUR"].as_of) == ()
    assert find_currency_warnings({"budget": "4000 USD/month"}, late) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EUR: 1.1", ":1: the exchange rate of 'EUR' is invalid"),
        ("USD: {usd: 1, date: 2026-01-31}\neuro: {usd: 1, date: 2026-01-31}", ":2: the exchange rate of 'euro'"),
        ("EUR: {usd: 0, date: 2026-01-31}", "EUR"),
        ("EUR: {usd: true, date: 2026-01-31}", "EUR"),
        ("EUR: {usd: 1.1, date: yesterday}", "EUR"),
        ("EUR: {usd: 1.1}", "EUR"),
        ("[EUR]", "a mapping"),
    ],
)
def test_invalid_exchange_rate_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "currencies.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_exchange_rates(path)
    assert message in str(caught.value)


def test_missing_exchange_rate_table_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_exchange_rates(tmp_path / "no.yaml")
