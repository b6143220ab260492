"""Settings of the load in a profile: stages, a sweep and a search, and the number of worker
processes that send the load.

Each stage sends one kind of traffic for a limited time. A sweep runs the same stage at increasing
loads.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from app.analysis.number_format import format_number
from app.profiles import units
from app.profiles.problems import BadValueError
from app.profiles.rates import (
    MAX_STEPS,
    DiurnalSettings,
    RampSettings,
    RateCurve,
    RateOrShare,
    RateSpikeSettings,
    SineSettings,
    build_steps_curve,
    compute_expected_arrivals,
)
from app.profiles.settings import (
    Count,
    ExistingFile,
    Key,
    Listed,
    Name,
    NonNegativeRate,
    PositiveSeconds,
    Rate,
    ReadAs,
    Seconds,
    Settings,
    Unit,
    build_settings,
    files_must_exist,
    upper_bound,
)
from app.profiles.traces import Trace, read_trace
from app.records.result import StageKind
from app.records.search import ArrivalProcess, RateShare, SearchSpec

Repeats = Annotated[Count, upper_bound(1000)]
ArrivalCv = Annotated[float, Field(ge=0.01, le=100)]
Speed = Annotated[float, BeforeValidator(units.parse_speed), PlainSerializer(units.format_speed), Unit("x")]

MAX_ARRIVALS = 50_000_000
"""Maximum number of arrivals in a stage. The schedule of a stage is built before the stage starts.
At this maximum, its arrival times take 400 MB."""
_MAX_CLOSED_LOOP_S = 600.0
"""Maximum duration in s of closed-loop clients that have a number of requests and no duration."""
_FORMS = ("rate", "ramp", "steps", "spike", "sine", "diurnal", "trace", "concurrency")
_REQUIRED_FORMS = {"speed": "trace", "superpose": "trace", "think_time": "concurrency"}
_FORMS_WITHOUT_ARRIVALS = ("trace", "concurrency")
_FORMS_WITH_REQUESTS = ("rate", "concurrency")


class StageSettings(Settings):
    """A stage of the load.

    Exactly one of `rate`, `ramp`, `steps`, `spike`, `sine`, `diurnal`, `trace` and `concurrency`
    defines the traffic. `duration` excludes the `lead_in`. A trace without a duration is replayed
    to its end. A stage with `requests` ends after that many requests, or after `duration`. `cv` is
    the coefficient of variation of gamma interarrival times. A trace is replayed at `speed` times
    its recorded speed, as `superpose` time-shifted copies at once.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"load pattern": _FORMS}

    name: Name = Field(default="steady", examples=["steady"])
    """Name of the stage in results, such as steady."""
    arrivals: ArrivalProcess | None = None
    """Arrival process: random (poisson), evenly spaced (constant) or bursty (gamma)."""
    cv: ArrivalCv | None = None
    """Coefficient of variation of gamma interarrival times: 1 is Poisson, larger values are
    burstier."""
    rate_per_s: RateOrShare | None = Field(default=None, alias="rate", examples=["50/s"])
    """Requests per second, such as 50/s, or a share of an earlier stage's throughput, such as 80%
    of steady."""
    ramp: RampSettings | None = None
    """Ramp: a linear change from one rate to another."""
    steps_per_s: Listed[NonNegativeRate] = Field(default=(), alias="steps", examples=[["10/s", "20/s", "40/s"]])
    """Rates of consecutive parts of the stage, all of the same duration,
    such as 10/s, 20/s, 40/s."""
    spike: RateSpikeSettings | None = None
    """Spike in the request rate: a base rate that rises to a peak rate for a limited time."""
    sine: SineSettings | None = None
    """Request rate that follows a sine wave."""
    diurnal: DiurnalSettings | None = None
    """Rate profile of a whole day, compressed to the duration of the stage."""
    trace: ExistingFile | None = None
    """Trace file whose requests are replayed at the recorded times."""
    speed: Speed | None = Field(default=None, examples=["2x"])
    """Replay speed of the trace, such as 2x."""
    superpose: Annotated[Count, upper_bound(1000)] | None = Field(default=None, examples=[1])
    """Number of time-shifted copies of the trace that are replayed at once, such as 1."""
    concurrency: Annotated[Count, upper_bound(100_000)] | None = Field(default=None, examples=[8])
    """Number of closed-loop clients, such as 8. Each client sends one request after another."""
    think_s: Seconds | None = Field(default=None, alias="think_time", examples=["500ms"])
    """Think time: the pause of a client between a response and its next request, such as 500ms."""
    duration_s: PositiveSeconds | None = Field(default=None, alias="duration", examples=["30s"])
    """Duration of the stage without its lead-in, such as 30s. A trace without a duration is
    replayed to its end."""
    requests: Annotated[Count, upper_bound(MAX_ARRIVALS)] | None = Field(default=None, examples=[500])
    """Number of requests after which the stage ends, such as 500. Without a duration, closed-loop
    clients end after 10 minutes at the latest."""
    lead_in_s: Seconds = Field(default=0.0, alias="lead_in", examples=["2s"])
    """Duration of the lead-in before the stage, such as 2s. Requests of the lead-in are sent but
    not measured."""
    repeats: Repeats = Field(default=1, examples=[1])
    """Number of times that the stage is run, such as 1."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_form_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        form = next((form for form in _FORMS if value.get(form) not in (None, [])), None)
        if form == "trace":
            defaults: dict[str, Any] = {"speed": "1x", "superpose": 1}
        else:
            defaults = {"think_time": "0s"} if form == "concurrency" else {"arrivals": "poisson"}
        return {**value, **{key: default for key, default in defaults.items() if value.get(key) is None}}

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:
        if len(set_keys) != 1:
            problem = f"has {' and '.join(set_keys)}" if set_keys else "has no rate"
            raise BadValueError(f"stage {self.name} {problem}", hint=f"Set exactly one of {', '.join(forms)}.")

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        forms = [form for form in _FORMS if self._is_set(form)]
        for key, form in _REQUIRED_FORMS.items():
            if self._is_set(key) and form not in forms:
                raise BadValueError(f"stage {self.name}: {key} requires {form}")
        if forms[0] in _FORMS_WITHOUT_ARRIVALS and self.arrivals is not None:
            raise BadValueError(f"stage {self.name}: arrivals cannot be used with {forms[0]}")
        check_arrival_cv(self.arrivals, self.cv)
        if self.requests is not None:
            self._check_requests(forms[0])
        elif self.duration_s is None and self.trace is None:
            raise BadValueError(
                f"stage {self.name} has no duration", hint="Add one, such as duration: 30s, or requests: 500."
            )
        return self

    def _check_requests(self, form: str) -> None:
        if form not in _FORMS_WITH_REQUESTS:
            raise BadValueError(f"stage {self.name}: requests cannot be used with {form}", hint="Set duration instead.")
        if self.lead_in_s > 0:
            raise BadValueError(f"stage {self.name}: requests cannot be used with lead_in", hint="Remove one of them.")
        if isinstance(self.rate_per_s, RateShare) and self.duration_s is None:
            raise BadValueError(
                f"stage {self.name}: a rate relative to another stage needs a duration", hint="Add duration: 30s."
            )

    @model_validator(mode="after")
    def _check_size(self, info: ValidationInfo) -> Self:
        if len(self.steps_per_s) > MAX_STEPS:
            raise BadValueError(f"stage {self.name} has more than {MAX_STEPS:,} steps")
        if self.trace is not None and self.trace.is_file() and files_must_exist(info):
            expected_arrivals = float(len(self._check_trace(read_trace(self.trace)).at_s) * (self.superpose or 1))
        else:
            curve = self.curve
            expected_arrivals = compute_expected_arrivals(curve, self.max_duration_s, self.lead_in_s) if curve else 1.0
        if expected_arrivals == 0:
            raise BadValueError(f"stage {self.name} sends no requests: every rate is 0 req/s")
        if expected_arrivals > MAX_ARRIVALS:
            hint = f"The maximum per stage is {MAX_ARRIVALS:,} requests. Shorten the stage, or split it into several."
            raise BadValueError(f"stage {self.name} would send {expected_arrivals:.2g} requests", hint=hint)
        return self

    @property
    def curve(self) -> RateCurve | None:
        """Rate curve of open-loop arrivals; `None` if the profile does not determine the rate."""
        if isinstance(self.rate_per_s, float):
            return ((0.0, self.rate_per_s),)
        if self.steps_per_s:
            return build_steps_curve(self.steps_per_s, self.duration_s or 0.0)
        curve_settings = self.ramp or self.spike or self.sine or self.diurnal
        return None if curve_settings is None else curve_settings.build_curve(self.duration_s or 0.0)

    @property
    def max_duration_s(self) -> float:
        """Duration of the stage in s, or if only the number of requests is set, the time in which
        these requests are certain to arrive. A trace without a duration has 0 s.

        With gamma interarrival times of the coefficient of variation c, n requests arrive within
        (n + 6 c √n + 15 c²) / rate, except in one stage in a billion.
        """
        if self.duration_s is not None or self.requests is None:
            return self.duration_s or 0.0
        if not isinstance(self.rate_per_s, float):
            return _MAX_CLOSED_LOOP_S
        cv = {"constant": 0.0, "gamma": self.cv}.get(self.arrivals or "", 1.0) or 0.0
        return float((self.requests + 6 * cv * self.requests**0.5 + 15 * cv**2) / self.rate_per_s)

    @property
    def kind(self) -> StageKind:
        if self.concurrency is not None:
            return "closed"
        if self.spike is not None:
            return "spike"
        return "varying" if self.rate_per_s is None else "steady"

    def _is_set(self, key: str) -> bool:
        values_by_key = {"rate": self.rate_per_s, "steps": self.steps_per_s or None, "think_time": self.think_s}
        return values_by_key.get(key, getattr(self, key, None)) is not None

    def _check_trace(self, trace: Trace) -> Trace:
        trace_duration_s = float(trace.at_s[-1]) / (self.speed or 1.0)
        requested_duration_s = (self.duration_s or 0.0) + self.lead_in_s
        if trace_duration_s == 0:
            hint = "A replay needs requests at two different times, or a lower speed."
            raise BadValueError("the duration of the trace is 0", hint=hint)
        if self.duration_s is None and trace_duration_s <= self.lead_in_s:
            raise BadValueError(f"the trace is {trace_duration_s:.6g} s long, so no time remains after lead_in")
        if requested_duration_s > trace_duration_s and self.duration_s is not None:
            raise BadValueError(
                f"the trace is {trace_duration_s:.6g} s long at that speed, but lead_in and duration need "
                f"{requested_duration_s:.6g} s",
                hint="Remove duration to replay it to its end.",
            )
        return trace

    @model_serializer(mode="wrap")
    def _serialize_set_values(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None and value != []}


def check_arrival_cv(arrivals: str | None, cv: float | None) -> None:
    if (arrivals == "gamma") != (cv is not None):
        hint = "cv is the coefficient of variation of interarrival times: 1 is Poisson, larger values are burstier."
        raise BadValueError("arrivals: gamma and cv must be used together", hint=hint)


def check_shares(stages: tuple[StageSettings, ...]) -> None:
    """Check that a rate relative to another stage refers to an earlier stage. Raises BadValueError
    otherwise."""
    earlier_stage_names: list[str] = []
    for stage in stages:
        if isinstance(stage.rate_per_s, RateShare) and stage.rate_per_s.stage not in earlier_stage_names:
            names_text = ", ".join(earlier_stage_names)
            hint = f"Use one of the earlier stages: {names_text}." if names_text else "Use a rate such as 50/s."
            raise BadValueError(
                f"stage {stage.name} refers to {stage.rate_per_s.stage!r}, which is not an earlier stage",
                hint=hint,
            )
        earlier_stage_names.append(stage.name)


MAX_WORKERS = 1_000


def _parse_worker_count(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        hint = "Write auto, or a whole number of at least 1."
        raise BadValueError(f"{value!r} is not a valid number of workers", hint=hint)
    if value > MAX_WORKERS:
        raise BadValueError(f"{value:,} exceeds the maximum of {MAX_WORKERS:,} workers")
    return value


WorkerCount = Annotated[int | Literal["auto"], BeforeValidator(_parse_worker_count)]
"""Number of worker processes that send the load; `auto` means one worker per spare core."""


_MAX_LOADS = 100
_MAX_CLIENTS = 100_000
_DEFAULT_POINTS = 8

ClientCount = Annotated[Count, Field(ge=1), upper_bound(_MAX_CLIENTS)]


class SweepSettings(Settings):
    """A sweep over several loads.

    Exactly one of `rates`, `from` with `to`, `concurrency` and `max_concurrency` defines the loads.
    `from` and `to` define `points` rates, evenly spaced on a log scale. `max_concurrency` defines
    loads of 1, 2, 4 … clients up to that number. Each load is applied for `step_duration` and is
    run `repeats` times.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"loads": ("rates", "from+to", "concurrency", "max_concurrency")}

    rates_per_s: Listed[Rate] = Field(default=(), alias="rates", examples=[["10/s", "50/s", "200/s"]])
    """Rates of the sweep in ascending order, such as 10/s, 50/s, 200/s."""
    from_per_s: Rate | None = Field(default=None, alias="from", examples=["10/s"])
    """Lowest rate of the sweep, such as 10/s."""
    to_per_s: Rate | None = Field(default=None, alias="to", examples=["500/s"])
    """Highest rate of the sweep, such as 500/s."""
    points: Annotated[Count, Field(ge=2), upper_bound(_MAX_LOADS)] | None = Field(default=None, examples=[8])
    """Number of rates of the sweep, evenly spaced on a log scale from the lowest to the highest,
    such as 8."""
    concurrency: Listed[ClientCount] = Field(default=(), examples=[[1, 4, 16]])
    """Numbers of concurrent clients of the sweep in ascending order, such as 1, 4, 16."""
    max_concurrency: ClientCount | None = Field(default=None, examples=[64])
    """Highest number of concurrent clients, such as 64. The sweep runs 1, 2, 4 … clients up to this
    number."""
    arrivals: ArrivalProcess | None = None
    """Arrival process: random (poisson), evenly spaced (constant) or bursty (gamma)."""
    cv: ArrivalCv | None = None
    """Coefficient of variation of gamma interarrival times: 1 is Poisson, larger values are
    burstier."""
    step_duration_s: PositiveSeconds = Field(default=10.0, alias="step_duration", examples=["10s"])
    """Step duration: how long each load of the sweep is applied, such as 10s."""
    repeats: Repeats = Field(default=1, examples=[1])
    """Number of times that each load of the sweep is run, such as 1."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_form_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not {"rates", "from", "to"} & value.keys():
            return value
        default_points = (
            {"points": _DEFAULT_POINTS} if value.get("from") is not None and value.get("points") is None else {}
        )
        return {**value, **default_points, "arrivals": value.get("arrivals") or "poisson"}

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:
        set_forms = [form for form in forms if set(form.split("+")) & {*set_keys}]
        if len(set_forms) != 1:
            form_names = " and ".join(set_forms).replace("+", " and ")
            problem = f"{form_names} cannot be combined" if form_names else "the sweep has no loads"
            raise BadValueError(problem, hint=f"Set exactly one of {'; '.join(forms).replace('+', ' and ')}.")

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        has_range = self.from_per_s is not None or self.to_per_s is not None
        if has_range and (self.from_per_s is None or self.to_per_s is None):
            raise BadValueError("from and to must be used together", hint="Set both, such as from: 10/s, to: 500/s.")
        if self.from_per_s is not None and self.to_per_s is not None and self.from_per_s >= self.to_per_s:
            raise BadValueError("from must be lower than to", hint="Use values such as from: 10/s, to: 500/s.")
        if self.points is not None and not has_range:
            raise BadValueError("points requires from and to")
        if self.arrivals is not None and not self.swept_rates_per_s:
            raise BadValueError("arrivals cannot be used with concurrency")
        check_arrival_cv(self.arrivals, self.cv)
        return self

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        loads = (*self.swept_rates_per_s, *self.swept_concurrency)
        if len(loads) > _MAX_LOADS:
            raise BadValueError(f"the sweep has {len(loads)} loads, above the maximum of {_MAX_LOADS}")
        if any(next_load <= load for load, next_load in itertools.pairwise(loads)):
            raise BadValueError("the loads of a sweep must increase", hint="List the loads from low to high.")
        if self.swept_rates_per_s and self.swept_rates_per_s[-1] * self.step_duration_s > MAX_ARRIVALS:
            rate = units.format_rate(self.swept_rates_per_s[-1])
            duration = units.format_duration(self.step_duration_s)
            raise BadValueError(
                f"{rate} for {duration} would send too many requests",
                hint=f"The maximum per stage is {MAX_ARRIVALS:,} requests.",
            )
        return self

    @property
    def swept_rates_per_s(self) -> tuple[float, ...]:
        """Rates of the sweep in requests per second; empty for a sweep over numbers of clients."""
        if self.from_per_s is None or self.to_per_s is None:
            return self.rates_per_s
        return tuple(float(f"{rate:.4g}") for rate in np.geomspace(self.from_per_s, self.to_per_s, self.points or 2))

    @property
    def swept_concurrency(self) -> tuple[int, ...]:
        """Numbers of concurrent clients of the sweep; empty for a sweep over rates."""
        if self.max_concurrency is None:
            return self.concurrency
        powers_of_two = itertools.takewhile(
            lambda clients: clients < self.max_concurrency, (2**exponent for exponent in itertools.count())
        )
        return (*powers_of_two, self.max_concurrency)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the sweep's stages, by increasing load."""
        rates = (f"sweep {format_number(rate)} req/s" for rate in self.swept_rates_per_s)
        clients = (f"sweep {clients} client{'s' * (clients > 1)}" for clients in self.swept_concurrency)
        return (*rates, *clients)

    @model_serializer(mode="wrap")
    def _serialize_set_values(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None and value != []}


