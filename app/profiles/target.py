"""Settings of targets, one class per protocol, and of scripted targets.

A scripted target is a server with configured response times that the run starts, so that a profile
can be tried without a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from app.profiles.endpoint import (
    EndpointSettings,
    GrpcUrl,
    TargetSettings,
    WebSocketUrl,
)
from app.profiles.problems import BadValueError
from app.profiles.serve import ServeLanguageModelSettings, ServeSettings
from app.profiles.settings import Count, ExistingFile, Listed, Rate, Seconds, Settings, upper_bound
from app.records.protocols import (
    PROTOCOLS,
    get_protocol,
    join_text_generating_protocols,
    list_text_generating_protocols,
)
from loadgen.payloads.tensors import TensorInput
from loadgen.reference.script import (
    HttpMock,
    MockProtocol,
    OipMock,
    OpenAiMock,
    ServiceModel,
    TfServingMock,
    TorchServeMock,
)

_TENSOR = re.compile(r"([A-Z]+[0-9]*)\[ *(-?\d+(?: *, *-?\d+)*)? *\]", re.ASCII)
_DATATYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
              "BYTES")  # fmt: skip
_MAX_VALUES_PER_ROW = 4_000_000


def parse_tensor(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse the datatype and shape of a tensor such as `FP32[-1, 3, 224, 224]`.

    A dimension of -1 is a dynamic axis, usually the number of rows as the first dimension. Raises
    BadValueError.
    """
    match = _TENSOR.fullmatch(text)
    if match is None or match[1] not in _DATATYPES:
        hint = f"Use a value such as FP32[-1, 4], with one of the datatypes {', '.join(_DATATYPES)}."
        raise BadValueError(f"{text!r} is not a valid tensor", hint=hint)
    shape = tuple(int(size) for size in (match[2] or "").split(",") if size.strip())
    value_count = 1
    for size in shape:
        if size < -1 or size == 0:
            raise BadValueError(f"{text!r} has a size of {size}", hint="Sizes must be at least 1, or -1 for any.")
        value_count *= max(size, 1)
    if value_count > _MAX_VALUES_PER_ROW:
        raise BadValueError(f"{text!r} exceeds the maximum of {_MAX_VALUES_PER_ROW:,} values per row")
    return match[1], shape


def _parse_tensors(value: object) -> object:
    if not isinstance(value, dict) or not value:
        raise BadValueError("tensors must be a mapping of names", hint="Use a mapping such as {input: 'FP32[-1, 4]'}.")
    for text in value.values():
        if not isinstance(text, str):
            raise BadValueError(f"{text!r} is not a valid tensor", hint="Use a value such as FP32[-1, 4].")
        parse_tensor(text)
    return value


Tensors = Annotated[dict[str, str], BeforeValidator(_parse_tensors)]
Spread = Annotated[float, Field(ge=0), upper_bound(5)]
_SERVING_PROTOCOLS = " and ".join(row.id for row in PROTOCOLS if row.served_model == "language")
if TYPE_CHECKING:
    _TextProtocol = str
else:
    _TextProtocol = Literal[list_text_generating_protocols()]
_ROW_KEY_HINTS = {"row": "row is only for targets that accept several rows or texts at once."}
_TENSOR_KEY_HINTS = {key: f"{key} is only for tensor targets: oip and tf-serving." for key in ("inputs", "outputs")}
_TOKEN_KEY_HINTS = {
    key: f"{key} is only for {join_text_generating_protocols()}." for key in ("tokens", "output_tokens")
}
_RESPONSE_KEY_HINTS = {"response": "response is only for http and torchserve targets."}


class ScriptedSettings(Settings):
    """A scripted server with configured response times.

    `delay` is the time to the response, or to its first token. If `spread` is 0, this time is
    constant. Otherwise, it has a lognormal distribution with the median `delay`, and `spread` is
    the standard deviation of the logarithm. The server processes `parallel` requests at a time and
    queues all others.
    """

    delay_s: Seconds = Field(default=0.0, alias="delay", examples=["20ms"])
    """Latency of the response, or of its first token if it is streamed, such as 20ms. The time is
    constant, or the median if there is a spread."""
    spread: Spread = Field(default=0.0, examples=[0.3])
    """Standard deviation of the logarithm of the delay, such as 0.3. With 0, the delay is
    constant."""
    parallel: Annotated[Count, upper_bound(100_000)] | None = Field(default=None, examples=[4])
    """Maximum number of requests that the server processes at once, such as 4. Further requests are
    queued. Leave it empty for no limit."""
    seed: Annotated[int, Field(ge=0), upper_bound(2**31)] = Field(default=0, examples=[0])
    """Seed of the random delays, such as 0."""

    def build_service_model(self) -> ServiceModel:
        return ServiceModel(
            delay_s=self.delay_s,
            sigma=self.spread,
            servers=self.parallel,
            tokens_per_s=getattr(self, "tokens_per_s", None),
            row_s=getattr(self, "row_s", 0.0),
            seed=self.seed,
        )


