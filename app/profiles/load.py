"""How the target is loaded: stages, a sweep, a search."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.profiles.problems import BadValueError
from app.profiles.settings import Listed, Rate, Seconds, Settings, SomeSeconds, at_most
from app.profiles.stages import Arrivals, Burstiness, Repeats, StageSettings, check_burstiness, check_shares
from app.profiles.sweep import SweepSettings
from app.profiles.workers import Workers


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
