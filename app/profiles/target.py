"""What is measured, by the protocol it speaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.profiles.endpoint import EndpointSettings, TargetSettings
from app.profiles.problems import BadValueError
from app.profiles.scripted import ScriptedAnswers, ScriptedTensors, ScriptedTexts, ScriptedTokens
from app.profiles.serve import ServeSettings
from app.profiles.settings import ExistingFile, Listed
from app.profiles.urls import GrpcUrl

ModelName = Annotated[str, Field(pattern=r"^[!-~](?:[ -~]{0,254}[!-~])?$")]
"""As the server knows it; slashes and all."""
Version = Annotated[str, Field(pattern=r"^[!-.0-~]{1,64}$")]
_SERVES = {"serve": "The endpoint that a run serves itself speaks protocol oip."}


class HttpTarget(EndpointSettings):
    keys_of_others: ClassVar[dict[str, str]] = _SERVES | {
        "model": "Plain HTTP knows no model: its path and body say what is asked for.",
    }
    protocol: Literal["http"]
    """The language the target speaks."""
    scripted: ScriptedAnswers | None = None
    """A server of known timings that the run starts, to try a profile without a service."""


class _OpenAiTarget(EndpointSettings):
    """The URL is the base URL as clients take it, usually ending in /v1."""

    keys_of_others: ClassVar[dict[str, str]] = _SERVES
    model: ModelName = Field(examples=["my-model"])
    """The model's name as the server knows it, like my-model."""


class GeneratingTarget(_OpenAiTarget):
    protocol: Literal["openai-chat", "openai-completions", "openai-responses"]
    """The language the target speaks."""
    scripted: ScriptedTokens | None = None
    """A server of known timings that the run starts, to try a profile without a service."""


class EmbeddingsTarget(_OpenAiTarget):
    protocol: Literal["openai-embeddings"]
    """The language the target speaks."""
    scripted: ScriptedTexts | None = None
    """A server of known timings that the run starts, to try a profile without a service."""


class RerankTarget(_OpenAiTarget):
    protocol: Literal["openai-rerank"]
    """The language the target speaks."""
    scripted: ScriptedTexts | None = None
    """A server of known timings that the run starts, to try a profile without a service."""


class OipTarget(EndpointSettings):
    """`model` is the model's name on the server; a served one is known by its file's stem unless told otherwise."""

    protocol: Literal["oip"]
    """The language the target speaks."""
    serve: ServeSettings | None = None
    """An ONNX model that the run itself serves on this machine."""
    scripted: ScriptedTensors | None = None
    """A server of known timings that the run starts, to try a profile without a service."""
    model: ModelName
    """The model's name on the server; a served one is called as its file."""
    version: Version | None = Field(default=None, examples=["1"])
    """The model's version on the server, like 1."""

    @model_validator(mode="before")
    @classmethod
    def _names_the_served_model(cls, value: Any) -> Any:
        serve = value.get("serve") if isinstance(value, dict) else None
        served = serve.get("model") if isinstance(serve, dict) else None
        if isinstance(served, str) and value.get("model") is None:
            return {**value, "model": Path(served).stem}
        return value

    @model_validator(mode="after")
    def _can_serve_a_model_of_that_name(self) -> Self:
        if self.serve is not None and "/" in self.model:
            raise BadValueError("the name of a model that the run serves cannot hold /")
        return self


class OipGrpcTarget(EndpointSettings):
    """The same over gRPC; its URL is grpc://host:port, or grpcs:// for TLS."""

    keys_of_others: ClassVar[dict[str, str]] = _SERVES | {"scripted": "A scripted server speaks oip over HTTP."}
    protocol: Literal["oip-grpc"]
    """The language the target speaks."""
    url: GrpcUrl | None = Field(default=None, examples=["grpc://127.0.0.1:8001"])
    """Where it is, like grpc://127.0.0.1:8001, or grpcs:// for TLS."""
    urls: Listed[GrpcUrl] = Field(default=(), examples=[["grpc://host:8001"]])
    """Replicas of one service, each like grpc://host:8001."""
    model: ModelName
    """The model's name on the server."""
    version: Version | None = Field(default=None, examples=["1"])
    """The model's version on the server, like 1."""

    @model_validator(mode="after")
    def _verifies_certificates(self) -> Self:
        if not self.tls.verify:
            hint = "Give the file of the CA that signed it in tls.ca_file."
            raise BadValueError("tls.verify: false is for HTTP: gRPC always looks at the certificate", hint=hint)
        return self


class _ModelServerTarget(EndpointSettings):
    """A server of named models with versions."""

    keys_of_others: ClassVar[dict[str, str]] = _SERVES
    protocol: str
    """The language the target speaks."""
    scripted: ScriptedTensors | ScriptedAnswers | None = None
    """A server of known timings that the run starts, to try a profile without a service."""
    model: ModelName
    """The model's name on the server."""
    version: Version | None = Field(default=None, examples=["1"])
    """The model's version on the server, like 1."""


class TfServingTarget(_ModelServerTarget):
    """The URL has no path: the protocol's begins with /v1/models."""

    protocol: Literal["tf-serving"]
    """The language the target speaks."""
    scripted: ScriptedTensors | None = None
    """A server of known timings that the run starts, to try a profile without a service."""
    signature: Annotated[str, Field(pattern=r"^[!-~]{1,256}$")] = "serving_default"
    """Which of the model's signatures is called."""


class TorchServeTarget(_ModelServerTarget):
    """The URL has no path: the protocol's begins with /predictions."""

    protocol: Literal["torchserve"]
    """The language the target speaks."""
    scripted: ScriptedAnswers | None = None
    """A server of known timings that the run starts, to try a profile without a service."""
    version: Version | None = Field(default=None, examples=["1.0"])
    """The model's version on the server, like 1.0."""


class LocustTarget(TargetSettings):
    """A user's own Locust test; `url` is its host, in place of the one it names itself."""

    keys_of_others: ClassVar[dict[str, str]] = {
        key: f"{key} is for our own transport: a Locust test sends by its own."
        for key in ("headers", "api_key", "tls", "socket", "balance", "max_connections", "wake", "serve", "scripted")
    }
    protocol: Literal["locust"]
    """The language the target speaks."""
    file: ExistingFile = Field(examples=["locustfile.py"])
    """The Locust test, like locustfile.py; it is run unchanged."""

    @model_validator(mode="after")
    def _has_one_host(self) -> Self:
        if self.urls:
            raise BadValueError("a Locust test has one host: give it as url")
        return self
