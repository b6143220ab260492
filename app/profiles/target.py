"""What is measured: an endpoint somewhere, or one that the run serves itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, model_validator

from app.profiles import secrets
from app.profiles.bundled import bundled_models
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.settings import (
    Count,
    ExistingFile,
    Seconds,
    Settings,
    SomeSeconds,
    at_most,
    files_must_exist,
    profile_directory,
)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def _read_url(value: object) -> str:
    if not isinstance(value, str):
        raise BadValueError("the URL must be text")
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise BadValueError("this is not a URL") from error
    secrets.refuse_secrets_in_url(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadValueError("the URL must start with http:// or https:// and name a host")
    if not value.isprintable() or not value.isascii() or " " in value or parts.fragment:
        raise BadValueError("the URL must be percent-encoded, without a fragment")
    return value


def _read_headers(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        return value
    for name, text in value.items():
        if _HEADER_NAME.fullmatch(name) is None:
            raise BadValueError(f"{name!r} is not the name of a header")
        if not isinstance(text, str) or not text.isprintable():
            raise BadValueError(f"header {name} must be one line of text", hint="Put numbers between quotes.")
    return {name: secrets.anchor(text, profile_directory(info)) for name, text in value.items()}


def _redact_headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: secrets.redact(name, value) for name, value in headers.items()}


def _read_model(value: object, info: ValidationInfo) -> str:
    """A bundled model's name, or the absolute path of a model file."""
    if not isinstance(value, str):
        raise BadValueError(f"{value!r} is not a model")
    known = bundled_models()
    if value in known:
        return value
    path = (profile_directory(info) / value).resolve()
    if not path.is_file() and files_must_exist(info):
        hint = did_you_mean(value, known) or f"Bundled models: {', '.join(known)}. A path is relative to the profile."
        raise BadValueError(f"{value!r} is neither a bundled model nor a file", hint=hint)
    return str(path)


Url = Annotated[str, BeforeValidator(_read_url)]
Headers = Annotated[dict[str, str], BeforeValidator(_read_headers), PlainSerializer(_redact_headers)]


class HardwareSettings(Settings):
    """What the target runs on: `replicas` of the model share one instance of `offer`, or what the other keys say."""

    offer: str | None = None
    accelerator: str | None = None
    count: Annotated[float, Field(gt=0), at_most(10_000)] = 1.0
    vcpus: Annotated[float, Field(gt=0), at_most(100_000)] | None = None
    architecture: Literal["x86_64", "arm64"] | None = None
    replicas: Annotated[Count, at_most(10_000)] = 1

    @model_validator(mode="after")
    def _is_said_once(self) -> Self:
        own = self.accelerator is not None or self.vcpus is not None
        if own == (self.offer is not None):
            raise BadValueError("hardware needs an offer, or an accelerator, vcpus or both")
        return self


class ServeSettings(Settings):
    model: Annotated[str, BeforeValidator(_read_model)]
    provider: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[Count, at_most(1024)] = 1
    max_batch: Annotated[Count, at_most(4096)] = 8
    queue_delay_s: Seconds = Field(default=0.002, alias="queue_delay")
    queue_limit: Annotated[Count, at_most(100_000)] = 128

    @property
    def model_path(self) -> Path:
        return bundled_models().get(self.model, Path(self.model))


class TlsSettings(Settings):
    verify: bool = True
    ca_file: ExistingFile | None = None


class TimeoutSettings(Settings):
    connect_s: SomeSeconds = Field(default=5.0, alias="connect")
    idle_s: SomeSeconds = Field(default=30.0, alias="idle")
    total_s: SomeSeconds = Field(default=60.0, alias="total")


class EndpointSettings(Settings):
    hardware: HardwareSettings | None = None
    permitted: bool = False
    headers: Headers = Field(default_factory=dict)
    tls: TlsSettings = TlsSettings()
    timeouts: TimeoutSettings = TimeoutSettings()


class HttpTarget(EndpointSettings):
    keys_of_others: ClassVar[dict[str, str]] = {
        "serve": "The endpoint that a run serves itself speaks protocol oip.",
        "model": "A model is named with protocol oip.",
    }
    protocol: Literal["http"]
    url: Url


class OipTarget(EndpointSettings):
    """Of `url` and `serve` one is given; `model` is the model's name on the server."""

    protocol: Literal["oip"]
    url: Url | None = None
    serve: ServeSettings | None = None
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]

    @model_validator(mode="before")
    @classmethod
    def _names_the_served_model(cls, value: Any) -> Any:
        """The served model is known by its file's stem unless the profile says otherwise."""
        if not isinstance(value, dict) or value.get("model") is not None:
            return value
        serve = value.get("serve")
        served = serve.get("model") if isinstance(serve, dict) else None
        return {**value, "model": Path(served).stem} if isinstance(served, str) else value

    @model_validator(mode="after")
    def _is_one_endpoint(self) -> Self:
        if (self.url is None) == (self.serve is None):
            raise BadValueError("target needs exactly one of url and serve")
        return self
