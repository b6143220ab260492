"""The traffic for which a fleet is planned: its peak, and how it varies over days, weeks and years.

The module contains the settings of `traffic` in a profile and converts them to records.
"""

from __future__ import annotations

import datetime
import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from app.analysis.traces import MODULATION_WINDOW_S
from app.errors import UsageError
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.settings import (
    MAX_PER_S,
    Count,
    ExistingFile,
    Growth,
    Key,
    Listed,
    Name,
    ObjectiveLine,
    PositiveSeconds,
    Rate,
    ReadAs,
    Settings,
    Share,
    Unit,
    WrittenAs,
    build_settings,
    files_must_exist,
    upper_bound,
)
from app.profiles.traces import read_trace_rows, read_trace_statistics
from app.profiles.units import format_duration
from app.records.traffic import (
    Campaign,
    Dispersion,
    RecurringSpike,
    RequestClass,
    TokenLengths,
    TraceRows,
    TraceStatistics,
    Traffic,
)

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_SUM_TOLERANCE = 1e-6
MAX_ENTRIES = 100
_MAX_FACTOR = 1000.0


def _parse_clock_s(value: object) -> float:
    match = _CLOCK_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValueError(f"{value!r} is not a time of day", hint='Use a value such as "12:00".')
    return 3600.0 * int(match[1]) + 60.0 * int(match[2])


def _format_clock(time_s: float) -> str:
    return f"{int(time_s // 3600):02}:{int(time_s // 60 % 60):02}"


def _parse_weekday(value: object) -> str:
    if not isinstance(value, str) or value not in WEEKDAYS:
        suggestion = did_you_mean(value, WEEKDAYS) if isinstance(value, str) else None
        raise BadValueError(f"{value!r} is not a valid day", hint=suggestion or f"Use one of {', '.join(WEEKDAYS)}.")
    return value


def _parse_date(value: object) -> datetime.date:
    try:
        return datetime.datetime.strptime(str(value), "%Y-%m-%d").date()  # noqa: DTZ007 - a date has no zone
    except ValueError as error:
        raise BadValueError(f"{value!r} is not a date", hint="Use a value such as 2026-11-27.") from error


ClockTime = Annotated[float, BeforeValidator(_parse_clock_s), PlainSerializer(_format_clock), Unit("hh:mm")]
Weekday = Annotated[str, BeforeValidator(_parse_weekday)]
Date = Annotated[
    datetime.date, BeforeValidator(_parse_date), PlainSerializer(datetime.date.isoformat), Unit("yyyy-mm-dd")
]
Multiplier = Annotated[float, Field(gt=0, le=_MAX_FACTOR)]
TokenCount = Annotated[float, Field(ge=0, le=1e8)]


def _sort_unique_weekdays(days: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(days)))


Weekdays = Annotated[
    tuple[Annotated[int, WrittenAs(Weekday, WEEKDAYS.index, WEEKDAYS.__getitem__)], ...],
    Field(strict=False, min_length=1),
    AfterValidator(_sort_unique_weekdays),
]
"""Days of the week as numbers, with Monday as 0. In a profile, the days are names."""

SpikeSettings = build_settings(
    RecurringSpike,
    class_name="SpikeSettings",
    at_s=Key(ClockTime, "Time of day at which the spike starts, such as 12:00.", "12:00", alias="at"),
    duration_s=Key(
        Annotated[PositiveSeconds, upper_bound(86_400.0, format_duration)],
        "Duration of the spike, such as 30m.",
        "30m",
        alias="for",
    ),
    times=Key(Multiplier, "Factor by which the usual rate is multiplied, such as 2.", 2),
    days=Key(Weekdays, "Days of the week on which the spike occurs."),
)