class ScriptedResponses(ScriptedSettings):
    """A scripted server that responds to every request with the same JSON."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _ROW_KEY_HINTS | _TENSOR_KEY_HINTS | _TOKEN_KEY_HINTS
    response: JsonValue = Field(default_factory=dict)
    """Response to every request, as JSON."""


class ScriptedTokens(ScriptedSettings):
    """A scripted server that generates tokens.

    A response has the maximum number of tokens of the request, or `output_tokens` if the request
    sets no maximum. After the first token, tokens arrive at `tokens` per second.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = _ROW_KEY_HINTS | _TENSOR_KEY_HINTS | _RESPONSE_KEY_HINTS
    tokens_per_s: Rate = Field(default=100.0, alias="tokens", examples=["100/s"])
    """Rate at which the tokens of each response arrive, such as 100/s."""
    output_tokens: Annotated[Count, upper_bound(100_000)] = Field(default=64, examples=[64])
    """Number of tokens in a response if the request sets no maximum, such as 64."""


class ScriptedTexts(ScriptedSettings):
    """A scripted server whose response time increases by `row` for each text in a request."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _TENSOR_KEY_HINTS | _TOKEN_KEY_HINTS | _RESPONSE_KEY_HINTS
    row_s: Seconds = Field(default=0.0, alias="row", examples=["1ms"])
    """Additional time for each text of a request, such as 1ms."""


class ScriptedTensors(ScriptedSettings):
    """A scripted server that returns zeros in the shape of `outputs`. The response time increases
    by `row` for each row in a request."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _TOKEN_KEY_HINTS | _RESPONSE_KEY_HINTS
    row_s: Seconds = Field(default=0.0, alias="row", examples=["1ms"])
    """Additional time for each row of a request, such as 1ms."""
    inputs: Tensors = Field(default_factory=lambda: {"input": "FP32[-1, 4]"}, examples=[{"input": "FP32[-1, 4]"}])
    """Inputs of the model: names with their datatypes and shapes, such as FP32[-1, 4]."""
    outputs: Tensors = Field(default_factory=lambda: {"output": "FP32[-1, 2]"}, examples=[{"output": "FP32[-1, 2]"}])
    """Outputs of the model: names with their datatypes and shapes, such as FP32[-1, 2]."""

    def build_inputs(self) -> tuple[TensorInput, ...]:
        return _build_tensor_inputs(self.inputs)

    def build_outputs(self) -> tuple[TensorInput, ...]:
        return _build_tensor_inputs(self.outputs)


def _build_tensor_inputs(tensors: dict[str, str]) -> tuple[TensorInput, ...]:
    return tuple(TensorInput(name, *parse_tensor(text)) for name, text in tensors.items())


ModelName = Annotated[str, Field(pattern=r"^[!-~](?:[ -~]{0,254}[!-~])?$")]
"""Name of a model on the server. The name may contain slashes."""
ModelVersion = Annotated[str, Field(pattern=r"^[!-.0-~]{1,64}$")]
_SERVE_KEY_HINTS = {
    "serve": "The endpoint that a run starts uses protocol oip, or openai-chat or openai-completions for a language "
    "model."
}


def _fill_in_model_name(target: Any, get_name: Callable[[Path], str]) -> Any:
    """Return the values of a target with the name of the model that the run serves, unless the
    target sets a name."""
    serve = target.get("serve") if isinstance(target, dict) else None
    served_model = serve.get("model") if isinstance(serve, dict) else None
    if isinstance(served_model, str) and get_name(Path(served_model)) and target.get("model") is None:
        return {**target, "model": get_name(Path(served_model))}
    return target


def _check_served_name(name: str) -> None:
    if "/" in name:
        raise BadValueError("the name of a served model must not contain /")


class HttpTarget(EndpointSettings):
    misplaced_key_hints: ClassVar[dict[str, str]] = _SERVE_KEY_HINTS | {
        "model": "Plain HTTP has no model name: path and body define the request.",
    }
    protocol: Literal["http"]
    """Protocol of the target."""
    scripted: ScriptedResponses | None = None
    """Server with configured response times that the run starts, to try a profile without a
    service."""

    def build_mock(self) -> MockProtocol | None:
        scripted = self.scripted
        return None if scripted is None else HttpMock(scripted.build_service_model(), response=scripted.response)


