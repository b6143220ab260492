from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from app.profiles import units
from app.profiles.problems import BadValueError


@pytest.mark.parametrize(
    ("parse", "text", "number"),
    [
        (units.parse_duration_s, "2ms", 0.002),
        (units.parse_duration_s, "1.5h", 5400.0),
        (units.parse_duration_s, "250 us", 0.00025),
        (units.parse_duration_s, "0s", 0.0),
        (units.parse_days, "180d", 180),
        (units.parse_rate_per_s, "200/s", 200.0),
        (units.parse_rate_per_s, "6000/min", 100.0),
        (units.parse_rate_per_s, "1e3/s", 1000.0),
        (units.parse_rate_per_s, "7200/h", 2.0),
        (units.parse_rate_per_s, "43200/day", 0.5),
        (units.parse_non_negative_rate_per_s, "0/s", 0.0),
        (units.parse_multiple, "150%", 1.5),
        (units.parse_speed, "0.5x", 0.5),
        (units.parse_share, "0.1%", 0.001),
        (units.parse_share, "90%", 0.9),
        (units.parse_growth_per_year, "-20%/year", -0.2),
        (units.parse_usd_per_month, "4000 USD/month", 4000.0),
        (units.parse_usd_per_month, "48000 USD/year", 4000.0),
        (units.parse_usd_per_month, "$4,000/month".replace(",", ""), 4000.0),
        (units.parse_usd_per_month, "4000 $/month", 4000.0),
        (units.parse_usd_per_hour, "100 €/h", units.parse_usd_per_hour("100 EUR/h")),
        (units.parse_usd_per_hour, "£ 100/h", units.parse_usd_per_hour("100 GBP/h")),
        (units.parse_usd, "4e4 USD", 40_000.0),
        (units.parse_usd_per_hour, "0.9 USD/h", 0.9),
        (units.parse_usd_per_hour, "0.9USD/hour", 0.9),
        (units.parse_usd_per_kwh, "0.15 USD/kWh", 0.15),
        (units.parse_bytes, "8GB", 8e9),
        (units.parse_bytes, "1.5 GiB", 1.5 * 2**30),
        (units.parse_bytes_per_s, "500MB/s", 5e8),
        (units.parse_bytes_per_s, "10Gbit/s", 1.25e9),
        (units.parse_count, 1e6, 1_000_000),
        (units.parse_redundancy, "n+2", 2),
        (units.parse_redundancy, "N", 0),
    ],
)
def test_profile_values_are_parsed_with_their_unit(
    parse: Callable[[object], float], text: object, number: float
) -> None:
    assert parse(text) == number


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (units.parse_duration_s, 30, "no unit"),
        (units.parse_duration_s, "5 parsec", "the unit 'parsec' is unknown"),
        (units.parse_duration_s, "-5s", "below zero"),
        (units.parse_duration_s, "1e999s", "too large"),
        (units.parse_duration_s, True, "not a duration"),
        (units.parse_duration_s, {"duration": "0s"}, "a mapping of keys is not a duration"),
        (units.parse_rate_per_s, ["1/s"], "a list is not a rate"),
        (units.parse_days, "36h", "whole number of days"),
        (units.parse_rate_per_s, "0/s", "above zero"),
        (units.parse_rate_per_s, "200", "not a rate"),
        (units.parse_multiple, "0%", "above 0%"),
        (units.parse_speed, "2", "not a replay speed"),
        (units.parse_share, "101%", "between"),
        (units.parse_share, 0.9, "no unit"),
        (units.parse_growth_per_year, "-100%/year", "remove all traffic"),
        (units.parse_usd_per_month, "4000 EURO/month", "the currency 'EURO' is unknown"),
        (units.parse_usd_per_month, "4000 XXX/month", "the currency 'XXX' is unknown"),
        (units.parse_usd_per_month, "4000 EUR/week", "the unit 'EUR/week' is unknown"),
        (units.parse_usd_per_month, "4000 EUR", "the unit 'EUR' is unknown"),
        (units.parse_usd_per_month, "-4000 EUR/month", "below zero"),
        (units.parse_usd_per_month, "1e999 EUR/month", "too large"),
        (units.parse_usd_per_month, 4000, "no unit"),
        (units.parse_usd_per_month, "4000", "it has no unit"),
        (units.parse_usd_per_month, "100/month", "the unit '/month' is unknown"),
        (units.parse_usd, "40000 USD/month", "the unit 'USD/month' is unknown"),
        (units.parse_usd, "1" + " " * 200_000 + "1", "the unit '1' is unknown"),  # matched in linear time
        (units.parse_usd_per_kwh, "0.15 USD/kwh", "the unit 'USD/kwh' is unknown"),
        (units.parse_count, 0, "at least 1"),
        (units.parse_count, 1.5, "whole number"),
        (units.parse_count, True, "whole number"),
        (units.parse_redundancy, "2n", "not a valid redundancy"),
    ],
)
def test_profile_values_with_invalid_units_are_rejected(
    parse: Callable[[object], float], value: object, message: str
) -> None:
    with pytest.raises(BadValueError, match=message):
        parse(value)


