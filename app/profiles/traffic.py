"""The traffic a plan is for: how much at the peak, and how days, weeks and years go up to it.

The parts of `traffic` that have keys of their own, and how they become records.
"""

from __future__ import annotations

import datetime
import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, model_validator

from app.analysis.traces import MODULATION_WINDOW_S
from app.errors import UsageError
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.settings import (
    MOST_PER_S,
    Count,
    ExistingFile,
    Growth,
    Listed,
    Name,
    ObjectiveText,
    Rate,
    Settings,
    Share,
    SomeSeconds,
    Unit,
    at_most,
    files_must_exist,
)
from app.profiles.traces import facts_of_trace, rows_of_trace
from app.profiles.units import format_duration
from app.records.traffic import (
    Campaign,
    Dispersion,
    RecurringSpike,
    RequestClass,
    TokenLengths,
    TraceFacts,
    TraceRows,
    Traffic,
)

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


Shape = Literal["workday", "evening", "flat"]
SHAPES: dict[Shape, tuple[float, ...]] = {
    "workday": (
        0.14, 0.11, 0.09, 0.09, 0.10, 0.14, 0.25, 0.46, 0.72, 0.92, 1.00, 0.98,
        0.88, 0.92, 0.99, 0.97, 0.90, 0.76, 0.60, 0.48, 0.40, 0.33, 0.26, 0.19,
    ),
    "evening": (
        0.42, 0.27, 0.18, 0.13, 0.11, 0.12, 0.16, 0.24, 0.32, 0.37, 0.41, 0.46,
        0.52, 0.52, 0.50, 0.52, 0.58, 0.67, 0.79, 0.91, 0.99, 1.00, 0.87, 0.64,
    ),
    "flat": (1.0,) * 24,
}  # fmt: skip
"""Our own typical days: the share of the peak in each hour from midnight."""


Week = Literal["even", "business"]
WEEKS: dict[Week, tuple[float, ...]] = {
    "even": (1.0,) * 7,
    "business": (1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.3),
}
"""The share of the day's level on each day from Monday."""
_TRACE = "trace"
_SOURCES = ("peak", "users", "trace")


def _read_shape(value: object) -> str | tuple[float, ...]:
    return _named_or_shares(value, (*SHAPES, _TRACE), 24, "shape")


def _read_week(value: object) -> str | tuple[float, ...]:
    return _named_or_shares(value, (*WEEKS, _TRACE), 7, "week")


def _named_or_shares(value: object, names: tuple[str, ...], count: int, what: str) -> str | tuple[float, ...]:
    if not isinstance(value, str):
        return read_shares(value, count, f"a {what}")
    if value not in names:
        hint = did_you_mean(value, names) or f"Write {', '.join(names)}, or {count} shares."
        raise BadValueError(f"unknown {what} {value!r}", hint=hint)
    return value


def _same(value: Any) -> Any:
    return value


