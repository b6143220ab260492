"""The parts of `traffic` that have keys of their own, and how they become records."""

from __future__ import annotations

import datetime
import math
import re
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.settings import Count, Listed, Name, ObjectiveText, Rate, Settings, Share, SomeSeconds, Unit, at_most
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


ClockTime = Annotated[float, BeforeValidator(_read_clock_s), PlainSerializer(_clock), Unit("hh:mm")]
Day = Annotated[str, BeforeValidator(_read_day)]
Date = Annotated[
    datetime.date, BeforeValidator(_read_date), PlainSerializer(datetime.date.isoformat), Unit("yyyy-mm-dd")
]
Times = Annotated[float, Field(gt=0, le=_MOST_CHANGES)]
Tokens = Annotated[float, Field(ge=0, le=1e8)]


class SpikeSettings(Settings):
    """Recurring: `times` the usual rate for so long from `at`, on each of `days`."""

    at_s: ClockTime = Field(alias="at", examples=["12:00"])
    """When it begins, like 12:00."""
    duration_s: Annotated[SomeSeconds, at_most(86_400.0, format_duration)] = Field(alias="for", examples=["30m"])
    """How long it lasts, like 30m."""
    times: Times = Field(examples=[2])
    """How many times the usual rate, like 2."""
    days: Annotated[Listed[Day], Field(min_length=1)] = DAYS
    """On which days."""


class CampaignSettings(Settings):
    """`times` the usual rate on the days `from` to `to`, both among them."""

    first: Date = Field(alias="from", examples=["2026-11-27"])
    """The first day, like 2026-11-27."""
    last: Date = Field(alias="to", examples=["2026-11-30"])
    """The last day, like 2026-11-30."""
    times: Times = Field(examples=[3])
    """How many times the usual rate, like 3."""

    @model_validator(mode="after")
    def _goes_forward(self) -> Self:
        if self.last < self.first:
            raise BadValueError(f"it ends on {self.last}, before it begins")
        return self


class UsersSettings(Settings):
    """At the peak, `active` of the users make `requests` each."""

    count: Annotated[Count, at_most(10**12)] = Field(examples=[50000])
    """How many users there are, like 50000."""
    requests_per_s: Rate = Field(alias="requests", examples=["10/h"])
    """What each makes, like 10/h."""
    active: Annotated[Share, Field(gt=0)] = Field(default=1.0, examples=["20%"])
    """The share that is active at the peak, like 20%."""

    @property
    def peak_per_s(self) -> float:
        return self.count * self.active * self.requests_per_s


class DispersionSettings(Settings):
    """Variance over mean of the counts in windows so long, at the peak; 1 is Poisson."""

    index: Annotated[float, Field(ge=1, le=1e6)] = Field(default=1.0, examples=[3])
    """Variance over mean of the counts in windows; 1 is Poisson, like 3."""
    window_s: Annotated[SomeSeconds, Field(ge=1), at_most(3600.0, format_duration)] = Field(
        default=60.0,
        alias="window",
        examples=["60s"],
    )
    """How long those windows are, like 60s."""


class TokensSettings(Settings):
    """Mean lengths of this share of the requests."""

    share: Annotated[Share, Field(gt=0)] = Field(default=1.0, examples=["100%"])
    """The share of the requests that are so, like 100%."""
    input: Annotated[Tokens, Field(gt=0)] = Field(examples=[500])
    """Mean length of a request in tokens, like 500."""
    output: Tokens = Field(examples=[200])
    """Mean length of an answer in tokens, like 200."""


class ClassSettings(Settings):
    """Requests with work and an SLO of their own; `work` is beside the mean request of 1, no slo is the profile's."""

    name: Name = Field(examples=["premium"])
    """What the class is called, like premium."""
    share: Annotated[Share, Field(gt=0)] = Field(examples=["20%"])
    """Its share of the requests, like 20%."""
    work: Annotated[float, Field(gt=0, le=1e6)] = Field(default=1.0, examples=[2.5])
    """Its work beside the mean request of 1, like 2.5."""
    slo: Listed[ObjectiveText] = ()
    """Objectives of its own; none is the profile's."""


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
