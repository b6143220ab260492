"""Settings that all targets share: addresses, connections, hardware and the server that the run may
start.

URLs, headers and environment variables are checked for secrets and serialized without secrets. The
target's own server is started before the measurement and stopped afterwards.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, model_validator

from app.profiles import secrets
from app.profiles.problems import BadValueError
from app.profiles.settings import (
    Count,
    ExistingFile,
    Key,
    Listed,
    PositiveSeconds,
    ReadAs,
    Settings,
    UncheckedPath,
    WrittenAs,
    build_settings,
    files_must_exist,
    get_profile_directory,
    resolve_path,
    upper_bound,
)
from app.records.protocols import get_protocol
from app.records.result import DeclaredHardware
from loadgen.records import Endpoint, Timeouts, Tls

if TYPE_CHECKING:
    from loadgen.reference.script import MockProtocol


def _build_url_parser(*schemes: str) -> Callable[[object], str]:
    allowed_schemes = " or ".join(f"{scheme}://" for scheme in schemes)

    def parse_url(value: object) -> str:
        if not isinstance(value, str):
            raise BadValueError("the URL must be text")
        try:
            url_parts = urlsplit(value)
            url_parts.port  # noqa: B018 - reading it checks it
        except ValueError as error:
            raise BadValueError("the URL is not valid", hint="Use a URL such as http://host:8000.") from error
        secrets.check_url_has_no_secret(value)
        if url_parts.scheme not in schemes or not url_parts.hostname:
            raise BadValueError(f"the URL must start with {allowed_schemes} and contain a host")
        if not value.isprintable() or not value.isascii() or " " in value or url_parts.fragment:
            raise BadValueError("the URL must be percent-encoded and have no fragment")
        try:
            url_parts.hostname.encode("idna")
        except UnicodeError as error:
            raise BadValueError(
                "the host name of the URL is not valid", hint="Each part between two dots has 1 to 63 characters."
            ) from error
        return value

    return parse_url


parse_http_url = _build_url_parser("http", "https")
_parse_url_with_grpc_scheme = _build_url_parser("grpc", "grpcs")


def _parse_grpc_url(value: object) -> str:
    url = _parse_url_with_grpc_scheme(value)
    url_parts = urlsplit(url)
    if url_parts.path.rstrip("/") or url_parts.query:
        raise BadValueError("a gRPC URL has neither a path nor a query", hint="Write grpc://host:port.")
    if url_parts.port is None:
        raise BadValueError(
            "a gRPC URL must contain a port", hint="Write grpc://host:port; Triton's port is usually 8001."
        )
    return url


def _parse_ready_url(value: object) -> str:
    if isinstance(value, str) and value.startswith("/"):
        parse_http_url(f"http://host{value}")
        return value
    return parse_http_url(value)


def _parse_websocket_url(value: object) -> str:
    """Return the URL of the upgrade requests to a WebSocket, which begins with http:// or https://."""
    if isinstance(value, str) and value.casefold().startswith(("ws://", "wss://")):
        value = f"http{value[2:]}"
    return parse_http_url(value)


HttpUrl = Annotated[str, BeforeValidator(parse_http_url)]
GrpcUrl = Annotated[str, BeforeValidator(_parse_grpc_url)]
WebSocketUrl = Annotated[str, BeforeValidator(_parse_websocket_url)]
ReadyUrl = Annotated[str, BeforeValidator(_parse_ready_url)]
"""Readiness URL of a server that the run starts, or its path on the host of the target."""


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_REFERENCE_HINT = "Write env:NAME, or file:PATH for a file that contains it."


def _parse_headers(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        return value
    for name, text in value.items():
        if _HEADER_NAME.fullmatch(name) is None:
            raise BadValueError(f"{name!r} is not a valid header name")
        if not isinstance(text, str) or not text.isprintable():
            raise BadValueError(f"header {name} must be a single line of text", hint="Enclose numbers in quotes.")
    return {name: secrets.make_reference_absolute(text, get_profile_directory(info)) for name, text in value.items()}


def _redact_headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: secrets.redact_header(name, value) for name, value in headers.items()}


