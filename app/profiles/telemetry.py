"""Telemetry of other machines: pages for Prometheus that are read while a run goes on."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from app.profiles.endpoint import Headers, HttpUrl
from app.profiles.problems import BadValueError
from app.profiles.settings import Seconds, Settings
from app.profiles.units import format_duration

LEAST_INTERVAL_S = 0.2
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OWN_SOURCES = re.compile(r"host|endpoint|generator|engine|gpu\d*")


def _not_too_often(interval_s: float) -> float:
    if interval_s < LEAST_INTERVAL_S:
        least = format_duration(LEAST_INTERVAL_S)
        raise BadValueError(f"{format_duration(interval_s)} is less than {least}, the shortest time between scrapes")
    return interval_s


def _not_our_own(name: str) -> str:
    if _OWN_SOURCES.fullmatch(name) is not None:
        raise BadValueError(f"{name} is what the readings of this machine are called", hint="Choose another name.")
    return name


def _read_labels(value: object) -> object:
    """Whole numbers may stand without quotes: `{gpu: 0}`."""
    if not isinstance(value, dict):
        return value
    labels = {}
    for name, wanted in value.items():
        if _LABEL_NAME.fullmatch(str(name)) is None:
            raise BadValueError(f"{name!r} is not the name of a label")
        is_number = isinstance(wanted, int) and not isinstance(wanted, bool)
        if not is_number and not isinstance(wanted, str):
            raise BadValueError(f"label {name} must be text", hint="Put it between quotes.")
        labels[str(name)] = str(wanted)
    return labels


class ScrapeSettings(Settings):
    """Of a page, the samples that carry all `labels` are read; `permitted` is as for a target."""

    scrape: HttpUrl = Field(examples=["http://10.0.0.5:9400/metrics"])
    """The page's URL, like http://10.0.0.5:9400/metrics."""
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$"), AfterValidator(_not_our_own)] = Field(
        examples=["node1"]
    )
    """What its readings are called, like node1."""
    labels: Annotated[dict[str, str], BeforeValidator(_read_labels)] = Field(
        default_factory=dict, examples=[{"gpu": 0}]
    )
    """Only samples that carry all of these labels are read, like gpu: 0."""
    interval_s: Annotated[Seconds, AfterValidator(_not_too_often)] = Field(
        default=1.0, alias="interval", examples=["1s"]
    )
    """How often it is read, like 1s."""
    headers: Headers = Field(default_factory=dict)
    """Sent with each request. Secrets are references: env:NAME or file:PATH."""
    permitted: bool = False
    """I may read from this host. Needed for hosts outside private networks."""


def _name_the_nameless(value: Any) -> Any:
    """`scrape1`, `scrape2`, ... by their places in the list."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(
        {**one, "name": f"scrape{place}"} if isinstance(one, dict) and one.get("name") is None else one
        for place, one in enumerate(value, start=1)
    )


def _have_their_own_names(scrapes: tuple[ScrapeSettings, ...]) -> tuple[ScrapeSettings, ...]:
    names = [one.name for one in scrapes]
    for name in names:
        if names.count(name) > 1:
            raise BadValueError(f"telemetry names two of its pages {name}", hint="Give each a name of its own.")
    return scrapes


Scrapes = Annotated[
    tuple[ScrapeSettings, ...],
    Field(strict=False, max_length=64),
    BeforeValidator(_name_the_nameless),
    AfterValidator(_have_their_own_names),
]
