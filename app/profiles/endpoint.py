"""What all targets have: where they are, how they are spoken to, and what they run on.

URLs of a target, as a profile may write them.

Headers and environments that may hold secrets: checked, and written back without them.

A target's own server, which the run starts before it measures and stops afterwards.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, model_validator

from app.profiles import secrets
from app.profiles.problems import BadValueError
from app.profiles.settings import (
    Count,
    ExistingFile,
    Listed,
    Settings,
    SomePath,
    SomeSeconds,
    at_most,
    files_must_exist,
    profile_directory,
)
from loadgen.records import Endpoint, Timeouts


def _reader(*schemes: str) -> Callable[[object], str]:
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise BadValueError("the URL must be text")
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018 - reading it checks it
        except ValueError as error:
            raise BadValueError("this is not a URL") from error
        secrets.refuse_secrets_in_url(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise BadValueError(f"the URL must start with {wanted} and name a host")
        if not value.isprintable() or not value.isascii() or " " in value or parts.fragment:
            raise BadValueError("the URL must be percent-encoded, without a fragment")
        return value

    return read


_read_http = _reader("http", "https")
_read_grpc = _reader("grpc", "grpcs")


def _read_grpc_url(value: object) -> str:
    url = _read_grpc(value)
    parts = urlsplit(url)
    if parts.path.rstrip("/") or parts.query:
        raise BadValueError("a gRPC URL has neither a path nor a query", hint="Write grpc://host:port.")
    if parts.port is None:
        raise BadValueError("a gRPC URL needs its port", hint="Write grpc://host:port; Triton's is usually 8001.")
    return url


def _read_ready(value: object) -> str:
    if isinstance(value, str) and value.startswith("/"):
        _read_http(f"http://host{value}")
        return value
    return _read_http(value)


HttpUrl = Annotated[str, BeforeValidator(_read_http)]
GrpcUrl = Annotated[str, BeforeValidator(_read_grpc_url)]
ReadyUrl = Annotated[str, BeforeValidator(_read_ready)]
"""A URL, or a path on the target's host."""


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_REFERENCES = "Write env:NAME, or file:PATH for a file that holds it."


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


def _read_key(value: object, info: ValidationInfo) -> object:
    if value is None or value == secrets.REDACTED:
        return value
    if not isinstance(value, str) or not secrets.is_reference(value) or value.startswith(("Bearer", "Basic")):
        raise BadValueError("api_key must say where the key is, not what it is", hint=_REFERENCES)
    return secrets.anchor(value, profile_directory(info))


