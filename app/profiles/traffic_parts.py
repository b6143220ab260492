"""The parts of `traffic` that have keys of their own, and how they become records."""

from __future__ import annotations

import datetime
import math
import re
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.settings import Count, Listed, Name, ObjectiveText, Rate, Settings, Share, SomeSeconds, at_most
from app.profiles.units import format_duration
from app.records.traffic import Campaign, Dispersion, RecurringSpike, RequestClass, TokenLengths

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_SUM_ERROR = 1e-6
MOST_PARTS = 100
_MOST_CHANGES = 1000.0


def _read_clock_s(value: object) -> float:
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValueError(f"{value!r} is not a time of day", hint='Write it like "12:00".')
    return 3600.0 * int(match[1]) + 60.0 * int(match[2])


def _clock(at_s: float) -> str:
    return f"{int(at_s // 3600):02}:{int(at_s // 60 % 60):02}"


def _read_day(value: object) -> str:
    if not isinstance(value, str) or value not in DAYS:
        near = did_you_mean(value, DAYS) if isinstance(value, str) else None
        raise BadValueError(f"{value!r} is not a day", hint=near or f"Days are {', '.join(DAYS)}.")
    return value


def _read_date(value: object) -> datetime.date:
    try:
        return datetime.datetime.strptime(str(value), "%Y-%m-%d").date()  # noqa: DTZ007 - a date has no zone
    except ValueError as error:
        raise BadValueError(f"{value!r} is not a date", hint="Write it like 2026-11-27.") from error


ClockTime = Annotated[float, BeforeValidator(_read_clock_s), PlainSerializer(_clock)]
Day = Annotated[str, BeforeValidator(_read_day)]
Date = Annotated[datetime.date, BeforeValidator(_read_date), PlainSerializer(datetime.date.isoformat)]
Times = Annotated[float, Field(gt=0, le=_MOST_CHANGES)]
Tokens = Annotated[float, Field(ge=0, le=1e8)]


class SpikeSettings(Settings):
    """Recurring: `times` the usual rate for so long from `at`, on each of `days`."""

    at_s: ClockTime = Field(alias="at")
    duration_s: Annotated[SomeSeconds, at_most(86_400.0, format_duration)] = Field(alias="for")
    times: Times
    days: Annotated[Listed[Day], Field(min_length=1)] = DAYS


class CampaignSettings(Settings):
    """`times` the usual rate on the days `from` to `to`, both among them."""

    first: Date = Field(alias="from")
    last: Date = Field(alias="to")
    times: Times

    @model_validator(mode="after")
    def _goes_forward(self) -> Self:
        if self.last < self.first:
            raise BadValueError(f"it ends on {self.last}, before it begins")
        return self


class UsersSettings(Settings):
    """At the peak, `active` of the users make `requests` each."""

    count: Annotated[Count, at_most(10**12)]
    requests_per_s: Rate = Field(alias="requests")
    active: Annotated[Share, Field(gt=0)] = 1.0

    @property
    def peak_per_s(self) -> float:
        return self.count * self.active * self.requests_per_s


class DispersionSettings(Settings):
    """Variance over mean of the counts in windows so long, at the peak; 1 is Poisson."""

    index: Annotated[float, Field(ge=1, le=1e6)] = 1.0
    window_s: Annotated[SomeSeconds, Field(ge=1), at_most(3600.0, format_duration)] = Field(
        default=60.0, alias="window"
    )


class TokensSettings(Settings):
    """Mean lengths of this share of the requests."""

    share: Annotated[Share, Field(gt=0)] = 1.0
    input: Annotated[Tokens, Field(gt=0)]
    output: Tokens


class ClassSettings(Settings):
    """Requests with work and an SLO of their own; `work` is beside the mean request of 1, no slo is the profile's."""

    name: Name
    share: Annotated[Share, Field(gt=0)]
    work: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    slo: Listed[ObjectiveText] = ()


def read_shares(value: object, count: int, what: str) -> tuple[float, ...]:
    """Numbers from 0 to 1, of which the largest is 1."""
    if not isinstance(value, list | tuple) or len(value) != count:
        given = f"{len(value)}" if isinstance(value, list | tuple) else f"{value!r:.60}"
        raise BadValueError(f"{what} takes {count} shares, not {given}")
    for share in value:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise BadValueError(f"{share!r:.60} is not a share from 0 to 1", hint="Write 40 % of the peak as 0.4.")
    if max(value) != 1:
        raise BadValueError(
            f"the largest share of {what} is {max(value)}, and one must be 1: shares are of the highest",
            hint="Divide all by the largest.",
        )
    return tuple(float(share) for share in value)


def read_dispersion(value: Any) -> Any:
    """A bare number is an index."""
    return {"index": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


def read_tokens(value: Any) -> Any:
    """One mapping is a list of one."""
    return [value] if isinstance(value, dict) else value


def check_sum(what: str, shares: tuple[float, ...]) -> None:
    if shares and not math.isclose(sum(shares), 1.0, abs_tol=_SUM_ERROR):
        raise BadValueError(f"the shares of {what} are {100 * sum(shares):.6g}% together, not 100%")


def spike_of(spike: SpikeSettings) -> RecurringSpike:
    days = tuple(sorted({DAYS.index(day) for day in spike.days}))
    return RecurringSpike(spike.at_s, spike.duration_s, spike.times, days)


def campaign_of(campaign: CampaignSettings) -> Campaign:
    return Campaign(campaign.first, campaign.last, campaign.times)


def dispersion_of(dispersion: DispersionSettings) -> Dispersion:
    return Dispersion(dispersion.index, dispersion.window_s)


def tokens_of(tokens: TokensSettings) -> TokenLengths:
    return TokenLengths(tokens.share, tokens.input, tokens.output)


def class_of(one: ClassSettings) -> RequestClass:
    return RequestClass(one.name, one.share, one.work, tuple(objective.text for objective in one.slo))
