"""A profile: one question, as the user writes it. Defaults stand here and nowhere else."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from app.profiles import secrets
from app.profiles.problems import BadValueError
from app.profiles.settings import (
    Count,
    ExistingFile,
    Listed,
    ObjectiveText,
    Rate,
    Seconds,
    Settings,
    SomeSeconds,
    at_most,
)  # fmt: skip
from app.profiles.target import HttpTarget, OipTarget
from app.profiles.traffic import PlanSettings, TrafficSettings

Arrivals = Literal["poisson", "constant"]
Repeats = Annotated[Count, at_most(1000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _read_path(value: object) -> object:
    if isinstance(value, str):
        if "#" in value:
            raise BadValueError("a path is sent without a fragment, so it cannot hold #")
        secrets.refuse_secrets_in_url(f"http://host{value}")
    return value


class HttpRequests(Settings):
    """`bodies` and the lines of `dataset` take turns. Text is sent as it is, all else as JSON."""

    keys_of_others: ClassVar[dict[str, str]] = {
        key: f"{key} works with protocol oip." for key in ("tensors", "labels", "rows_per_request", "binary")
    }
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: Annotated[str, Field(pattern=r"^/[!-~]*$"), BeforeValidator(_read_path)] | None = None
    body: JsonValue = None
    bodies: Listed[JsonValue] = ()
    dataset: ExistingFile | None = None
    content_type: str = "application/json"

    @model_validator(mode="before")
    @classmethod
    def _posts_what_has_a_body(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("method") is not None:
            return value
        has_body = any(value.get(key) not in (None, []) for key in ("body", "bodies", "dataset"))
        return {**value, "method": "POST" if has_body else "GET"}

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.body is not None) + bool(self.bodies) + (self.dataset is not None) > 1:
            raise BadValueError("workload takes only one of body, bodies and dataset")
        return self


class OipRequests(Settings):
    """`labels` is the name of the array in `tensors` that holds the right class of each row."""

    keys_of_others: ClassVar[dict[str, str]] = {
        key: f"{key} works with protocol http." for key in ("method", "path", "body", "bodies", "dataset")
    }
    tensors: ExistingFile | None = None
    labels: str | None = None
    rows_per_request: Annotated[Count, at_most(65_536)] = 1
    binary: bool = True

    @model_validator(mode="after")
    def _has_rows_to_label(self) -> Self:
        if self.labels is not None and self.tensors is None:
            raise BadValueError("workload.labels names an array of workload.tensors, which is not given")
        return self


class StageSettings(Settings):
    name: Name = "steady"
    arrivals: Arrivals = "poisson"
    rate_per_s: Rate = Field(alias="rate")
    duration_s: SomeSeconds = Field(alias="duration")
    repeats: Repeats = 1


class SearchSettings(Settings):
    arrivals: Arrivals = "poisson"
    start_per_s: Rate = Field(default=10.0, alias="start")
    hold_s: SomeSeconds = Field(default=10.0, alias="hold")
    repeats: Repeats = 3


class LoadSettings(Settings):
    """`warmup` is what three warm-up windows take; up to six are run, until three in a row agree. 0s for none."""

    seed: Annotated[int, Field(ge=0), at_most(2**53 - 1)] = 7
    warmup_s: Seconds = Field(default=2.0, alias="warmup")
    stages: Listed[StageSettings] = ()
    search: SearchSettings | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.stages and self.search is None:
            raise BadValueError("load needs stages, a search or both")
        names = [stage.name for stage in self.stages]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadValueError(f"two of load.stages are named {twice!r}")
        return self


class RunLimits(Settings):
    """None is no limit."""

    duration_s: SomeSeconds | None = Field(default=None, alias="duration")
    requests: Annotated[Count, at_most(10**12)] | None = None
    usd: Annotated[float, Field(gt=0)] | None = None


class _Questions(Settings):
    sizewise: Literal[1]
    name: Name
    load: LoadSettings
    slo: Listed[ObjectiveText] = ()
    limits: RunLimits = RunLimits()
    gates: Listed[ObjectiveText] = ()
    traffic: TrafficSettings | None = None
    plan: PlanSettings = PlanSettings()

    @model_validator(mode="after")
    def _can_search(self) -> Self:
        if self.load.search is not None and not self.slo:
            raise BadValueError("load.search looks for the rate that holds the SLO, and slo is empty")
        return self


class HttpProfile(_Questions):
    target: HttpTarget
    workload: HttpRequests


class OipProfile(_Questions):
    target: OipTarget
    workload: OipRequests = OipRequests()


Profile = HttpProfile | OipProfile