def _read_variables(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        return value
    for name, text in value.items():
        if _VARIABLE_NAME.fullmatch(name) is None:
            raise BadValueError(f"{name!r} is not the name of an environment variable")
        if not isinstance(text, str) or "\0" in text:
            raise BadValueError(f"variable {name} must be text", hint="Put numbers between quotes.")
        if secrets.names_a_secret(name) and not secrets.is_reference(text):
            raise BadValueError(f"variable {name} looks like a secret, and a profile holds none", hint=_REFERENCES)
    return {name: secrets.anchor(text, profile_directory(info)) for name, text in value.items()}


Headers = Annotated[dict[str, str], BeforeValidator(_read_headers), PlainSerializer(_redact_headers)]
ApiKey = Annotated[str, BeforeValidator(_read_key)]
Variables = Annotated[dict[str, str], BeforeValidator(_read_variables)]


def _read_command(value: object) -> object:
    """A list, or text cut into words as a shell does; no shell ever sees it."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise BadValueError(f"the command cannot be cut into words: {error}") from error
    if not isinstance(value, list | tuple) or not value or not all(isinstance(word, str) and word for word in value):
        raise BadValueError("a command is text, or a list of texts", hint="Put numbers between quotes.")
    for word, following in zip(value, [*value[1:], ""], strict=True):
        option, equals, given = word.partition("=")
        if word.startswith("-") and secrets.names_a_secret(option) and (given if equals else following[:1] not in "-"):
            hint = "Give the server its secret in target.start.env as env:NAME, or let it read a file."
            raise BadValueError(f"the command seems to hold a secret: {option}", hint=hint)
    return tuple(value)


def _read_directory(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not the path of a folder")
    path = (profile_directory(info) / value).resolve()
    if not path.is_dir() and files_must_exist(info):
        raise BadValueError(f"no such folder: {path}", hint="Paths are relative to the profile's folder.")
    return path


class StartSettings(Settings):
    """Ready when `ready`, a URL or a path on the target's host, answers with 2xx. `env` is added to our own."""

    command: Annotated[Listed[str], BeforeValidator(_read_command)] = Field(examples=[["python server.py --port 8000"]])
    """The command that starts the server, as text; no shell sees it, like python server.py --port 8000."""
    ready: ReadyUrl = Field(examples=["/health"])
    """A URL or path that answers with 2xx once the server is ready, like /health."""
    timeout_s: SomeSeconds = Field(default=120.0, alias="timeout", examples=["120s"])
    """How long is waited for it, like 120s."""
    directory: Annotated[Path, BeforeValidator(_read_directory), PlainSerializer(str)] = Field(
        default="./", validate_default=True
    )
    """The folder it is started in."""
    env: Variables = Field(default_factory=dict)
    """Environment variables for it; secrets as env:NAME."""


_PLAIN = ("http", "grpc")
PLACES = ("url", "urls", "serve", "scripted")
"""Keys that say where an endpoint is: one of them is given."""
Balance = Literal["round-robin", "least-outstanding", "power-of-two"]


class HardwareSettings(Settings):
    """What the target runs on: `replicas` of the model share one instance of `offer`, or what the other keys say."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {
        "what it is": ("offer", "accelerator", "vcpus", "accelerator+vcpus")
    }

    offer: str | None = Field(default=None, examples=["aws/g6.2xlarge"])
    """A cloud instance from the price list, like aws/g6.2xlarge."""
    accelerator: str | None = Field(default=None, examples=["l4"])
    """The card, where it is not a listed offer, like l4."""
    count: Annotated[float, Field(gt=0), at_most(10_000)] = Field(default=1.0, examples=[1])
    """How many accelerators there are, or a part of one, like 1 or 0.5."""
    vcpus: Annotated[float, Field(gt=0), at_most(100_000)] | None = Field(default=None, examples=[8])
    """How many virtual processors there are, like 8."""
    architecture: Literal["x86_64", "arm64"] | None = None
    """The processors' architecture."""
    replicas: Annotated[Count, at_most(10_000)] = Field(default=1, examples=[1])
    """How many copies of the model share that hardware, like 1."""

    @model_validator(mode="after")
    def _is_said_once(self) -> Self:
        own = self.accelerator is not None or self.vcpus is not None
        if own == (self.offer is not None):
            raise BadValueError("hardware needs an offer, or an accelerator, vcpus or both")
        return self


class TlsSettings(Settings):
    verify: bool = True
    """Whether the server's certificate is looked at. Without it anybody could answer."""
    ca_file: ExistingFile | None = None
    """The file of the authority that signed the server's certificate, as PEM."""
    cert_file: ExistingFile | None = None
    """Our own certificate, where the server asks for one, as PEM."""
    key_file: ExistingFile | None = None
    """The key of our own certificate, as PEM."""

    @model_validator(mode="after")
    def _has_the_keys_certificate(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise BadValueError("tls.key_file is the key of tls.cert_file, which is not given")
        return self


_ENDPOINT, _TIMEOUTS = Endpoint(urls=()), Timeouts()
"""Their values are the defaults of the settings."""


class TimeoutSettings(Settings):
    connect_s: SomeSeconds = Field(default=_TIMEOUTS.connect_s, alias="connect", examples=["5s"])
    """The longest that a connection may take, like 5s."""
    idle_s: SomeSeconds = Field(default=_TIMEOUTS.idle_s, alias="idle", examples=["30s"])
    """The longest silence in the middle of an answer, like 30s."""
    total_s: SomeSeconds = Field(default=_TIMEOUTS.total_s, alias="total", examples=["60s"])
    """The longest a request may take from when it was due, like 60s."""


class TargetSettings(Settings):
    """Of `url` and `urls` one is given, unless a target is served by the run itself."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"where it is": PLACES}

    url: HttpUrl | None = Field(default=None, examples=["http://127.0.0.1:8000/score"])
    """Where it is, like http://127.0.0.1:8000/score."""
    urls: Listed[HttpUrl] = ()
    """Replicas of one service; requests are spread over them."""
    hardware: HardwareSettings | None = None
    """What the target runs on. Without it nothing is planned; a target on this machine has this machine's."""
    permitted: bool = False
    """I may load this host. Needed for hosts that are neither on this machine nor in a private network."""
    start: StartSettings | None = None
    """A server that the run starts before it measures, and stops afterwards."""
    timeouts: TimeoutSettings = TimeoutSettings()
    """How long is waited before a request counts as failed."""

    @property
    def all_urls(self) -> tuple[str, ...]:
        """Where it is; nothing for a target that the run serves itself."""
        return self.urls if self.url is None else (self.url,)

    @model_validator(mode="after")
    def _is_where_it_is_started(self) -> Self:
        if self.start is not None and not self.all_urls:
            raise BadValueError("target.start needs the url at which the started server answers")
        return self


class EndpointSettings(TargetSettings):
    """Several `urls` are replicas; `api_key` is sent as a bearer token."""

    balance: Balance = "round-robin"
    """How requests are spread over several urls."""
    socket: SomePath | None = Field(default=None, examples=["/run/server.sock"])
    """A Unix socket to connect to in place of the URL's host, like /run/server.sock."""
    headers: Headers = Field(default_factory=dict)
    """Sent with each request. Secrets are references: env:NAME or file:PATH."""
    api_key: ApiKey | None = None
    """Where the bearer token is: env:API_KEY, or file:PATH."""
    tls: TlsSettings = TlsSettings()
    """Certificates, and how the server's is looked at."""
    max_connections: Annotated[Count, at_most(100_000)] = Field(default=_ENDPOINT.max_connections, examples=[2048])
    """The most connections that are open at once, like 2048. Unless it is set, each client of a closed loop has one."""
    wake: bool = False
    """Whether a server that scales to zero is woken, and waited for, before the run."""

    @model_validator(mode="before")
    @classmethod
    def _names_the_scripted_model(cls, value: Any) -> Any:
        """A scripted model is called so, unless the profile has another name for it."""
        is_scripted = isinstance(value, dict) and value.get("scripted") is not None
        is_named = "model" not in cls.model_fields or (isinstance(value, dict) and value.get("model") is not None)
        return value if is_named or not is_scripted else {**value, "model": "scripted"}

    @model_validator(mode="after")
    def _is_one_endpoint(self) -> Self:
        *first, last = places = [name for name in PLACES if name in type(self).model_fields]
        if sum(bool(getattr(self, place)) for place in places) != 1:
            raise BadValueError(f"target needs exactly one of {', '.join(first)} and {last}")
        if self.hardware is not None and getattr(self, "scripted", None) is not None:
            hint = "Leave hardware out, or measure a real target."
            raise BadValueError("a scripted target's timings are not those of any hardware", hint=hint)
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.api_key is not None and any(name.casefold() == "authorization" for name in self.headers):
            raise BadValueError("target has both api_key and a header Authorization: leave one out")
        if len({urlsplit(url).path.rstrip("/") for url in self.urls}) > 1:
            raise BadValueError("target.urls are replicas of one service, so all must have the same path")
        if len({urlsplit(url).scheme for url in self.urls}) > 1:
            raise BadValueError("target.urls are replicas of one service, so all must be plain or all encrypted")
        if len(set(self.urls)) < len(self.urls):
            raise BadValueError("target.urls names one of them twice")
        scheme = next((urlsplit(url).scheme for url in self.all_urls), "https")
        if (self.tls.ca_file or self.tls.cert_file) and scheme in _PLAIN:
            raise BadValueError(f"target.tls has certificates, and without {scheme}s:// in the URL none is asked for")
        if self.socket is not None and self.url is None:
            raise BadValueError("target.socket needs one url: what is asked for on the socket")
        if self.wake and not self.all_urls:
            raise BadValueError("target.wake is for an endpoint somewhere, so it needs its url")
        return self