class TrafficSettings(Settings):
    """One of `peak`, `users` and `trace` says how much comes; `peak` beside `trace` plans the trace at that level.

    `shape` and `week` may be names, or shares of the peak's hour and day; "trace" is what the trace shows of them, as
    far as it is long enough. Without `dispersion` requests are as bursty as the trace, or as Poisson's.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"how much comes": ("peak", "users", "trace")}

    peak_per_s: Rate | None = Field(default=None, alias="peak", examples=["900/s"])
    """Requests a second in the busiest hour, like 900/s."""
    users: UsersSettings | None = None
    """Users and what they do, in place of a rate."""
    trace: ExistingFile | None = None
    """A trace file that shows how much comes, and when."""
    shape: Annotated[str | tuple[float, ...], PlainValidator(_read_shape), PlainSerializer(_same)] = "workday"
    """The day's course: workday, evening, flat, trace, or a list of 24 shares of the peak hour."""
    week: Annotated[str | tuple[float, ...], PlainValidator(_read_week), PlainSerializer(_same)] = "even"
    """The week's course: even, business, trace, or a list of 7 shares of the busiest day."""
    growth_per_year: Growth = Field(default=0.0, alias="growth", examples=["20%/year"])
    """How much more comes each year, like 20%/year."""
    spikes: Annotated[Listed[SpikeSettings], Field(max_length=MOST_PARTS)] = ()
    """Recurring jumps, as at noon each day."""
    campaigns: Annotated[Listed[CampaignSettings], Field(max_length=MOST_PARTS)] = ()
    """Days with more traffic than usual."""
    uncertainty: Share = Field(default=0.0, examples=["10%"])
    """How far the forecast may be off, like 10%."""
    dispersion: Annotated[DispersionSettings | None, BeforeValidator(read_dispersion)] = None
    """How bursty requests are at the peak; without it as the trace, or as Poisson's."""
    cache_share: Annotated[Share, Field(lt=1)] = Field(default=0.0, alias="cache", examples=["20%"])
    """The share of requests that a cache answers, like 20%."""
    tokens: Annotated[Listed[TokensSettings], BeforeValidator(read_tokens), Field(max_length=MOST_PARTS)] = ()
    """Mean lengths of requests and answers in tokens, where a fleet of language models is planned."""
    classes: Annotated[Listed[ClassSettings], Field(max_length=MOST_PARTS)] = ()
    """Kinds of requests with work and an SLO of their own."""

    @model_validator(mode="before")
    @classmethod
    def _fills_in_what_a_trace_shows(cls, value: Any) -> Any:
        """Without a trace requests are Poisson's, which is printed back."""
        if not isinstance(value, dict):
            return value
        if value.get("trace") is None:
            return {**value, "dispersion": {} if value.get("dispersion") is None else value["dispersion"]}
        return {"shape": _TRACE, "week": _TRACE, **value}

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        given = [name for name, one in zip(_SOURCES, (self.peak_per_s, self.users, self.trace), strict=True) if one]
        if len(given) != 1 and given != ["peak", "trace"]:
            what = f"has {' and '.join(given)}" if given else "does not say how much comes"
            raise BadValueError(what, hint=f"Give exactly one of {', '.join(_SOURCES)}.")
        for key, one in (("shape", self.shape), ("week", self.week)):
            if one == _TRACE and self.trace is None:
                raise BadValueError(f"{key} is that of the trace, and there is none")
        if self.users is not None and self.users.peak_per_s > MOST_PER_S:
            raise BadValueError(f"users make {self.users.peak_per_s:,.0f} requests/s, more than {MOST_PER_S:,.0f}/s")
        return self

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        check_sum("tokens", tuple(one.share for one in self.tokens))
        check_sum("classes", tuple(one.share for one in self.classes))
        names = [one.name for one in self.classes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadValueError(f"two of classes are named {twice!r}")
        return self

    @model_validator(mode="after")
    def _can_be_read(self, info: ValidationInfo) -> Self:
        if self.trace is not None and files_must_exist(info):
            facts_of_trace(self.trace)
        return self


def traffic_of(settings: TrafficSettings) -> Traffic:
    """Reads the trace, where there is one; raises UsageError."""
    facts = _facts(settings.trace)
    peak_per_s = _peak_per_s(settings, facts)
    return Traffic(
        peak_per_s=peak_per_s,
        shape="custom" if isinstance(settings.shape, tuple) else settings.shape,
        hourly_share=_hourly_share(settings.shape, facts),
        growth_per_year=settings.growth_per_year,
        weekly_share=_weekly_share(settings.week, facts),
        spikes=tuple(spike_of(one) for one in settings.spikes),
        campaigns=tuple(campaign_of(one) for one in settings.campaigns),
        uncertainty=settings.uncertainty,
        dispersion=_dispersion(settings.dispersion, facts, peak_per_s),
        cache_share=settings.cache_share,
        tokens=tuple(tokens_of(one) for one in settings.tokens) or _tokens_of_trace(facts),
        classes=tuple(class_of(one) for one in settings.classes),
        trace=facts,
        rows=_rows(settings),
    )


def _facts(trace: Path | None) -> TraceFacts | None:
    try:
        return None if trace is None else facts_of_trace(trace)
    except BadValueError as error:
        raise UsageError(f"traffic.trace: {error}", hint=error.hint) from error


def _peak_per_s(settings: TrafficSettings, facts: TraceFacts | None) -> float:
    """The stated peak; of a trace alone its busiest hour's mean rate, or the mean of a shorter trace."""
    if settings.peak_per_s is not None:
        return settings.peak_per_s
    if facts is not None:
        return facts.peak_1h_per_s or facts.mean_per_s
    assert settings.users is not None
    return settings.users.peak_per_s


def _rows(settings: TrafficSettings) -> TraceRows | None:
    """Requests to replay: none where `dispersion` states the bursts, and without lengths where `tokens` states them."""
    if settings.trace is None or settings.dispersion is not None:
        return None
    rows = rows_of_trace(settings.trace)
    return msgspec.structs.replace(rows, input_tokens=b"", output_tokens=b"") if settings.tokens else rows


def _hourly_share(shape: str | tuple[float, ...], facts: TraceFacts | None) -> tuple[float, ...]:
    if isinstance(shape, tuple):
        return shape
    if shape == _TRACE:
        return (facts and facts.hourly_share) or SHAPES["flat"]
    return next(shares for name, shares in SHAPES.items() if name == shape)


def _weekly_share(week: str | tuple[float, ...], facts: TraceFacts | None) -> tuple[float, ...]:
    if isinstance(week, tuple):
        return week
    if week == _TRACE:
        return (facts and facts.weekly_share) or WEEKS["even"]
    return next(shares for name, shares in WEEKS.items() if name == week)


def _dispersion(said: DispersionSettings | None, facts: TraceFacts | None, peak_per_s: float) -> Dispersion:
    if said is not None:
        return dispersion_of(said)
    shape = None if facts is None else facts.modulation_shape
    window_s = MODULATION_WINDOW_S
    return Dispersion(1.0 if shape is None else 1.0 + peak_per_s * window_s / shape, window_s)


def _tokens_of_trace(facts: TraceFacts | None) -> tuple[TokenLengths, ...]:
    if facts is None or facts.mean_input_tokens is None or facts.mean_output_tokens is None:
        return ()
    return (TokenLengths(1.0, facts.mean_input_tokens, facts.mean_output_tokens),)