@pytest.mark.parametrize(
    ("value", "nearest"),
    [
        ("5 USD/monht", "'USD/month'"),
        ("5 EUR/moth", "'EUR/month'"),
        ("5 €/moth", "'EUR/month'"),
        ("5/month", "'USD/month'"),
        ("5 EURO/month", "'EUR'"),
        ("5 usd/month", "'USD'"),
        ("1e3 GBR/month", "'GBP'"),
    ],
)
def test_unknown_currency_suggests_the_nearest_currency(value: str, nearest: str) -> None:
    with pytest.raises(BadValueError) as caught:
        units.parse_usd_per_month(value)
    assert nearest in (caught.value.hint or "")


@pytest.mark.parametrize(("value", "nearest"), [("5 sec", "'s'"), ("5 min", "'m'")])
def test_unknown_unit_suggests_the_nearest_unit(value: str, nearest: str) -> None:
    with pytest.raises(BadValueError) as caught:
        units.parse_duration_s(value)
    assert nearest in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("parse", "format_", "unit"),
    [
        *((units.parse_duration_s, units.format_duration, unit) for unit in ("ns", "us", "ms", "s", "m", "h", "d")),
        (units.parse_rate_per_s, units.format_rate, "/s"),
        (units.parse_rate_per_s, units.format_rate, "/min"),
        (units.parse_rate_per_s, units.format_rate, "/h"),
        (units.parse_share, units.format_share, "%"),
        (units.parse_speed, units.format_speed, "x"),
        (units.parse_growth_per_year, units.format_growth, "%/year"),
        (units.parse_usd_per_month, units.format_usd_per_month, " USD/month"),
    ],
)
def test_formatted_profile_values_parse_to_the_same_number(
    parse: Callable[[object], float], format_: Callable[[float], str], unit: str
) -> None:
    dice = random.Random(5)
    for _ in range(300):
        digits = dice.choice((0, 1, 3, 12))
        number = parse(f"{round(dice.uniform(0.001, 99.0), digits) or 1}{unit}")
        assert parse(format_(number)) == number


@pytest.mark.parametrize(
    ("text", "formatted"), [("120s", "2m"), ("0.002s", "2ms"), ("86400s", "1d"), ("90s", "1.5m"), ("0s", "0s")]
)
def test_duration_is_formatted_in_its_natural_unit(text: str, formatted: str) -> None:
    assert units.format_duration(units.parse_duration_s(text)) == formatted


def test_percentages_are_formatted_without_an_exponent() -> None:
    assert units.format_share(0.9) == "90%"
    assert units.format_share(0.999) == "99.9%"  # although 0.999 is not exactly a percentage divided by 100
    assert units.format_share(0.001) == "0.1%"
    assert units.format_growth(0.2) == "20%/year"
