"""How replicas start, fail and are replaced, as `sizewise simulate --set` says it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import BeforeValidator, Field, PlainValidator

from app.profiles import units
from app.profiles.problems import BadValueError
from app.profiles.settings import Seconds, Settings, Share, SomeSeconds, at_most
from app.profiles.traffic_parts import ClockTime
from app.records.scaling import ColdStartModel, FailureModel, RollingUpdate, Transfer

_MOST_HOURS = 1e6
_SECONDS_AN_HOUR = 3600.0


class Amount(msgspec.Struct, frozen=True):
    """What must come before a replica serves: so many bytes, or so many seconds however many they are."""

    size_bytes: float = 0.0
    seconds: float | None = None


def _read_amount(value: object) -> Amount:
    try:
        return Amount(size_bytes=units.parse_bytes(value))
    except BadValueError:
        pass
    try:
        return Amount(seconds=units.parse_duration_s(value))
    except BadValueError:
        raise BadValueError(f"{value!r} is neither a size nor a duration", hint="Write it like 8GB or 40s.") from None


def _read_hours(value: object) -> float:
    return units.parse_duration_s(value) / _SECONDS_AN_HOUR


SizeOrTime = Annotated[Amount, PlainValidator(_read_amount)]
Bandwidth = Annotated[float, BeforeValidator(units.parse_bytes_per_s)]
Hours = Annotated[float, BeforeValidator(_read_hours), Field(gt=0), at_most(_MOST_HOURS)]


class ColdStartSettings(Settings):
    """Medians. The defaults are assumed: a cloud's machine of some minutes, a container of 5 GB, a small model.

    `image` comes over the network; `weights` over the narrowest of those given. `spread` is the coefficient of
    variation of each phase. A node is refused with probability `refused`, and asked for again after `retry`.
    """

    node_s: Seconds = Field(default=90.0, alias="node")
    image: SizeOrTime = Amount(5e9)
    weights: SizeOrTime = Amount(2e9)
    build_s: Seconds = Field(default=15.0, alias="build")
    warm_up_s: Seconds = Field(default=5.0, alias="warm_up")
    network: Bandwidth = 500e6
    disk: Bandwidth | None = None
    pcie: Bandwidth | None = None
    spread: Share = 0.3
    refused: Annotated[Share, Field(lt=1)] = 0.0
    retry_s: SomeSeconds = Field(default=60.0, alias="retry")


class FailureSettings(Settings):
    """`mtbf` is a replica's mean time between failures; `new_node` says that its node is lost too."""

    mtbf_hours: Hours = Field(alias="mtbf")
    detect_s: Seconds = Field(default=10.0, alias="detect")
    new_node: bool = False


class UpdateSettings(Settings):
    """A new version rolls out from this time of the day on."""

    at_s: ClockTime = Field(alias="at")
    surge: Share = 0.25
    unavailable: Share = 0.25


def cold_start_of(settings: ColdStartSettings, warm_nodes: int) -> ColdStartModel:
    return ColdStartModel(
        node_s=settings.node_s,
        image=_transfer(settings.image, network=settings.network),
        weights=_transfer(settings.weights, settings.network, settings.disk, settings.pcie),
        engine_s=settings.build_s,
        warm_up_s=settings.warm_up_s,
        cv=settings.spread,
        warm_nodes=warm_nodes,
        refusal_probability=settings.refused,
        retry_s=settings.retry_s,
    )


def _transfer(amount: Amount, network: float, disk: float | None = None, pcie: float | None = None) -> Transfer:
    if amount.seconds is not None:
        return Transfer(amount.seconds, network=1.0)
    return Transfer(amount.size_bytes, network, disk, pcie)


def failures_of(settings: FailureSettings | None) -> FailureModel | None:
    return None if settings is None else FailureModel(settings.mtbf_hours, settings.detect_s, settings.new_node)


def updates_of(settings: UpdateSettings | None) -> tuple[RollingUpdate, ...]:
    return () if settings is None else (RollingUpdate(settings.at_s, settings.surge, settings.unavailable),)
