"""What all targets have: where they are, how they are spoken to, and what they run on."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from app.profiles.headers import ApiKey, Headers
from app.profiles.problems import BadValueError
from app.profiles.settings import Count, ExistingFile, Listed, Settings, SomePath, SomeSeconds, at_most
from app.profiles.start import StartSettings
from app.profiles.urls import HttpUrl

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


class TimeoutSettings(Settings):
    connect_s: SomeSeconds = Field(default=5.0, alias="connect", examples=["5s"])
    """The longest that a connection may take, like 5s."""
    idle_s: SomeSeconds = Field(default=30.0, alias="idle", examples=["30s"])
    """The longest silence in the middle of an answer, like 30s."""
    total_s: SomeSeconds = Field(default=60.0, alias="total", examples=["60s"])
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
    max_connections: Annotated[Count, at_most(100_000)] = Field(default=2048, examples=[2048])
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