def _check_search(search: SearchSpec) -> None:
    check_arrival_cv(search.arrivals, search.cv)


SearchSettings = build_settings(
    SearchSpec,
    class_name="SearchSettings",
    arrivals=Key(ArrivalProcess, "Arrival process: random (poisson), evenly spaced (constant) or bursty (gamma)."),
    cv=Key(
        ArrivalCv | None,
        "Coefficient of variation of gamma interarrival times: 1 is Poisson, larger values are burstier.",
    ),
    start_per_s=Key(Rate, "Rate at which the search starts, such as 10/s.", "10/s", alias="start"),
    step_duration_s=Key(
        PositiveSeconds,
        "Step duration: how long each rate is applied, such as 10s. Longer steps make the results more reliable.",
        "10s",
        alias="step_duration",
    ),
    repeats=Key(Repeats, "Number of times that the resulting rate is measured again, such as 3.", 3),
    max_duration_s=Key(
        PositiveSeconds | None,
        "Time limit, after which the search ends with the rate confirmed so far, such as 5m. null removes the limit.",
        "5m",
        alias="max_duration",
    ),
)
SearchKeys = Annotated[SearchSpec, ReadAs(SearchSettings, _check_search)]
"""Search specification that a profile sets with the keys of `load.search`."""


class LoadSettings(Settings):
    """The load of a run: first the stages, then the sweep, then the search.

    `warmup` is the total duration of three warm-up windows. Warm-up windows are run until three
    consecutive windows agree, at most six in total. With 0s, there is no warm-up.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = {"batch": "batch is only for protocol openai-batch."}

    seed: Annotated[int, Field(ge=0), upper_bound(2**53 - 1)] = Field(default=7, examples=[7])
    """Seed of random arrivals and requests, such as 7. The same seed gives the same load."""
    warmup_s: Seconds = Field(default=2.0, alias="warmup", examples=["2s"])
    """Total duration of three warm-up windows, such as 2s. Up to six windows are run until three
    consecutive windows agree. 0s disables the warm-up."""
    workers: WorkerCount = "auto"
    """Number of worker processes on this machine that send the load: auto, or a number."""
    stages: Listed[StageSettings] = Field(
        default=(), examples=[[{"name": "steady", "rate": "50/s", "duration": "30s"}]]
    )
    """Stages that run one after another, each with its own kind of traffic."""
    sweep: SweepSettings | None = None
    """Sweep that runs the same stage at increasing loads."""
    search: SearchKeys | None = None
    """Search for the highest rate that meets the SLO."""

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if not self.stages and self.sweep is None and self.search is None:
            raise BadValueError("load needs stages, a sweep or a search")
        names = [stage.name for stage in self.stages]
        duplicate = next((name for name in names if names.count(name) > 1), None)
        if duplicate is not None:
            raise BadValueError(f"two load stages are named {duplicate!r}", hint="Use a different name for each stage.")
        check_shares(self.stages)
        return self


class BatchSettings(Settings):
    """A job of the Batch API, which ends when all its requests have been processed.

    The status is requested every `poll`. A job that has not ended after `timeout` is canceled.
    """

    requests: Annotated[Count, upper_bound(50_000)] | None = Field(default=None, examples=[1000])
    """Number of requests of the job, such as 1000. Leave it empty to send each prompt once."""
    poll_s: Annotated[PositiveSeconds, Field(ge=0.1), upper_bound(600)] = Field(
        default=10.0, alias="poll", examples=["10s"]
    )
    """Time between two requests for the status of the job, such as 10s."""
    timeout_s: Annotated[PositiveSeconds, upper_bound(604_800)] = Field(
        default=86_400.0, alias="timeout", examples=["24h"]
    )
    """Maximum duration of the job, such as 24h. The job is then canceled, and its completed requests
    are kept."""


class BatchLoadSettings(LoadSettings):
    """The load of a run against the Batch API: a single job, which has no stages."""

    misplaced_key_hints: ClassVar[dict[str, str]] = {}
    batch: BatchSettings = BatchSettings()
    """Job of the Batch API."""

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if self.stages or self.sweep is not None or self.search is not None:
            hint = "Set load.batch, or use openai-chat for requests at a rate."
            raise BadValueError("a batch has no stages, sweep or search", hint=hint)
        if self.workers not in ("auto", 1):
            raise BadValueError(f"load.workers is {self.workers}, but a batch is a single job", hint="Remove it.")
        return self
