"""Request rates that change during a stage: settings in a profile, and the resulting rate
curves."""

from __future__ import annotations

import itertools
import math
import re
from typing import Annotated, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from app.profiles import units
from app.profiles.problems import BadValueError
from app.profiles.settings import MAX_PER_S, NonNegativeRate, PositiveSeconds, Rate, Settings, Unit
from app.profiles.traffic import SHAPES, Shape
from app.records.search import RateShare

RateCurve = tuple[tuple[float, float], ...]
"""Rate curve of a stage: points (seconds since the start of the stage, requests per second) joined
by straight lines. Two points at the same time form a step."""

MAX_STEPS = 1000
_SHARE_OF_STAGE = re.compile(r"(\S+%) +of +(\S+)")
_POINTS_PER_PERIOD = 64
_MAX_PERIODS = 500


def _parse_rate(value: object) -> float | RateShare:
    match = _SHARE_OF_STAGE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        return RateShare(match[2], units.parse_multiple(match[1]))
    rate_per_s = units.parse_rate_per_s(value)
    if rate_per_s > MAX_PER_S:
        max_rate_text = units.format_rate(MAX_PER_S)
        raise BadValueError(f"{units.format_rate(rate_per_s)} exceeds the maximum of {max_rate_text}")
    return rate_per_s


def _format_rate(rate: float | RateShare) -> str:
    if isinstance(rate, RateShare):
        return f"{units.format_share(rate.fraction)} of {rate.stage}"
    return units.format_rate(rate)


RateOrShare = Annotated[
    float | RateShare, PlainValidator(_parse_rate), PlainSerializer(_format_rate), Unit("/s, /min, /h")
]


class RampSettings(Settings):
    """A request rate that changes linearly over the stage."""

    from_per_s: NonNegativeRate = Field(alias="from", examples=["10/s"])
    """Rate at the start of the stage, such as 10/s."""
    to_per_s: NonNegativeRate = Field(alias="to", examples=["100/s"])
    """Rate at the end of the stage, such as 100/s."""

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        if self.from_per_s == self.to_per_s == 0:
            raise BadValueError("the rate of the ramp is always 0 req/s")
        return self

    def build_curve(self, duration_s: float) -> RateCurve:
        return (0.0, self.from_per_s), (duration_s, self.to_per_s)


class RateSpikeSettings(Settings):
    """A request rate of `base` with a spike to `peak`. The spike starts at `at`, measured from the
    start of the stage, and its duration is `for`."""

    base_per_s: Rate = Field(alias="base", examples=["50/s"])
    """Rate before and after the spike, such as 50/s."""
    peak_per_s: Rate = Field(alias="peak", examples=["200/s"])
    """Rate during the spike, such as 200/s."""
    at_s: PositiveSeconds = Field(alias="at", examples=["10s"])
    """Start of the spike, measured from the start of the stage, such as 10s."""
    for_s: PositiveSeconds = Field(alias="for", examples=["5s"])
    """Duration of the spike, such as 5s."""

    @model_validator(mode="after")
    def _check_peak(self) -> Self:
        if self.peak_per_s <= self.base_per_s:
            raise BadValueError("spike.peak must be above spike.base")
        return self

    def build_curve(self, duration_s: float) -> RateCurve:
        end_s = self.at_s + self.for_s
        if end_s >= duration_s:
            raise BadValueError(
                f"the spike ends at {units.format_duration(end_s)}, but the stage is "
                f"{units.format_duration(duration_s)} long",
                hint="Leave time after the spike so that the backlog can drain.",
            )
        base_per_s, peak_per_s = self.base_per_s, self.peak_per_s
        return (
            (0.0, base_per_s),
            (self.at_s, base_per_s),
            (self.at_s, peak_per_s),
            (end_s, peak_per_s),
            (end_s, base_per_s),
        )


class SineSettings(Settings):
    """A request rate that follows a sine wave around `mean` with the given `amplitude`. The wave
    starts at the mean and increases."""

    mean_per_s: Rate = Field(alias="mean", examples=["50/s"])
    """Mean rate, such as 50/s."""
    amplitude_per_s: Rate = Field(alias="amplitude", examples=["20/s"])
    """Amplitude of the sine wave: the largest difference from the mean rate, such as 20/s."""
    period_s: PositiveSeconds = Field(alias="period", examples=["20s"])
    """Period of the sine wave, such as 20s."""

    @model_validator(mode="after")
    def _check_amplitude(self) -> Self:
        if self.amplitude_per_s > self.mean_per_s:
            raise BadValueError("sine.amplitude exceeds sine.mean, so the rate would be negative")
        return self

    def build_curve(self, duration_s: float) -> RateCurve:
        period_count = duration_s / self.period_s
        if period_count > _MAX_PERIODS:
            raise BadValueError(
                f"the sine wave has {period_count:.0f} periods in the stage, above the maximum of {_MAX_PERIODS}"
            )
        point_interval_s = self.period_s / _POINTS_PER_PERIOD
        times_s = [*(index * point_interval_s for index in range(math.ceil(duration_s / point_interval_s))), duration_s]
        radians_per_s = 2 * math.pi / self.period_s
        return tuple(
            (time_s, max(0.0, self.mean_per_s + self.amplitude_per_s * math.sin(radians_per_s * time_s)))
            for time_s in times_s
        )


class DiurnalSettings(Settings):
    """A request rate with the hourly profile `shape`: a day from midnight to midnight, compressed
    to the duration of the stage."""

    peak_per_s: Rate = Field(alias="peak", examples=["100/s"])
    """Rate in the busiest hour, such as 100/s."""
    shape: Shape = "workday"
    """Hourly profile of a typical day, which is compressed to the duration of the stage."""

    def build_curve(self, duration_s: float) -> RateCurve:
        shares = SHAPES[self.shape]
        hour_duration_s = duration_s / len(shares)
        hour_points = [((hour + 0.5) * hour_duration_s, share * self.peak_per_s) for hour, share in enumerate(shares)]
        midnight_per_s = (shares[0] + shares[-1]) / 2 * self.peak_per_s
        return ((0.0, midnight_per_s), *hour_points, (duration_s, midnight_per_s))


def build_steps_curve(rates_per_s: tuple[float, ...], duration_s: float) -> RateCurve:
    """Build the rate curve of a stage with consecutive steps of equal duration, one per rate."""
    step_duration_s = duration_s / len(rates_per_s)
    points: list[tuple[float, float]] = []
    for index, rate in enumerate(rates_per_s):
        points += [(index * step_duration_s, rate), ((index + 1) * step_duration_s, rate)]
    return tuple(points)


def compute_expected_arrivals(curve: RateCurve, duration_s: float, lead_in_s: float) -> float:
    """Compute the expected number of arrivals of a stage with the given rate curve, including
    arrivals in the lead-in."""
    points = [*curve, (max(duration_s, curve[-1][0]), curve[-1][1])]
    curve_arrivals = sum(
        (end_s - start_s) * (start_per_s + end_per_s) / 2
        for (start_s, start_per_s), (end_s, end_per_s) in itertools.pairwise(points)
    )
    return curve_arrivals + lead_in_s * curve[0][1]
