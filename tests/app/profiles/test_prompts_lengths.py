from __future__ import annotations

import pytest

from app.profiles.problems import BadValueError
from app.profiles.prompts import format_length, parse_length
from loadgen.workloads import EmpiricalLength, FixedLength, LognormalLength, NormalLength, UniformLength


@pytest.mark.parametrize(
    ("written", "length"),
    [
        (512, FixedLength(512)),
        (1e3, FixedLength(1000)),
        ("uniform 100 to 800", UniformLength(100, 800)),
        ({"uniform": {"max": 8}}, UniformLength(1, 8)),
        ({"normal": {"mean": 500, "sd": 100, "max": 900}}, NormalLength(500.0, 100.0, 1, 900)),
        ({"lognormal": {"median": 300, "sigma": 0.8, "max": 4000}}, LognormalLength(300.0, 0.8, 1, 4000)),
        ({"empirical": {"values": [1, 7], "weights": [3, 0.5]}}, EmpiricalLength((1, 7), (3.0, 0.5))),
        ({"empirical": {"values": [1, 7]}}, EmpiricalLength((1, 7))),
    ],
)
def test_length_distribution_survives_a_round_trip(written: object, length: object) -> None:
    assert parse_length(written) == length
    assert parse_length(format_length(parse_length(written))) == length


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (0, "at least 1"),
        (2.5, "whole number"),
        (True, "whole number"),
        (float("nan"), "whole number"),
        (3_000_000, "exceeds the maximum of 2,000,000"),
        ("about 100", "is not a valid length"),
        ({"gauss": {}}, "the length distribution 'gauss' is unknown"),
        ({"normal": 5}, "must be a mapping of mean, sd"),
        ({"normal": {"mean": 5, "sdev": 1}}, "the key 'sdev' is unknown"),
        ({"normal": {"mean": 5}}, "sd must be a number above 0"),
        ({"uniform": {"min": 9, "max": 8}}, "min 9 is above max 8"),
        ({"normal": {"mean": 5, "sd": 1, "min": 100}}, "almost all"),
        ({"lognormal": {"median": 300, "sigma": 0.1, "max": 20}}, "almost all"),
        ({"lognormal": {"median": 300, "sigma": 50}}, "at most 5"),
        ({"empirical": {"values": []}}, "empirical.values must be a list"),
        ({"empirical": {"values": [1], "weights": [1, 2]}}, "1 values but 2 weights"),
        ({"empirical": {"values": [1, 2], "weights": [0, 0]}}, "no weight above 0"),
        ({"normal": {}, "uniform": {}}, "one key"),
    ],
)
def test_invalid_length_distributions_are_rejected(written: object, message: str) -> None:
    with pytest.raises(BadValueError, match=message):
        parse_length(written)