def _parse_api_key(value: object, info: ValidationInfo) -> object:
    if value is None or value == secrets.REDACTED:
        return value
    if not isinstance(value, str) or not secrets.is_reference(value) or value.startswith(("Bearer", "Basic")):
        raise BadValueError("api_key must name where the key is stored, not contain the key", hint=_REFERENCE_HINT)
    return secrets.make_reference_absolute(value, get_profile_directory(info))


def _parse_environment_variables(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        return value
    for name, text in value.items():
        if _VARIABLE_NAME.fullmatch(name) is None:
            raise BadValueError(f"{name!r} is not a valid environment variable name")
        if not isinstance(text, str) or "\0" in text:
            raise BadValueError(f"variable {name} must be text", hint="Enclose numbers in quotes.")
        if secrets.is_secret_name(name) and not secrets.is_reference(text):
            raise BadValueError(
                f"variable {name} looks like a secret, which a profile must not contain", hint=_REFERENCE_HINT
            )
    return {name: secrets.make_reference_absolute(text, get_profile_directory(info)) for name, text in value.items()}


Headers = Annotated[dict[str, str], BeforeValidator(_parse_headers), PlainSerializer(_redact_headers)]
ApiKey = Annotated[str, BeforeValidator(_parse_api_key)]
EnvironmentVariables = Annotated[dict[str, str], BeforeValidator(_parse_environment_variables)]


def _parse_command(value: object) -> object:
    """Parse a command: a list of arguments, or text that is split into arguments by the quoting
    rules of a shell. No shell is involved."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise BadValueError(f"the command cannot be split into words: {error}") from error
    if (
        not isinstance(value, list | tuple)
        or not value
        or not all(isinstance(argument, str) and argument for argument in value)
    ):
        raise BadValueError("a command must be text or a list of texts", hint="Enclose numbers in quotes.")
    for argument, next_argument in zip(value, [*value[1:], ""], strict=True):
        option, equals, option_value = argument.partition("=")
        if (
            argument.startswith("-")
            and secrets.is_secret_name(option)
            and (option_value if equals else next_argument[:1] not in "-")
        ):
            hint = "Pass the secret to the server in target.start.env as env:NAME, or let the server read a file."
            raise BadValueError(f"the command seems to contain a secret: {option}", hint=hint)
    return tuple(value)


def _parse_directory(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not a valid folder path")
    path = resolve_path(value, info)
    if files_must_exist(info) and not path.is_dir():
        raise BadValueError(f"the folder {path} does not exist", hint="Paths are relative to the profile's folder.")
    return path


class StartSettings(Settings):
    """Settings of a server that the run starts.

    The server is ready when `ready`, a URL or a path on the target's host, returns a 2xx status.
    The variables in `env` are added to the environment variables of Sizewise, which the server
    inherits.
    """

    command: Annotated[Listed[str], BeforeValidator(_parse_command)] = Field(
        examples=[["python server.py --port 8000"]]
    )
    """Command that starts the server, as text, such as python server.py --port 8000. It does not
    run in a shell."""
    ready: ReadyUrl = Field(examples=["/health"])
    """URL or path that returns a 2xx status once the server is ready, such as /health."""
    timeout_s: PositiveSeconds = Field(default=120.0, alias="timeout", examples=["120s"])
    """Maximum time to wait until the server is ready, such as 120s."""
    directory: Annotated[Path, BeforeValidator(_parse_directory), PlainSerializer(str)] = Field(
        default="./", validate_default=True
    )
    """Working directory of the server."""
    env: EnvironmentVariables = Field(default_factory=dict)
    """Additional environment variables of the server. Write secrets as env:NAME."""


_PLAINTEXT_SCHEMES = ("http", "grpc")
ADDRESS_KEYS = ("url", "urls", "serve", "scripted")
"""Keys that set the address of a target. Exactly one of them must be set."""
Balance = Literal["round-robin", "least-outstanding", "power-of-two"]


class _HardwareForms(Settings):
    one_of: ClassVar[dict[str, tuple[str, ...]]] = {
        "hardware type": ("offer", "accelerator", "vcpus", "accelerator+vcpus")
    }

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:
        if "+".join(set_keys) not in forms:
            raise BadValueError("hardware needs either offer, or accelerator, vcpus or both")


HardwareSettings = build_settings(
    DeclaredHardware,
    class_name="HardwareSettings",
    base=_HardwareForms,
    offer=Key(str | None, "Cloud instance from the price list, such as aws/g6.2xlarge.", "aws/g6.2xlarge"),
    accelerator=Key(str | None, "Accelerator of hardware that is not a listed offer, such as l4.", "l4"),
    accelerator_count=Key(
        Annotated[float, Field(gt=0), upper_bound(10_000)],
        "Number of accelerators, or a fraction of one, such as 1 or 0.5.",
        1,
        alias="count",
        default=1.0,
    ),
    vcpus=Key(Annotated[float, Field(gt=0), upper_bound(100_000)] | None, "Number of virtual CPUs, such as 8.", 8),
    architecture=Key(Literal["x86_64", "arm64"] | None, "CPU architecture."),
    replicas=Key(
        Annotated[Count, upper_bound(10_000)], "Number of replicas of the model that share this hardware, such as 1.", 1
    ),
)


TargetHardware = Annotated[DeclaredHardware, ReadAs(HardwareSettings)]


FileName = Annotated[str, WrittenAs(ExistingFile, str, str)]
TlsSettings = build_settings(
    Tls,
    verify=Key(
        bool,
        "Whether the certificate of the server is verified. Otherwise, any server can impersonate the target.",
    ),
    ca_file=Key(FileName | None, "PEM file of the CA that signed the server's certificate."),
    cert_file=Key(FileName | None, "PEM file of the client certificate, if the server requires one."),
    key_file=Key(FileName | None, "PEM file of the client certificate's private key."),
)


def _check_key_file(tls: Tls) -> None:
    if tls.key_file is not None and tls.cert_file is None:
        raise BadValueError("tls.key_file is the key for tls.cert_file, which is missing")


_ENDPOINT_DEFAULTS = Endpoint(urls=())
"""Record whose field values are the defaults of the endpoint settings."""


TimeoutSettings = build_settings(
    Timeouts,
    connect_s=Key(PositiveSeconds, "Maximum time to connect to the target, such as 5s.", "5s", alias="connect"),
    idle_s=Key(
        PositiveSeconds, "Maximum time without receiving a byte of the response, such as 30s.", "30s", alias="idle"
    ),
    total_s=Key(
        PositiveSeconds, "Maximum time from the send to the end of the response, such as 60s.", "60s", alias="total"
    ),
)


class TargetSettings(Settings):
    """Settings that every target has.

    Exactly one of `url` and `urls` is set, unless the run itself serves the target.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"address": ADDRESS_KEYS}
    subject: ClassVar[str] = "target"

    if TYPE_CHECKING:
        protocol: str  # each class declares its own protocols
    url: HttpUrl | None = Field(default=None, examples=["http://127.0.0.1:8000/score"])
    """URL of the target, such as http://127.0.0.1:8000/score."""
    urls: Listed[HttpUrl] = ()
    """URLs of the replicas of one service. The load is balanced across the URLs."""
    hardware: TargetHardware | None = None
    """Hardware of the target. Without it, no fleet is planned, unless the target is on this
    machine."""
    permitted: bool = False
    """Confirmation that you may load-test the host of the target. It is required for hosts outside
    this machine and private networks."""
    start: StartSettings | None = None
    """Server that the run starts before measuring and stops afterwards."""
    timeouts: Annotated[Timeouts, ReadAs(TimeoutSettings)] = Timeouts()
    """Timeouts after which a request counts as failed."""

    @property
    def all_urls(self) -> tuple[str, ...]:
        """URLs of the target; empty for a target that the run itself serves."""
        return self.urls if self.url is None else (self.url,)

    @property
    def model_name(self) -> str | None:
        """Name of the model on the server; `None` if the protocol has no names of models."""
        return getattr(self, "model", None)

    def build_mock(self) -> MockProtocol | None:
        """Return the mock protocol of a scripted target; `None` if the target is not scripted."""
        return None

    @model_validator(mode="after")
    def _check_started_url(self) -> Self:
        if self.start is not None and not self.all_urls:
            raise BadValueError("target.start needs target.url, the URL of the started server")
        return self


