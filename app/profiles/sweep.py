"""A sweep: the same stage at one load after another, from light to heavy."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from app.analysis.digits import digits
from app.profiles import units
from app.profiles.problems import BadValueError
from app.profiles.settings import Count, Listed, Rate, Settings, SomeSeconds, at_most
from app.profiles.stages import MOST_ARRIVALS, Arrivals, Burstiness, Repeats, check_burstiness

_MOST_LOADS = 100
_MOST_CLIENTS = 100_000
_POINTS = 8
_FORMS = ("rates", "from and to", "concurrency", "up_to")

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
            named = " and ".join(form for form, is_given in zip(_FORMS, given, strict=True) if is_given)
            what = f"{named} cannot be given together" if named else "it says no load"
            raise BadValueError(what, hint=f"Give exactly one of {'; '.join(_FORMS)}.")
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