class _OpenAiTarget(EndpointSettings):
    """A target with an OpenAI-compatible API. The URL of the target is the base URL of the API,
    which usually ends in /v1."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _SERVE_KEY_HINTS
    model: ModelName = Field(examples=["my-model"])
    """Name of the model on the server, such as my-model."""


class _LanguageModelTarget(_OpenAiTarget):
    """A target that generates text, on a server or served by the run itself."""

    misplaced_key_hints: ClassVar[dict[str, str]] = {}
    serve: ServeLanguageModelSettings | None = None
    """Language model that the run itself serves on this machine."""
    model: ModelName = Field(examples=["my-model"])
    """Name of the model on the server, such as my-model. A model that the run serves is named after
    its folder by default."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_model_name(cls, value: Any) -> Any:
        return _fill_in_model_name(value, lambda path: path.name)


class GeneratingTarget(_LanguageModelTarget):
    protocol: _TextProtocol
    """Protocol of the target."""
    scripted: ScriptedTokens | None = None
    """Server with configured response times that the run starts, to try a profile without a
    service."""

    def build_mock(self) -> MockProtocol | None:
        scripted = self.scripted
        if scripted is None:
            return None
        return OpenAiMock(scripted.build_service_model(), model=self.model, output_tokens=scripted.output_tokens)

    @model_validator(mode="after")
    def _check_serve(self) -> Self:
        if self.serve is not None:
            _check_served_name(self.model)
            if get_protocol(self.protocol).served_model != "language":
                raise BadValueError(f"serve is only for {_SERVING_PROTOCOLS}")
        return self


class EmbeddingsTarget(_OpenAiTarget):
    protocol: Literal["openai-embeddings"]
    """Protocol of the target."""
    scripted: ScriptedTexts | None = None
    """Server with configured response times that the run starts, to try a profile without a
    service."""

    def build_mock(self) -> MockProtocol | None:
        scripted = self.scripted
        return None if scripted is None else OpenAiMock(scripted.build_service_model(), model=self.model)


class RerankTarget(_OpenAiTarget):
    protocol: Literal["openai-rerank"]
    """Protocol of the target."""
    scripted: ScriptedTexts | None = None
    """Server with configured response times that the run starts, to try a profile without a
    service."""

    def build_mock(self) -> MockProtocol | None:
        scripted = self.scripted
        return None if scripted is None else OpenAiMock(scripted.build_service_model(), model=self.model)


class SpeechTarget(_OpenAiTarget):
    protocol: Literal["openai-speech"]
    """Protocol of the target."""


class TranscriptionTarget(_OpenAiTarget):
    protocol: Literal["openai-transcriptions"]
    """Protocol of the target."""


class ImageTarget(_OpenAiTarget):
    protocol: Literal["openai-images"]
    """Protocol of the target."""


class RealtimeTarget(_OpenAiTarget):
    """A target with the OpenAI Realtime API over WebSocket. ws:// and wss:// in its URL are the same
    as http:// and https://."""

    protocol: Literal["openai-realtime"]
    """Protocol of the target."""
    url: WebSocketUrl | None = Field(default=None, examples=["ws://127.0.0.1:8000/v1"])
    """URL of the target, such as ws://127.0.0.1:8000/v1. Use wss:// for TLS."""
    urls: Listed[WebSocketUrl] = Field(default=(), examples=[["ws://host:8000/v1"]])
    """URLs of the replicas of one service, each such as ws://host:8000/v1."""