class EndpointSettings(TargetSettings):
    """Settings of targets that Sizewise itself sends requests to.

    Several `urls` are replicas of one service. `api_key` is sent as a bearer token, or in the header
    that the protocol defines.
    """

    balance: Balance = "round-robin"
    """Load-balancing policy across several URLs."""
    socket: UncheckedPath | None = Field(default=None, examples=["/run/server.sock"])
    """Unix socket to connect to instead of the URL's host, such as /run/server.sock."""
    headers: Headers = Field(default_factory=dict)
    """Headers sent with each request. Write secrets as references: env:NAME or file:PATH."""
    api_key: ApiKey | None = None
    """Reference to the bearer token: env:API_KEY, or file:PATH. For anthropic-messages, it is sent
    as x-api-key."""
    tls: Annotated[Tls, ReadAs(TlsSettings, _check_key_file)] = Tls()
    """TLS settings: certificates, and whether the certificate of the target is verified."""
    max_connections: Annotated[Count, upper_bound(100_000)] = Field(
        default=_ENDPOINT_DEFAULTS.max_connections, examples=[2048]
    )
    """Maximum number of open connections, such as 2048. If not set, the limit is at least the
    number of closed-loop clients."""
    wake: bool = False
    """Wake-up of a target that scales to zero. The run starts when the target is ready."""
    traceparent: bool = False
    """Whether each request has the header traceparent of W3C Trace Context, so that
    `sizewise explain --spans` can match the spans of the target with the requests."""

    @property
    def key_header(self) -> tuple[str, str]:
        """Name of the header that carries the API key, and the text before the key."""
        return get_protocol(self.protocol).key_header

    @model_validator(mode="before")
    @classmethod
    def _fill_in_scripted_model(cls, value: Any) -> Any:
        """Set the model name of a scripted target to "scripted", unless the profile sets a name."""
        is_scripted = isinstance(value, dict) and value.get("scripted") is not None
        is_named = "model" not in cls.model_fields or (isinstance(value, dict) and value.get("model") is not None)
        return value if is_named or not is_scripted else {**value, "model": "scripted"}

    @model_validator(mode="after")
    def _check_scripted_hardware(self) -> Self:
        if self.hardware is not None and getattr(self, "scripted", None) is not None:
            hint = "Remove hardware, or measure a real target."
            raise BadValueError("the timings of a scripted target do not represent hardware", hint=hint)
        return self

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        key_name, _ = self.key_header
        if self.api_key is not None and any(name.casefold() == key_name.casefold() for name in self.headers):
            raise BadValueError(f"target has both api_key and an {key_name} header", hint="Remove one of them.")
        if self.traceparent and any(name.casefold() == "traceparent" for name in self.headers):
            hint = "Remove the header, which would be the same for all requests."
            raise BadValueError("target has both traceparent and a traceparent header", hint=hint)
        if self.traceparent and any(urlsplit(url).scheme in ("grpc", "grpcs") for url in self.all_urls):
            raise BadValueError("target.traceparent needs a target with HTTP", hint="Remove traceparent.")
        if len({urlsplit(url).path.rstrip("/") for url in self.urls}) > 1:
            raise BadValueError("target.urls are replicas of one service, so all must have the same path")
        if len({urlsplit(url).scheme for url in self.urls}) > 1:
            raise BadValueError("target.urls are replicas of one service, so all or none must use TLS")
        if len(set(self.urls)) < len(self.urls):
            raise BadValueError("target.urls contains a duplicate")
        scheme = next((urlsplit(url).scheme for url in self.all_urls), "https")
        if (self.tls.ca_file or self.tls.cert_file) and scheme in _PLAINTEXT_SCHEMES:
            raise BadValueError(f"target.tls has certificates, but they are used only with {scheme}s:// URLs")
        if self.socket is not None and self.url is None:
            raise BadValueError("target.socket needs target.url, the URL to request through the socket")
        if self.wake and not self.all_urls:
            raise BadValueError("target.wake needs target.url or target.urls")
        return self
