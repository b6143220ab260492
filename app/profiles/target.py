"""What is measured, by the protocol it speaks.

A scripted target: a server of known timings that the run starts, to try a profile without a model.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from app.profiles.endpoint import EndpointSettings, GrpcUrl, TargetSettings
from app.profiles.problems import BadValueError
from app.profiles.serve import ServeSettings
from app.profiles.settings import Count, ExistingFile, Listed, Rate, Seconds, Settings, at_most

_TENSOR = re.compile(r"([A-Z]+[0-9]*)\[ *(-?\d+(?: *, *-?\d+)*)? *\]", re.ASCII)
_DATATYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
              "BYTES")  # fmt: skip
_MOST_VALUES = 4_000_000


def parse_tensor(text: str) -> tuple[str, tuple[int, ...]]:
    """Datatype and shape of `FP32[-1, 3, 224, 224]`; -1 is any size, first of all the rows'."""
    match = _TENSOR.fullmatch(text)
    if match is None or match[1] not in _DATATYPES:
        hint = f"Write it like FP32[-1, 4]; datatypes are {', '.join(_DATATYPES)}."
        raise BadValueError(f"{text!r} is not a tensor", hint=hint)
    shape = tuple(int(size) for size in (match[2] or "").split(",") if size.strip())
    values = 1
    for size in shape:
        if size < -1 or size == 0:
            raise BadValueError(f"{text!r} has a size of {size}", hint="Sizes are at least 1, or -1 for any.")
        values *= max(size, 1)
    if values > _MOST_VALUES:
        raise BadValueError(f"{text!r} has more than {_MOST_VALUES:,} values a row")
    return match[1], shape


def _read_tensors(value: object) -> object:
    if not isinstance(value, dict) or not value:
        raise BadValueError("tensors are a mapping of names", hint="Write it like {input: 'FP32[-1, 4]'}.")
    for text in value.values():
        if not isinstance(text, str):
            raise BadValueError(f"{text!r} is not a tensor", hint="Write it like FP32[-1, 4].")
        parse_tensor(text)
    return value


Tensors = Annotated[dict[str, str], BeforeValidator(_read_tensors)]
Spread = Annotated[float, Field(ge=0), at_most(5)]
_ROW = {"row": "row is for targets that take several rows or texts at once."}
_TENSORS = {key: f"{key} is for targets of tensors: oip and tf-serving." for key in ("inputs", "outputs")}
_TOKENS = {key: f"{key} is for openai-chat, -completions and -responses." for key in ("tokens", "output_tokens")}
_ANSWER = {"answer": "answer is for http and torchserve targets."}


class ScriptedSettings(Settings):
    """An answer, or its first token, takes `delay`: always, or as the median of a lognormal distribution where
    `spread` is the standard deviation of the logarithm. `parallel` requests are worked on at a time, the rest wait."""

    delay_s: Seconds = Field(default=0.0, alias="delay", examples=["20ms"])
    """How long an answer, or its first token, takes: always, or the median with spread, like 20ms."""
    spread: Spread = Field(default=0.0, examples=[0.3])
    """The standard deviation of the delay's logarithm, like 0.3; 0 is always the same."""
    parallel: Annotated[Count, at_most(100_000)] | None = Field(default=None, examples=[4])
    """How many requests are worked on at once, the rest wait; empty is all, like 4."""
    seed: Annotated[int, Field(ge=0), at_most(2**31)] = Field(default=0, examples=[0])
    """Of the random delays, like 0."""


class ScriptedAnswers(ScriptedSettings):
    """Every request gets `answer`, as JSON."""

    keys_of_others: ClassVar[dict[str, str]] = _ROW | _TENSORS | _TOKENS
    answer: JsonValue = Field(default_factory=dict)
    """What every request is answered with, as JSON."""


class ScriptedTokens(ScriptedSettings):
    """Answers of so many tokens as asked for, else `output_tokens`, at `tokens` a second after the first."""

    keys_of_others: ClassVar[dict[str, str]] = _ROW | _TENSORS | _ANSWER
    tokens_per_s: Rate = Field(default=100.0, alias="tokens", examples=["100/s"])
    """How fast each answer's tokens come, like 100/s."""
    output_tokens: Annotated[Count, at_most(100_000)] = Field(default=64, examples=[64])
    """Tokens of an answer for which no number was asked, like 64."""


class ScriptedTexts(ScriptedSettings):
    """Each text of a request takes `row` more."""

    keys_of_others: ClassVar[dict[str, str]] = _TENSORS | _TOKENS | _ANSWER
    row_s: Seconds = Field(default=0.0, alias="row", examples=["1ms"])
    """How much longer it takes for each text of a request, like 1ms."""


class ScriptedTensors(ScriptedSettings):
    """Zeros in the shape of `outputs`; each row of a request takes `row` more."""

    keys_of_others: ClassVar[dict[str, str]] = _TOKENS | _ANSWER
    row_s: Seconds = Field(default=0.0, alias="row", examples=["1ms"])
    """How much longer it takes for each row of a request, like 1ms."""
    inputs: Tensors = Field(default_factory=lambda: {"input": "FP32[-1, 4]"}, examples=[{"input": "FP32[-1, 4]"}])
    """The model's inputs: names with types and shapes, like FP32[-1, 4]."""
    outputs: Tensors = Field(default_factory=lambda: {"output": "FP32[-1, 2]"}, examples=[{"output": "FP32[-1, 2]"}])
    """The model's outputs: names with types and shapes, like FP32[-1, 2]."""


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