class BatchTarget(_OpenAiTarget):
    """A target with the Batch API of OpenAI. The URL of the target is the base URL of the API, which
    usually ends in /v1."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _SERVE_KEY_HINTS | {
        "scripted": "A scripted server has no Batch API."
    }
    protocol: Literal["openai-batch"]
    """Protocol of the target."""

    @model_validator(mode="after")
    def _check_single_url(self) -> Self:
        if self.urls:
            raise BadValueError("a batch is sent to a single server", hint="Set url instead of urls.")
        if self.socket is not None:
            raise BadValueError("a batch cannot be sent over a Unix socket", hint="Remove target.socket.")
        return self


class _ModelServerTarget(EndpointSettings):
    """A target on a server that hosts named models with versions."""

    model: ModelName = Field(examples=["my-model"])
    """Name of the model on the server, such as my-model."""
    version: ModelVersion | None = Field(default=None, examples=["1"])
    """Version of the model on the server, such as 1."""


class OipTarget(_ModelServerTarget):
    """A target that uses the Open Inference Protocol over HTTP.

    `model` is the name of the model on the server. A model that the run serves is named after its
    file by default.
    """

    protocol: Literal["oip"]
    """Protocol of the target."""
    serve: ServeSettings | None = None
    """ONNX model that the run itself serves on this machine."""
    scripted: ScriptedTensors | None = None
    """Server with configured response times that the run starts, to try a profile without a
    service."""
    model: ModelName = Field(examples=["my-model"])
    """Name of the model on the server, such as my-model. A model that the run serves is named after
    its file by default."""

    def build_mock(self) -> MockProtocol | None:
        scripted = self.scripted
        if scripted is None:
            return None
        return OipMock(scripted.build_service_model(), self.model, scripted.build_inputs(), scripted.build_outputs())

    @model_validator(mode="before")
    @classmethod
    def _fill_in_model_name(cls, value: Any) -> Any:
        return _fill_in_model_name(value, lambda path: path.stem)

    @model_validator(mode="after")
    def _check_serve(self) -> Self:
        if self.serve is not None:
            _check_served_name(self.model)
        return self


class _GrpcEndpointSettings(EndpointSettings):
    """A target that is called over gRPC. The URL of the target is grpc://host:port, or
    grpcs://host:port for TLS."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _SERVE_KEY_HINTS | {
        "scripted": "A scripted server uses oip over HTTP."
    }
    url: GrpcUrl | None = Field(default=None, examples=["grpc://127.0.0.1:8001"])
    """URL of the target, such as grpc://127.0.0.1:8001. Use grpcs:// for TLS."""
    urls: Listed[GrpcUrl] = Field(default=(), examples=[["grpc://host:8001"]])
    """URLs of the replicas of one service, each such as grpc://host:8001."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if not self.tls.verify:
            hint = "Set the file of the CA that signed it in tls.ca_file."
            raise BadValueError("tls.verify: false is only for HTTP: gRPC always verifies the certificate", hint=hint)
        return self


class OipGrpcTarget(_GrpcEndpointSettings, _ModelServerTarget):
    """A target that uses the Open Inference Protocol over gRPC. The URL of the target is
    grpc://host:port, or grpcs://host:port for TLS."""

    protocol: Literal["oip-grpc"]
    """Protocol of the target."""


class TfServingTarget(_ModelServerTarget):
    """A TensorFlow Serving target. The URL of the target has no path, because Sizewise adds the
    paths of the protocol, which start with /v1/models."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _SERVE_KEY_HINTS
    protocol: Literal["tf-serving"]
    """Protocol of the target."""
    scripted: ScriptedTensors | None = None
    """Server with configured response times that the run starts, to try a profile without a
    service."""
    signature: Annotated[str, Field(pattern=r"^[!-~]{1,256}$")] = "serving_default"
    """Name of the model signature to call."""

    def build_mock(self) -> MockProtocol | None:
        scripted = self.scripted
        if scripted is None:
            return None
        tensors = (scripted.build_inputs(), scripted.build_outputs())
        return TfServingMock(scripted.build_service_model(), self.model, *tensors, self.signature)


class TorchServeTarget(_ModelServerTarget):
    """A TorchServe target. The URL of the target has no path, because Sizewise adds the paths of
    the protocol, which start with /predictions."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _SERVE_KEY_HINTS
    protocol: Literal["torchserve"]
    """Protocol of the target."""
    scripted: ScriptedResponses | None = None
    """Server with configured response times that the run starts, to try a profile without a
    service."""
    version: ModelVersion | None = Field(default=None, examples=["1.0"])
    """Version of the model on the server, such as 1.0."""

    def build_mock(self) -> MockProtocol | None:
        scripted = self.scripted
        return (
            None if scripted is None else TorchServeMock(scripted.build_service_model(), self.model, scripted.response)
        )


class GrpcTarget(_GrpcEndpointSettings):
    """A target with any gRPC service. The URL of the target is grpc://host:port, or
    grpcs://host:port for TLS."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _GrpcEndpointSettings.misplaced_key_hints | {
        "model": "A gRPC service has no model name: workload.method and the messages define the request.",
    }
    protocol: Literal["grpc"]
    """Protocol of the target."""


class LocustTarget(TargetSettings):
    """A user's own Locust test. `url` replaces the host that the test itself sets."""

    misplaced_key_hints: ClassVar[dict[str, str]] = {
        key: f"{key} applies to Sizewise's own client, but a Locust test uses its own client."
        for key in (
            "headers",
            "api_key",
            "tls",
            "socket",
            "balance",
            "max_connections",
            "wake",
            "traceparent",
            "serve",
            "scripted",
        )
    }
    protocol: Literal["locust"]
    """Protocol of the target."""
    file: ExistingFile = Field(examples=["locustfile.py"])
    """Path of the Locust test, which is run unchanged, such as locustfile.py."""

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:  # noqa: ARG002 - of the base
        if "urls" in set_keys:
            raise BadValueError("a Locust test has a single host", hint="Set url instead of urls.")