class CampaignSettings(Settings):
    """A campaign: traffic at `times` the usual rate on all days from `from` to `to`, inclusive."""

    first: Date = Field(alias="from", examples=["2026-11-27"])
    """First day of the campaign, such as 2026-11-27."""
    last: Date = Field(alias="to", examples=["2026-11-30"])
    """Last day of the campaign, such as 2026-11-30."""
    times: Multiplier = Field(examples=[3])
    """Factor by which the usual rate is multiplied during the campaign, such as 3."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.last < self.first:
            raise BadValueError(f"the campaign ends on {self.last}, before it starts")
        return self


class UsersSettings(Settings):
    """Users who generate the traffic. At the peak, the fraction `active` of the users is active,
    and each active user sends requests at the rate `requests`."""

    count: Annotated[Count, upper_bound(10**12)] = Field(examples=[50000])
    """Number of users, such as 50000."""
    requests_per_s: Rate = Field(alias="requests", examples=["10/h"])
    """Request rate of one active user, such as 10/h."""
    active: Annotated[Share, Field(gt=0)] = Field(default=1.0, examples=["20%"])
    """Share of the users who are active at the peak, such as 20%."""

    @property
    def peak_per_s(self) -> float:
        return self.count * self.active * self.requests_per_s


class DispersionSettings(Settings):
    """Burstiness at the peak: the index of dispersion (variance divided by mean) of the request
    counts in windows of a given length. The index of a Poisson process is 1."""

    index: Annotated[float, Field(ge=1, le=1e6)] = Field(default=1.0, examples=[3])
    """Index of dispersion: variance divided by mean of the request counts per window, such as 3.
    The index of a Poisson process is 1; larger values are burstier."""
    window_s: Annotated[PositiveSeconds, Field(ge=1), upper_bound(3600.0, format_duration)] = Field(
        default=60.0,
        alias="window",
        examples=["60s"],
    )
    """Length of the windows in which requests are counted, such as 60s."""


class TokensSettings(Settings):
    """Mean token counts of a part of the requests."""

    share: Annotated[Share, Field(gt=0)] = Field(default=1.0, examples=["100%"])
    """Share of the requests to which the mean token counts apply, such as 100%."""
    input: Annotated[TokenCount, Field(gt=0)] = Field(examples=[500])
    """Mean number of input tokens per request, such as 500."""
    output: TokenCount = Field(examples=[200])
    """Mean number of output tokens per response, such as 200."""


ClassSettings = build_settings(
    RequestClass,
    class_name="ClassSettings",
    name=Key(Name, "Name of the class, such as premium.", "premium"),
    share=Key(Annotated[Share, Field(gt=0)], "Share of the requests that belong to this class, such as 20%.", "20%"),
    work=Key(
        Annotated[float, Field(gt=0, le=1e6)],
        "Cost of serving a request of this class, relative to the mean of all requests, such as 2.5.",
        2.5,
    ),
    slo=Key(Listed[ObjectiveLine], "Objectives of this class. Without any, the SLO of the profile applies."),
)


def parse_shares(value: object, count: int, name: str) -> tuple[float, ...]:
    """Return a list of `count` numbers as a tuple. Raises BadValueError if a number is not from 0
    to 1, or if the maximum is not 1."""
    if not isinstance(value, list | tuple) or len(value) != count:
        actual_count_text = f"{len(value)}" if isinstance(value, list | tuple) else f"{value!r:.60}"
        raise BadValueError(f"{name} needs {count} shares, not {actual_count_text}")
    for share in value:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise BadValueError(f"{share!r:.60} is not a share from 0 to 1", hint="Write 40 % of the peak as 0.4.")
    if max(value) != 1:
        raise BadValueError(
            f"the largest share of {name} is {max(value)}, but must be 1, because shares are relative to the peak",
            hint="Divide all shares by the largest.",
        )
    return tuple(float(share) for share in value)


def parse_dispersion(value: Any) -> Any:
    """Convert a number to a mapping of dispersion settings with the number as the index of
    dispersion. Other values are returned unchanged."""
    return {"index": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


def parse_tokens(value: Any) -> Any:
    """Return a single mapping as a list with one item. Other values are returned unchanged."""
    return [value] if isinstance(value, dict) else value


def check_total_share(name: str, shares: tuple[float, ...]) -> None:
    if shares and not math.isclose(sum(shares), 1.0, abs_tol=_SUM_TOLERANCE):
        raise BadValueError(f"the shares of {name} add up to {100 * sum(shares):.6g}%, not 100%")


def build_campaign(campaign: CampaignSettings) -> Campaign:
    return Campaign(campaign.first, campaign.last, campaign.times)


def build_dispersion(dispersion: DispersionSettings) -> Dispersion:
    return Dispersion(dispersion.index, dispersion.window_s)


def build_token_lengths(settings: TokensSettings) -> TokenLengths:
    return TokenLengths(settings.share, settings.input, settings.output)


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
"""Built-in shapes of a typical day: the rate in each hour from midnight, as a fraction of the peak
rate."""


Week = Literal["even", "business"]
WEEKS: dict[Week, tuple[float, ...]] = {
    "even": (1.0,) * 7,
    "business": (1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.3),
}
"""Built-in shapes of a typical week: the traffic on each day from Monday, as a fraction of the
traffic on the busiest day."""
PREFIX_OF_MEASUREMENT = (
    "traffic.prefix_cached does not change a plan of measurements, which have their own share of cached tokens"
)
PREFIX_OF_MEASUREMENT_HINT = "Remove it, or plan a language model that was not measured with --model NAME."
_TRACE = "trace"
_SOURCES = ("peak", "users", "trace")


def _parse_shape(value: object) -> str | tuple[float, ...]:
    return _parse_name_or_shares(value, (*SHAPES, _TRACE), 24, "shape")


def _parse_week(value: object) -> str | tuple[float, ...]:
    return _parse_name_or_shares(value, (*WEEKS, _TRACE), 7, "week")


def _parse_name_or_shares(value: object, names: tuple[str, ...], count: int, kind: str) -> str | tuple[float, ...]:
    if not isinstance(value, str):
        return parse_shares(value, count, f"a {kind}")
    if value not in names:
        hint = did_you_mean(value, names) or f"Write {', '.join(names)}, or {count} shares."
        raise BadValueError(f"the {kind} {value!r} is unknown", hint=hint)
    return value


def _return_unchanged(value: Any) -> Any:
    return value


class TrafficSettings(Settings):
    """The traffic for which a fleet is planned.

    `peak`, `users` or `trace` defines the amount of traffic. With both `peak` and `trace`, the
    trace is scaled to the peak. `shape` and `week` are names, or fractions of the traffic in the
    busiest hour and on the busiest day. With the value "trace", `shape` and `week` are derived from
    the trace, if the trace is long enough. Without `dispersion`, requests are as bursty as the
    trace, or Poisson if there is no trace.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"traffic source": _SOURCES}

    peak_per_s: Rate | None = Field(default=None, alias="peak", examples=["900/s"])
    """Request rate in the busiest hour, such as 900/s."""
    users: UsersSettings | None = None
    """Number of users and their request rate, instead of a peak rate."""
    trace: ExistingFile | None = None
    """Trace file that defines the amount and the timing of the traffic."""
    shape: Annotated[str | tuple[float, ...], PlainValidator(_parse_shape), PlainSerializer(_return_unchanged)] = (
        "workday"
    )
    """Hourly shape of the day: workday, evening, flat, trace, or a list of 24 shares of the peak
    rate."""
    week: Annotated[str | tuple[float, ...], PlainValidator(_parse_week), PlainSerializer(_return_unchanged)] = "even"
    """Daily shape of the week: even, business, trace, or a list of 7 shares of the traffic on the
    busiest day."""
    growth_per_year: Growth = Field(default=0.0, alias="growth", examples=["20%/year"])
    """Traffic growth per year, such as 20%/year."""
    spikes: Annotated[Listed[Annotated[RecurringSpike, ReadAs(SpikeSettings)]], Field(max_length=MAX_ENTRIES)] = ()
    """Recurring spikes, for example one at noon every day."""
    campaigns: Annotated[Listed[CampaignSettings], Field(max_length=MAX_ENTRIES)] = ()
    """Campaigns: date ranges with more traffic than usual."""
    uncertainty: Share = Field(default=0.0, examples=["10%"])
    """Uncertainty of the traffic forecast, such as 10%."""
    dispersion: Annotated[DispersionSettings | None, BeforeValidator(parse_dispersion)] = None
    """Burstiness at the peak. Without it, requests are as bursty as the trace, or Poisson if there
    is no trace."""
    cache_share: Annotated[Share, Field(lt=1)] = Field(default=0.0, alias="cache", examples=["20%"])
    """Cache hit rate: the share of requests that a cache serves, such as 20%."""
    prefix_cached_share: Annotated[Share, Field(lt=1)] = Field(default=0.0, alias="prefix_cached", examples=["60%"])
    """Share of the input tokens that the prefix cache of a replica serves, such as 60%, to plan a
    fleet of a language model that was not measured."""
    tokens: Annotated[Listed[TokensSettings], BeforeValidator(parse_tokens), Field(max_length=MAX_ENTRIES)] = ()
    """Mean token counts of requests and responses, to plan a fleet of language models."""
    classes: Annotated[Listed[Annotated[RequestClass, ReadAs(ClassSettings)]], Field(max_length=MAX_ENTRIES)] = ()
    """Classes of requests, each with a share of the requests, an amount of work and an optional
    SLO."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_trace_defaults(cls, value: Any) -> Any:
        """Fill in the defaults that depend on whether there is a trace.

        Without a trace, the default is Poisson arrivals. This default is filled in so that the
        printed profile shows it.
        """
        if not isinstance(value, dict):
            return value
        if value.get("trace") is None:
            return {**value, "dispersion": {} if value.get("dispersion") is None else value["dispersion"]}
        return {"shape": _TRACE, "week": _TRACE, **value}

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:
        if len(set_keys) != 1 and set_keys != ("peak", "trace"):  # a peak is the level of the trace
            problem = f"{' and '.join(set_keys)} cannot be combined" if set_keys else "no source of traffic is set"
            raise BadValueError(problem, hint=f"Set exactly one of {', '.join(forms)}.")

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        for key, value in (("shape", self.shape), ("week", self.week)):
            if value == _TRACE and self.trace is None:
                raise BadValueError(f"{key} requires a trace")
        if self.users is not None and self.users.peak_per_s > MAX_PER_S:
            raise BadValueError(
                f"users generate {self.users.peak_per_s:,.0f} req/s, above the maximum of {MAX_PER_S:,.0f} req/s"
            )
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        check_total_share("tokens", tuple(token_settings.share for token_settings in self.tokens))
        check_total_share("classes", tuple(request_class.share for request_class in self.classes))
        names = [request_class.name for request_class in self.classes]
        duplicate = next((name for name in names if names.count(name) > 1), None)
        if duplicate is not None:
            raise BadValueError(
                f"two traffic classes are named {duplicate!r}", hint="Use a different name for each class."
            )
        return self

    @model_validator(mode="after")
    def _check_trace(self, info: ValidationInfo) -> Self:
        if self.trace is not None and files_must_exist(info):
            read_trace_statistics(self.trace)
        return self


def build_traffic(settings: TrafficSettings) -> Traffic:
    """Convert traffic settings to the record that planning uses. Reads the trace if there is one.
    Raises UsageError if the trace cannot be used."""
    statistics = _read_statistics(settings.trace)
    peak_per_s = _compute_peak_per_s(settings, statistics)
    return Traffic(
        peak_per_s=peak_per_s,
        shape="custom" if isinstance(settings.shape, tuple) else settings.shape,
        hourly_share=_get_hourly_share(settings.shape, statistics),
        growth_per_year=settings.growth_per_year,
        weekly_share=_get_weekly_share(settings.week, statistics),
        spikes=settings.spikes,
        campaigns=tuple(build_campaign(campaign) for campaign in settings.campaigns),
        uncertainty=settings.uncertainty,
        dispersion=_build_traffic_dispersion(settings.dispersion, statistics, peak_per_s),
        cache_share=settings.cache_share,
        prefix_cached_share=settings.prefix_cached_share,
        tokens=tuple(build_token_lengths(token_settings) for token_settings in settings.tokens)
        or _build_trace_token_lengths(statistics),
        classes=settings.classes,
        trace=statistics,
        rows=_read_rows(settings),
    )


def _read_statistics(trace: Path | None) -> TraceStatistics | None:
    try:
        return None if trace is None else read_trace_statistics(trace)
    except BadValueError as error:
        raise UsageError(f"traffic.trace: {error}", hint=error.hint) from error


def _compute_peak_per_s(settings: TrafficSettings, statistics: TraceStatistics | None) -> float:
    """Return the peak rate in requests per second: the peak in the settings, or the rate of all
    active users.

    For a trace without a stated peak, the peak is the mean rate of the busiest hour. If the trace
    is shorter than an hour, the peak is its mean rate.
    """
    if settings.peak_per_s is not None:
        return settings.peak_per_s
    if statistics is not None:
        return statistics.peak_1h_per_s or statistics.mean_per_s
    assert settings.users is not None
    return settings.users.peak_per_s


def _read_rows(settings: TrafficSettings) -> TraceRows | None:
    """Return the requests of the trace that a plan replays.

    Return `None` if there is no trace, or if `dispersion` sets the burstiness. If `tokens` sets the
    token counts, the token counts of the trace are omitted.
    """
    if settings.trace is None or settings.dispersion is not None:
        return None
    rows = read_trace_rows(settings.trace)
    return msgspec.structs.replace(rows, input_tokens=b"", output_tokens=b"") if settings.tokens else rows


def _get_hourly_share(shape: str | tuple[float, ...], statistics: TraceStatistics | None) -> tuple[float, ...]:
    if isinstance(shape, tuple):
        return shape
    if shape == _TRACE:
        return (statistics and statistics.hourly_share) or SHAPES["flat"]
    return next(shares for name, shares in SHAPES.items() if name == shape)


def _get_weekly_share(week: str | tuple[float, ...], statistics: TraceStatistics | None) -> tuple[float, ...]:
    if isinstance(week, tuple):
        return week
    if week == _TRACE:
        return (statistics and statistics.weekly_share) or WEEKS["even"]
    return next(shares for name, shares in WEEKS.items() if name == week)


def _build_traffic_dispersion(
    settings: DispersionSettings | None, statistics: TraceStatistics | None, peak_per_s: float
) -> Dispersion:
    if settings is not None:
        return build_dispersion(settings)
    shape = None if statistics is None else statistics.modulation_shape
    window_s = MODULATION_WINDOW_S
    return Dispersion(1.0 if shape is None else 1.0 + peak_per_s * window_s / shape, window_s)


def _build_trace_token_lengths(statistics: TraceStatistics | None) -> tuple[TokenLengths, ...]:
    if statistics is None or statistics.mean_input_tokens is None or statistics.mean_output_tokens is None:
        return ()
    return (TokenLengths(1.0, statistics.mean_input_tokens, statistics.mean_output_tokens),)
