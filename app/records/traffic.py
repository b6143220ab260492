"""The traffic a plan is for: a peak, the share of it that each hour brings, and what disturbs that.

Rates are of requests as they come, before a cache has answered its share. Local hours are nominal: every day has 24.
"""

from __future__ import annotations

import datetime

import msgspec

from app.records.estimate import TokenSample


class RecurringSpike(msgspec.Struct, frozen=True):
    """`times` the usual rate for `duration_s` from `at_s` after midnight, on these days (0 is Monday)."""

    at_s: float
    duration_s: float
    times: float
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class Campaign(msgspec.Struct, frozen=True):
    """`times` the usual rate from the first day's midnight to the end of the last."""

    first: datetime.date
    last: datetime.date
    times: float


class Dispersion(msgspec.Struct, frozen=True):
    """`index` is variance over mean of the counts in windows of `window_s` at the peak's rate: 1 is Poisson's."""

    index: float = 1.0
    window_s: float = 60.0


class TokenLengths(msgspec.Struct, frozen=True):
    """Of this share of the requests; means, in tokens."""

    share: float
    input: float
    output: float


class RequestClass(msgspec.Struct, frozen=True):
    """`work` is what one costs a replica beside the mean request of work 1; an empty `slo` is that of the plan."""

    name: str
    share: float
    work: float = 1.0
    slo: tuple[str, ...] = ()


class TraceFacts(msgspec.Struct, frozen=True):
    """What a recorded trace is. None where it is too short or too even to tell.

    `index_1s` and its like are the dispersion in whole windows of that length; `peak_1s_per_s` is the highest rate over
    any second. `modulation_shape` is k of a gamma factor of mean 1, drawn each minute, that explains what varies inside
    the hours. Shares are of the busiest; `hourly_share` needs a day of trace and `weekly_share` seven.
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
    """The requests of a trace's busiest hour in order of arrival, one row each: arrival time, input and output tokens.

    Columns are little-endian arrays, which keeps a plan file small: `at_us` of unsigned 32-bit microseconds from the
    start of the window, the token columns of signed 32-bit integers, empty where the trace has none. `app.analysis.
    trace_rows` reads and writes them.
    """

    window_s: float
    """Length of the recorded window: an hour, or the whole trace where it is shorter."""
    at_us: bytes
    input_tokens: bytes = b""
    output_tokens: bytes = b""
    kept_share: float = 1.0
    """Share of the window's requests that have a row; less than 1 where there are more requests than rows allowed."""


class Traffic(msgspec.Struct, frozen=True):
    """`hourly_share` are 24 shares of the peak, from midnight; `growth_per_year` is a fraction.

    `weekly_share` are seven shares of the day's level, from Monday; `uncertainty` is one sigma of the peak as a share
    of it. Empty `tokens` and `classes`: nothing was said of them.
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
    trace: TraceFacts | None = None
    rows: TraceRows | None = None
    """What is replayed; None without a trace, and in a plan's answer, which repeats no rows."""
    token_sample: TokenSample | None = None
    """Joint lengths that are simulated where `tokens` are their means; None in a plan's answer, which repeats none."""
