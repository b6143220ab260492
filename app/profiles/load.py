"""How the target is loaded: stages, a sweep, a search.

The stages of a load: each has one form of traffic, for a time.

How many processes of this machine send the load.

A sweep: the same stage at one load after another, from light to heavy.
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

from app.analysis.digits import digits
from app.profiles import units
from app.profiles.problems import BadValueError
from app.profiles.rates import (
    MOST_STEPS,
    Curve,
    DiurnalSettings,
    RampSettings,
    RateOrShare,
    RateSpikeSettings,
    ShareOfStage,
    SineSettings,
    arrivals_of,
    steps_curve,
)
from app.profiles.settings import (
    Count,
    ExistingFile,
    Listed,
    Name,
    Rate,
    Seconds,
    Settings,
    SomeRate,
    SomeSeconds,
    Unit,
    at_most,
    files_must_exist,
)
from app.profiles.traces import Trace, read_trace
from app.records.result import StageKind

Arrivals = Literal["poisson", "constant", "gamma"]
Repeats = Annotated[Count, at_most(1000)]
Burstiness = Annotated[float, Field(ge=0.01, le=100)]
Speed = Annotated[float, BeforeValidator(units.parse_speed), PlainSerializer(units.format_speed), Unit("x")]

MOST_ARRIVALS = 50_000_000
"""A schedule is laid out before its stage: 400 MB of times."""
_FORMS = ("rate", "ramp", "steps", "spike", "sine", "diurnal", "trace", "concurrency")
_FORM_OF = {"speed": "trace", "superpose": "trace", "think": "concurrency"}
_WITHOUT_PROCESS = ("trace", "concurrency")


class StageSettings(Settings):
    """One of `rate`, `ramp`, `steps`, `spike`, `sine`, `diurnal`, `trace` and `concurrency` says what comes.

    `duration` is of the whole stage, after `lead_in`; a trace without one is replayed to its end. `burstiness` is the
    coefficient of variation of gamma's gaps. A trace goes `speed` times as fast, `superpose` shifted copies at once.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"what comes": _FORMS}

    name: Name = Field(default="steady", examples=["steady"])
    """What the stage is called in results, like steady."""
    arrivals: Arrivals | None = None
    """How requests come: at random (poisson), evenly (constant) or in bursts (gamma)."""
    burstiness: Burstiness | None = None
    """Coefficient of variation of gamma's gaps: 1 is Poisson, more is burstier."""
    rate_per_s: RateOrShare | None = Field(default=None, alias="rate", examples=["50/s"])
    """Requests a second, like 50/s; or of an earlier stage's, like 80% of steady."""
    ramp: RampSettings | None = None
    """From one rate to another in a straight line."""
    steps_per_s: Listed[SomeRate] = Field(default=(), alias="steps", examples=[["10/s", "20/s", "40/s"]])
    """Rates for equal parts of the stage, like 10/s, 20/s, 40/s."""
    spike: RateSpikeSettings | None = None
    """A rate with a jump in it."""
    sine: SineSettings | None = None
    """A rate that swings."""
    diurnal: DiurnalSettings | None = None
    """A day played in the time of the stage."""
    trace: ExistingFile | None = None
    """A trace file whose requests are replayed at their times."""
    speed: Speed | None = Field(default=None, examples=["2x"])
    """How much faster the trace goes, like 2x."""
    superpose: Annotated[Count, at_most(1000)] | None = Field(default=None, examples=[1])
    """How many shifted copies of the trace go at once, like 1."""
    concurrency: Annotated[Count, at_most(100_000)] | None = Field(default=None, examples=[8])
    """How many clients ask one request after another, like 8."""
    think_s: Seconds | None = Field(default=None, alias="think", examples=["500ms"])
    """How long a client waits between requests, like 500ms."""
    duration_s: SomeSeconds | None = Field(default=None, alias="duration", examples=["30s"])
    """How long the whole stage lasts, after its lead-in, like 30s; a trace without one goes to its end."""
    lead_in_s: Seconds = Field(default=0.0, alias="lead_in", examples=["2s"])
    """Load before the stage that is not counted, like 2s."""
    repeats: Repeats = Field(default=1, examples=[1])
    """How often the stage is run, like 1."""

    @model_validator(mode="before")
    @classmethod
    def _fills_in_what_the_form_has(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        form = next((form for form in _FORMS if value.get(form) not in (None, [])), None)
        if form == "trace":
            defaults: dict[str, Any] = {"speed": "1x", "superpose": 1}
        else:
            defaults = {"think": "0s"} if form == "concurrency" else {"arrivals": "poisson"}
        return {**value, **{key: given for key, given in defaults.items() if value.get(key) is None}}

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        given = [form for form in _FORMS if self._given(form)]
        if len(given) != 1:
            what = f"has {' and '.join(given)}" if given else "says no rate"
            raise BadValueError(f"stage {self.name} {what}", hint=f"Give exactly one of {', '.join(_FORMS)}.")
        for key, form in _FORM_OF.items():
            if self._given(key) and form not in given:
                raise BadValueError(f"stage {self.name}: {key} goes with {form}")
        if given[0] in _WITHOUT_PROCESS and self.arrivals is not None:
            raise BadValueError(f"stage {self.name}: {given[0]} decides the arrivals, so arrivals cannot be given")
        check_burstiness(self.arrivals, self.burstiness)
        if self.duration_s is None and self.trace is None:
            raise BadValueError(f"stage {self.name} lacks duration", hint="Write it like duration: 30s.")
        return self

    @model_validator(mode="after")
    def _can_be_played(self, info: ValidationInfo) -> Self:
        if len(self.steps_per_s) > MOST_STEPS:
            raise BadValueError(f"stage {self.name} has more than {MOST_STEPS:,} steps")
        if self.trace is not None and self.trace.is_file() and files_must_exist(info):
            expected = float(len(self._check_trace(read_trace(self.trace)).at_s) * (self.superpose or 1))
        else:
            curve = self.curve
            expected = arrivals_of(curve, self.duration_s or 0.0, self.lead_in_s) if curve else 1.0
        if expected == 0:
            raise BadValueError(f"stage {self.name} sends nothing: every rate is 0/s")
        if expected > MOST_ARRIVALS:
            hint = f"A stage may have {MOST_ARRIVALS:,} of them: make it shorter, or several stages of it."
            raise BadValueError(f"stage {self.name} asks for {expected:.2g} requests", hint=hint)
        return self

    @property
    def curve(self) -> Curve | None:
        """Of open arrivals whose rate the profile knows."""
        if isinstance(self.rate_per_s, float):
            return ((0.0, self.rate_per_s),)
        if self.steps_per_s:
            return steps_curve(self.steps_per_s, self.duration_s or 0.0)
        shape = self.ramp or self.spike or self.sine or self.diurnal
        return None if shape is None else shape.curve(self.duration_s or 0.0)

    @property
    def kind(self) -> StageKind:
        if self.concurrency is not None:
            return "closed"
        if self.spike is not None:
            return "spike"
        return "varying" if self.rate_per_s is None else "steady"

    def _given(self, key: str) -> bool:
        values = {"rate": self.rate_per_s, "steps": self.steps_per_s or None, "think": self.think_s}
        return values.get(key, getattr(self, key, None)) is not None

    def _check_trace(self, trace: Trace) -> Trace:
        lasts_s = float(trace.at_s[-1]) / (self.speed or 1.0)
        asked_s = (self.duration_s or 0.0) + self.lead_in_s
        if lasts_s == 0:
            hint = "A replay needs requests at two different times, or its speed is too high."
            raise BadValueError("the trace lasts no time at all", hint=hint)
        if self.duration_s is None and lasts_s <= self.lead_in_s:
            raise BadValueError(f"the trace lasts {lasts_s:.6g} s, which lead_in takes all of")
        if asked_s > lasts_s and self.duration_s is not None:
            raise BadValueError(
                f"the trace lasts {lasts_s:.6g} s at that speed, and lead_in and duration ask for {asked_s:.6g} s",
                hint="Leave duration out to replay it to its end.",
            )
        return trace

    @model_serializer(mode="wrap")
    def _without_other_forms(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialise(self).items() if value is not None and value != []}


def check_burstiness(arrivals: str | None, burstiness: float | None) -> None:
    if (arrivals == "gamma") != (burstiness is not None):
        hint = "burstiness is the coefficient of variation of the gaps: 1 is Poisson, more comes in bursts."
        raise BadValueError("arrivals: gamma and burstiness go together", hint=hint)


def check_shares(stages: tuple[StageSettings, ...]) -> None:
    """Raises BadValueError where a rate is a share of no earlier stage."""
    earlier: list[str] = []
    for stage in stages:
        if isinstance(stage.rate_per_s, ShareOfStage) and stage.rate_per_s.stage not in earlier:
            known = ", ".join(earlier) or "none"
            raise BadValueError(
                f"stage {stage.name} takes a share of {stage.rate_per_s.stage!r}, which is no earlier stage",
                hint=f"Earlier stages: {known}.",
            )
        earlier.append(stage.name)


MOST_WORKERS = 1_000


def _read_workers(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        hint = "Write auto, or a whole number of at least 1."
        raise BadValueError(f"{value!r} is not a number of workers", hint=hint)
    if value > MOST_WORKERS:
        raise BadValueError(f"{value:,} is more than {MOST_WORKERS:,}, the most workers that can be asked for")
    return value


Workers = Annotated[int | Literal["auto"], BeforeValidator(_read_workers)]
"""`auto` is one for each core that can be spared."""


_MOST_LOADS = 100
_MOST_CLIENTS = 100_000
_POINTS = 8
_SWEEP_FORMS = ("rates", "from and to", "concurrency", "up_to")

Clients = Annotated[Count, Field(ge=1), at_most(_MOST_CLIENTS)]


class SweepSettings(Settings):
    """One of `rates`, `from` and `to` (so many `points`, evenly on a log scale), `concurrency` and `up_to` (1, 2, 4 …
    clients up to it) says which loads; each lasts `hold`, `repeats` times."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"which loads": ("rates", "from+to", "concurrency", "up_to")}

    rates_per_s: Listed[Rate] = Field(default=(), alias="rates", examples=[["10/s", "50/s", "200/s"]])
    """The rates, rising, like 10/s, 50/s, 200/s."""
    from_per_s: Rate | None = Field(default=None, alias="from", examples=["10/s"])
    """The lowest rate, like 10/s."""
    to_per_s: Rate | None = Field(default=None, alias="to", examples=["500/s"])
    """The highest rate, like 500/s."""
    points: Annotated[Count, Field(ge=2), at_most(_MOST_LOADS)] | None = Field(default=None, examples=[8])
    """How many rates between the lowest and the highest, evenly on a log scale, like 8."""
    concurrency: Listed[Clients] = Field(default=(), examples=[[1, 4, 16]])
    """Numbers of clients, rising, like 1, 4, 16."""
    up_to: Clients | None = Field(default=None, examples=[64])
    """1, 2, 4 … clients up to this many, like 64."""
    arrivals: Arrivals | None = None
    """How requests come: at random (poisson), evenly (constant) or in bursts (gamma)."""
    burstiness: Burstiness | None = None
    """Coefficient of variation of gamma's gaps: 1 is Poisson, more is burstier."""
    hold_s: SomeSeconds = Field(default=10.0, alias="hold", examples=["10s"])
    """How long each load lasts, like 10s."""
    repeats: Repeats = Field(default=1, examples=[1])
    """How often each load is run, like 1."""

    @model_validator(mode="before")
    @classmethod
    def _fills_in_what_the_form_has(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not {"rates", "from", "to"} & value.keys():
            return value
        points = {"points": _POINTS} if value.get("from") is not None and value.get("points") is None else {}
        return {**value, **points, "arrivals": value.get("arrivals") or "poisson"}

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        has_range = self.from_per_s is not None or self.to_per_s is not None
        given = (bool(self.rates_per_s), has_range, bool(self.concurrency), self.up_to is not None)
        if sum(given) != 1:
            named = " and ".join(form for form, is_given in zip(_SWEEP_FORMS, given, strict=True) if is_given)
            what = f"{named} cannot be given together" if named else "it says no load"
            raise BadValueError(what, hint=f"Give exactly one of {'; '.join(_SWEEP_FORMS)}.")
        if has_range and (self.from_per_s is None or self.to_per_s is None or self.from_per_s >= self.to_per_s):
            raise BadValueError("needs from and to, the lower rate first", hint="from: 10/s, to: 500/s.")
        if self.points is not None and not has_range:
            raise BadValueError("points goes with from and to")
        if self.arrivals is not None and not self.loads_per_s:
            raise BadValueError("clients decide the arrivals, so arrivals cannot be given")
        check_burstiness(self.arrivals, self.burstiness)
        return self

    @model_validator(mode="after")
    def _can_be_played(self) -> Self:
        loads = (*self.loads_per_s, *self.clients)
        if len(loads) > _MOST_LOADS:
            raise BadValueError(f"has {len(loads)} loads, more than {_MOST_LOADS}")
        if any(later <= earlier for earlier, later in itertools.pairwise(loads)):
            raise BadValueError("the loads must rise from each load to the next", hint="It goes from light to heavy.")
        if self.loads_per_s and self.loads_per_s[-1] * self.hold_s > MOST_ARRIVALS:
            rate = units.format_rate(self.loads_per_s[-1])
            raise BadValueError(f"{rate} for {units.format_duration(self.hold_s)} are too many requests")
        return self

    @property
    def loads_per_s(self) -> tuple[float, ...]:
        """Empty where it goes by clients."""
        if self.from_per_s is None or self.to_per_s is None:
            return self.rates_per_s
        return tuple(float(f"{rate:.4g}") for rate in np.geomspace(self.from_per_s, self.to_per_s, self.points or 2))

    @property
    def clients(self) -> tuple[int, ...]:
        """Empty where it goes by rates."""
        if self.up_to is None:
            return self.concurrency
        doubled = itertools.takewhile(lambda clients: clients < self.up_to, (2**step for step in itertools.count()))
        return (*doubled, self.up_to)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Of its loads, in their order."""
        rates = (f"sweep {digits(rate)}/s" for rate in self.loads_per_s)
        clients = (f"sweep {clients} client{'s' * (clients > 1)}" for clients in self.clients)
        return (*rates, *clients)

    @model_serializer(mode="wrap")
    def _without_other_forms(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialise(self).items() if value is not None and value != []}


class SearchSettings(Settings):
    arrivals: Arrivals = "poisson"
    """How requests come: at random (poisson), evenly (constant) or in bursts (gamma)."""
    burstiness: Burstiness | None = None
    """Coefficient of variation of gamma's gaps: 1 is Poisson, more is burstier."""
    start_per_s: Rate = Field(default=10.0, alias="start", examples=["10/s"])
    """The rate the search begins with, like 10/s."""
    hold_s: SomeSeconds = Field(default=10.0, alias="hold", examples=["10s"])
    """How long each rate is held, like 10s. Longer is surer."""
    repeats: Repeats = Field(default=3, examples=[3])
    """How often the answer is measured again, like 3."""
    within_s: SomeSeconds | None = Field(default=None, alias="within", examples=["2m"])
    """The search ends in this time, with the rate it is sure of by then, like 2m. None is the time it needs."""

    @model_validator(mode="after")
    def _bursts_with_gamma(self) -> Self:
        check_burstiness(self.arrivals, self.burstiness)
        return self


class LoadSettings(Settings):
    """Stages come first, then the sweep, then the search.

    `warmup` is what three warm-up windows take; up to six are run, until three in a row agree. 0s for none.
    """

    seed: Annotated[int, Field(ge=0), at_most(2**53 - 1)] = Field(default=7, examples=[7])
    """Of the random arrivals and requests: the same seed sends the same, like 7."""
    warmup_s: Seconds = Field(default=2.0, alias="warmup", examples=["2s"])
    """What three warm-up windows take; up to six are run, like 2s. 0s is none."""
    workers: Workers = "auto"
    """Processes of this machine that send: auto, or a number."""
    stages: Listed[StageSettings] = ()
    """One after another, each with its own form of traffic."""
    sweep: SweepSettings | None = None
    """The same stage at one load after another, from light to heavy."""
    search: SearchSettings | None = None
    """Finds the highest rate that holds the SLO."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.stages and self.sweep is None and self.search is None:
            raise BadValueError("load needs stages, a sweep or a search")
        names = [stage.name for stage in self.stages]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadValueError(f"two of load.stages are named {twice!r}")
        check_shares(self.stages)
        return self
