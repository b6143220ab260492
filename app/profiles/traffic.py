"""The traffic a plan is for: how much at the peak, and how days, weeks and years go up to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, model_validator

from app.analysis.trace_facts import MODULATION_WINDOW_S
from app.errors import UsageError
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.settings import (
    MOST_PER_S,
    ExistingFile,
    Growth,
    Listed,
    Rate,
    Settings,
    Share,
    files_must_exist,
)
from app.profiles.traffic_parts import (
    MOST_PARTS,
    CampaignSettings,
    ClassSettings,
    DispersionSettings,
    SpikeSettings,
    TokensSettings,
    UsersSettings,
    campaign_of,
    check_sum,
    class_of,
    dispersion_of,
    read_dispersion,
    read_shares,
    read_tokens,
    spike_of,
    tokens_of,
)
from app.profiles.traffic_trace import facts_of_trace, rows_of_trace
from app.records.traffic import Dispersion, TokenLengths, TraceFacts, TraceRows, Traffic

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
