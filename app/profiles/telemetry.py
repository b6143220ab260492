"""Settings of the Prometheus endpoints that a run scrapes on other machines."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from app.profiles.endpoint import Headers, HttpUrl
from app.profiles.problems import BadValueError
from app.profiles.settings import Seconds, Settings
from app.profiles.units import format_duration
from app.records.telemetry_sources import is_gpu_source

MIN_INTERVAL_S = 0.2
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_RESERVED_NAMES = ("host", "endpoint", "generator", "engine", "gpu")


def _check_interval(interval_s: float) -> float:
    if interval_s < MIN_INTERVAL_S:
        minimum = format_duration(MIN_INTERVAL_S)
        raise BadValueError(f"{format_duration(interval_s)} is below the minimum scrape interval of {minimum}")
    return interval_s


def _check_name(name: str) -> str:
    if name in _RESERVED_NAMES or is_gpu_source(name):
        raise BadValueError(f"the name {name} is reserved for this machine's telemetry", hint="Choose another name.")
    return name


def _parse_labels(value: object) -> object:
    """Convert label values to strings. Integers may be written without quotes, as in `{gpu: 0}`."""
    if not isinstance(value, dict):
        return value
    labels = {}
    for name, label_value in value.items():
        if _LABEL_NAME.fullmatch(str(name)) is None:
            raise BadValueError(f"{name!r} is not a valid label name")
        is_integer = isinstance(label_value, int) and not isinstance(label_value, bool)
        if not is_integer and not isinstance(label_value, str):
            raise BadValueError(f"label {name} must be text", hint="Enclose it in quotes.")
        labels[str(name)] = str(label_value)
    return labels


class ScrapeSettings(Settings):
    """A Prometheus endpoint to scrape. Only samples with all `labels` are read.

    `permitted` confirms that the user may scrape the host.
    """

    scrape: HttpUrl = Field(examples=["http://10.0.0.5:9400/metrics"])
    """URL of the metrics page, such as http://10.0.0.5:9400/metrics."""
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$"), AfterValidator(_check_name)] = Field(
        examples=["node1"]
    )
    """Name of the telemetry source in results, such as node1."""
    labels: Annotated[dict[str, str], BeforeValidator(_parse_labels)] = Field(
        default_factory=dict, examples=[{"gpu": 0}]
    )
    """Labels of the samples to read, such as gpu: 0. Samples without all of these labels are
    ignored."""
    interval_s: Annotated[Seconds, AfterValidator(_check_interval)] = Field(
        default=1.0, alias="interval", examples=["1s"]
    )
    """Scrape interval, such as 1s."""
    headers: Headers = Field(default_factory=dict)
    """Headers sent with each scrape. Write secrets as references: env:NAME or file:PATH."""
    permitted: bool = False
    """Confirmation that you may scrape the host of the endpoint. It is required for hosts outside private
    networks."""


def _fill_in_names(value: Any) -> Any:
    """Set the name of each unnamed telemetry source to `scrape1`, `scrape2` and so on, by its
    position in the list."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(
        {**scrape, "name": f"scrape{number}"} if isinstance(scrape, dict) and scrape.get("name") is None else scrape
        for number, scrape in enumerate(value, start=1)
    )


def _check_unique_names(scrapes: tuple[ScrapeSettings, ...]) -> tuple[ScrapeSettings, ...]:
    names = [scrape.name for scrape in scrapes]
    for name in names:
        if names.count(name) > 1:
            raise BadValueError(
                f"two telemetry endpoints are named {name}", hint="Use a different name for each endpoint."
            )
    return scrapes


Scrapes = Annotated[
    tuple[ScrapeSettings, ...],
    Field(strict=False, max_length=64),
    BeforeValidator(_fill_in_names),
    AfterValidator(_check_unique_names),
]
