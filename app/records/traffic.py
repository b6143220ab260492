"""Traffic that a plan must serve: a peak rate, hourly and weekly profiles, spikes and campaigns.

Rates count incoming requests, before a cache serves any of them. Local hours are nominal: every day
has 24 hours.
"""

from __future__ import annotations

import datetime

import msgspec

from app.records.estimate import Count, TokenSample


class RecurringSpike(msgspec.Struct, frozen=True):
    """A recurring spike: `times` the usual rate for `duration_s` from `at_s` after midnight, on the
    given `days` (0 is Monday)."""

    at_s: float
    duration_s: float
    times: float
    days: tuple[Count, ...] = (0, 1, 2, 3, 4, 5, 6)


class Campaign(msgspec.Struct, frozen=True):
    """Date range with more traffic than usual: the rate is multiplied by `times` from the start of
    the day `first` to the end of the day `last`."""

    first: datetime.date
    last: datetime.date
    times: float


class Dispersion(msgspec.Struct, frozen=True):
    """Burstiness of arrivals. `index` is the index of dispersion: the variance-to-mean ratio of the
    arrival counts in windows of `window_s` seconds at the peak rate; 1 for a Poisson process."""

    index: float = 1.0
    window_s: float = 60.0


class TokenLengths(msgspec.Struct, frozen=True):
    """Mean input and output lengths, in tokens, of a fraction `share` of the requests."""

    share: float
    input: float
    output: float


class RequestClass(msgspec.Struct, frozen=True):
    """A class of requests. `work` is the cost of serving one request, relative to the mean over all
    requests. If `slo` is empty, the SLO of the plan applies."""

    name: str
    share: float
    work: float = 1.0
    slo: tuple[str, ...] = ()


class TraceStatistics(msgspec.Struct, frozen=True):
    """Statistics of a recorded trace. A field is None if the trace is too short or too uniform to
    estimate its value.

    `ca2` is the squared coefficient of variation of the interarrival times. `index_1s`, `index_10s`
    and `index_60s` are the indices of dispersion over windows of 1, 10 and 60 s; `peak_1s_per_s` is
    the highest rate in any second. `modulation_shape` is the shape k of a gamma factor with mean 1,
    drawn each minute, that explains the rate variation within hours. `hourly_share` is relative to
    the busiest hour and needs a trace of at least one day; `weekly_share` is relative to the
    busiest day and needs at least seven days. `prefix_hit_share` is the share of the prompt tokens
    that a prefix cache of unlimited capacity can serve, with the blocks of 16 tokens of vLLM; it
    needs hash IDs.
    """

    count: Count
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
    prefix_hit_share: float | None = None


class TraceRows(msgspec.Struct, frozen=True):
    """Requests of the busiest hour of a trace in order of arrival, with arrival time, input tokens
    and output tokens of each request.

    Columns are little-endian arrays, to keep plan files small: `at_us` holds unsigned 32-bit
    microseconds from the start of the window; the token columns hold signed 32-bit integers and are
    empty if the trace has no tokens. `app.analysis.traces` reads and writes the columns.
    """

    window_s: float
    """Length of the recorded window in s: one hour, or the length of a shorter trace."""
    at_us: bytes
    input_tokens: bytes = b""
    output_tokens: bytes = b""
    sampled_share: float = 1.0
    """Fraction of the window's requests that are stored; below 1 if the window has more requests
    than the maximum number of stored rows."""


class Traffic(msgspec.Struct, frozen=True):
    """Traffic of a plan. `hourly_share` holds the rate of each hour of the day, from midnight, as a
    fraction of the peak; `growth_per_year` is a fraction.

    `weekly_share` holds the level of each day of the week, from Monday, as a fraction;
    `uncertainty` is the standard deviation of the peak as a fraction of the peak. `tokens` and
    `classes` are empty if not specified.
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
    """Trace rows to replay. None without a trace, and in the result of a plan, which does not
    repeat the rows."""
    prefix_cached_share: float = 0.0
    """Fraction of the input tokens that the prefix cache of a replica is assumed to serve."""
    token_sample: TokenSample | None = None
    """Sample of the input and output lengths, in tokens, to simulate if `tokens` holds the means of
    a measurement. None in the result of a plan, which does not repeat the sample."""

    @property
    def mean_token_lengths(self) -> tuple[float, float] | None:
        """Mean input and output lengths of a request, in tokens; None if they are not specified."""
        total_share = sum(lengths.share for lengths in self.tokens)
        if not total_share:
            return None
        return (
            sum(lengths.share * lengths.input for lengths in self.tokens) / total_share,
            sum(lengths.share * lengths.output for lengths in self.tokens) / total_share,
        )
