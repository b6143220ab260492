"""Traffic that a plan must serve: a peak rate, its hourly profile, and deviations from it.

Rates are of incoming requests, before a cache serves its share. Local hours are nominal: every day has 24.
"""

from __future__ import annotations

import datetime

import msgspec

from app.records.estimate import TokenSample


class RecurringSpike(msgspec.Struct, frozen=True):
    """A recurring spike: `times` the usual rate for `duration_s` from `at_s` after midnight, on these days (0 is
    Monday)."""

    at_s: float
    duration_s: float
    times: float
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class Campaign(msgspec.Struct, frozen=True):
    """A campaign: `times` the usual rate from midnight of the first day to the end of the last."""

    first: datetime.date
    last: datetime.date
    times: float


class Dispersion(msgspec.Struct, frozen=True):
    """Burstiness of arrivals: `index` is the variance-to-mean ratio of the counts in windows of `window_s` at the peak
    rate; 1 is a Poisson process."""

    index: float = 1.0
    window_s: float = 60.0


class TokenLengths(msgspec.Struct, frozen=True):
    """Mean input and output lengths, in tokens, of a share of the requests."""

    share: float
    input: float
    output: float


class RequestClass(msgspec.Struct, frozen=True):
    """A class of requests. `work` is the cost of one request to a replica relative to the mean request, which has 1; an
    empty `slo` means the plan's SLO."""

    name: str
    share: float
    work: float = 1.0
    slo: tuple[str, ...] = ()


class TraceStatistics(msgspec.Struct, frozen=True):
    """Statistics of a recorded trace. A field is None if the trace is too short or too even to estimate it.

    `index_1s` and the like are the dispersion index over whole windows of that length; `peak_1s_per_s` is the highest
    rate over any second. `modulation_shape` is the shape k of a gamma factor with mean 1, drawn each minute, that
    explains the variation within the hours. Shares are relative to the busiest hour or day; `hourly_share` needs one
    day of trace and `weekly_share` seven.
    """

    count: int
    span_s: float
    mean_per_s: float
    peak_1s_per_s: float | None = None
    peak_60s_per_s: float | None = None
    peak_1h_per_s: float | None = None
    ca2: float | None = None
    index_1s: float | None = None
    index_10s: float | None = None
    index_60s: float | None = None
    modulation_shape: float | None = None
    hourly_share: tuple[float, ...] | None = None
    weekly_share: tuple[float, ...] | None = None
    mean_input_tokens: float | None = None
    mean_output_tokens: float | None = None


class TraceRows(msgspec.Struct, frozen=True):
    """Requests of a trace's busiest hour in order of arrival, one row each: arrival time, input and output tokens.

    Columns are little-endian arrays, which keeps a plan file small: `at_us` holds unsigned 32-bit microseconds from the
    start of the window, the token columns hold signed 32-bit integers and are empty if the trace has no tokens.
    `app.analysis.traces` reads and writes them.
    """

    window_s: float
    """Length of the recorded window in s: an hour, or the whole trace if it is shorter."""
    at_us: bytes
    input_tokens: bytes = b""
    output_tokens: bytes = b""
    sampled_share: float = 1.0
    """Share of the window's requests that have a row; less than 1 if there are more requests than rows allowed."""


class Traffic(msgspec.Struct, frozen=True):
    """Traffic of a plan. `hourly_share` holds 24 shares of the peak, from midnight; `growth_per_year` is a fraction.

    `weekly_share` holds seven shares of the day's level, from Monday; `uncertainty` is one standard deviation of the
    peak as a share of it. `tokens` and `classes` are empty if not specified.
    """

    peak_per_s: float
    shape: str
    hourly_share: tuple[float, ...]
    growth_per_year: float = 0.0
    weekly_share: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    spikes: tuple[RecurringSpike, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    uncertainty: float = 0.0
    dispersion: Dispersion = Dispersion()
    cache_share: float = 0.0
    tokens: tuple[TokenLengths, ...] = ()
    classes: tuple[RequestClass, ...] = ()
    trace: TraceStatistics | None = None
    rows: TraceRows | None = None
    """Trace rows to replay; None without a trace, and in a plan's result, which does not repeat them."""
    token_sample: TokenSample | None = None
    """Joint lengths to simulate when `tokens` holds their means; None in a plan's result, which does not repeat
    them."""
