"""Settings of workloads, which define the content of the requests. Each protocol has its own
class."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from app.profiles import secrets
from app.profiles.classes import UNIQUE_CLASSES, ClassKeys
from app.profiles.datasets import Body, DatasetPath, PopularityText, is_redacted
from app.profiles.problems import BadValueError
from app.profiles.settings import (
    Count,
    ExistingFile,
    Key,
    Listed,
    Rate,
    ReadAs,
    Settings,
    WrittenAs,
    build_settings,
    upper_bound,
)
from loadgen.workloads import Expectation, Popularity, find_json_type

MediaType = Annotated[str, Field(pattern="^[!-~](?:[ -~]{0,254}[!-~])?$")]
OutputName = Annotated[str, Field(min_length=1, max_length=200)]
RowCount = Annotated[Count, upper_bound(65_536)]
_GRPC_METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,254}/[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_HTTP_KEY_HINTS = {
    key: f"{key} is only for protocol http."
    for key in ("method", "path", "body", "bodies", "dataset", "template", "expect", "content_type")
}
_TENSOR_KEY_HINTS = {
    key: f"{key} is only for protocol oip." for key in ("tensors", "labels", "output", "rows_per_request", "binary")
}
_PROMPT_KEY_HINTS = {key: f"{key} is only for openai-… protocols." for key in ("prompts", "extra_body", "tokenizer")}
_CLASS_KEY_HINTS = {"classes": "classes is only for protocol http, and for text generation."}


def _check_path(value: object) -> object:
    if isinstance(value, str):
        if "#" in value:
            raise BadValueError("a path is sent without a fragment, so it must not contain #")
        secrets.check_url_has_no_secret(f"http://host{value}")
    return value


def _check_pattern(value: object) -> object:
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as error:
            raise BadValueError(f"the value is not a valid regular expression: {error}") from error
    return value


def _check_grpc_method(value: object) -> object:
    if not isinstance(value, str) or not _GRPC_METHOD.fullmatch(value):
        raise BadValueError(f"{value!r} is not a gRPC method", hint="Use a value such as grpc.health.v1.Health/Check.")
    return value


def _accept_single_status(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


def _check_expectation(expect: Expectation) -> None:
    if expect.equals is not None and expect.matches is not None:
        raise BadValueError("expect must have only one of equals and matches")
    if expect == Expectation():
        raise BadValueError("expect needs status, pointer, equals or matches")


def _encode_json(value: JsonValue) -> bytes | None:
    return None if value is None else json.dumps(value, ensure_ascii=False).encode()


def _decode_json(content: bytes | None) -> JsonValue:
    return None if content is None else json.loads(content)


ExpectSettings = build_settings(
    Expectation,
    class_name="ExpectSettings",
    statuses=Key(
        Annotated[Listed[Annotated[int, Field(ge=100, le=599)]], BeforeValidator(_accept_single_status)],
        "Accepted status codes, such as 200.",
        [200],
        alias="status",
    ),
    pointer=Key(
        Annotated[str, Field(pattern=r"^(?:/(?:[^~]|~[01])*)?$")] | None,
        "JSON pointer to the value to check, such as /result/score. Leave it empty to check the whole body.",
        "/result/score",
    ),
    equals=Key(Annotated[bytes | None, WrittenAs(JsonValue, _encode_json, _decode_json)], "Expected value, as JSON."),
    matches=Key(
        Annotated[str, BeforeValidator(_check_pattern)] | None, "Regular expression that the value must match."
    ),
)


class _BodyRequests(Settings):
    """Requests with bodies: the same body for all requests, several bodies that are sent in turn,
    or one body per row of a dataset."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"body source": ("body", "bodies", "dataset")}
    requires_form: ClassVar[bool] = False
    subject: ClassVar[str] = "workload"

    body: Body = None
    """Body of each request, as JSON or text."""
    bodies: Listed[Body] = ()
    """Request bodies that are sent in turn."""
    dataset: DatasetPath | None = None
    """Dataset whose rows are sent in turn: a .jsonl, .json, .csv or .parquet file, or a folder."""
    popularity: PopularityText = Popularity()
    """Popularity of the requests: how often each request is sent. One of sequential, uniform, zipf
    or {zipf: 1.1}."""


class _HttpContent(_BodyRequests):
    """Content of requests over plain HTTP.

    `bodies` and the rows of `dataset` are sent in turn. Text is sent unchanged; any other value is
    sent as JSON. `{{column}}` in `template` and `path` is replaced by the value of that column in
    each row of `dataset`. The default `content_type` of `body` and `bodies` is application/json; that
    of a dataset is derived from the template or from the name of a file.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = _TENSOR_KEY_HINTS | _PROMPT_KEY_HINTS
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
    """HTTP method. The default is POST for requests with a body, otherwise GET."""
    path: Annotated[str, Field(pattern=r"^/[!-~]*$"), BeforeValidator(_check_path)] | None = Field(
        default=None, examples=["/v1/score"]
    )
    """Path of the request, instead of the path of the URL, such as /v1/score."""
    template: Body = None
    """Request body in which {{column}} is replaced by the value of that column in each row of the
    dataset."""
    expect: Annotated[Expectation, ReadAs(ExpectSettings, _check_expectation)] | None = None
    """Checks that a response must pass to count as successful."""
    content_type: MediaType | None = None
    """Media type of the request body. Leave it empty to derive it from the content of the body."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_method(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("method") is not None:
            return value
        has_body = any(value.get(key) not in (None, []) for key in ("body", "bodies", "dataset"))
        return {**value, "method": "POST" if has_body else "GET"}

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.template is not None and self.dataset is None:
            raise BadValueError("workload.template requires workload.dataset")
        if self.dataset is None and self.path is not None and "{{" in self.path:
            raise BadValueError("workload.path requires workload.dataset")
        return self

    @model_validator(mode="after")
    def _check_json(self) -> Self:
        """Check that a body of text is JSON if `content_type` is that of JSON. Raises BadValueError
        otherwise."""
        if not find_json_type(self.content_type):
            return self
        for body in self.bodies if self.body is None else (self.body,):
            if not isinstance(body, str) or not body or is_redacted(body):
                continue
            try:
                json.loads(body)
            except ValueError as error:
                hint = (
                    f"Its content type is {self.content_type}. Correct the body (in a shell, in single quotes), "
                    "or set another type: workload.content_type, or -H 'Content-Type: text/plain'."
                )
                raise BadValueError(f"the body is not JSON: {error}", hint=hint) from error
        return self


class HttpClassSettings(ClassKeys, _HttpContent):
    """One class of requests over plain HTTP, with its own path and body."""


class HttpRequests(_HttpContent):
    """Requests over plain HTTP: the same kind of requests, or several `classes` of requests that are
    sent at the same time."""

    classes: Annotated[Listed[HttpClassSettings], UNIQUE_CLASSES] = ()
    """Classes of requests that are sent at the same time, each with its own share of the requests,
    path, body and SLO."""

    @model_validator(mode="after")
    def _check_class_content(self) -> Self:
        own_keys = ("body", "bodies", "dataset", "template", "path", "expect", "content_type")
        unused_key = next((key for key in own_keys if getattr(self, key) not in (None, ())), None)
        if self.classes and unused_key is not None:
            raise BadValueError(
                f"workload.{unused_key} cannot be combined with workload.classes",
                hint=f"Set {unused_key} in each class.",
            )
        if len({request_class.method == "HEAD" for request_class in self.classes}) > 1:
            raise BadValueError("HEAD requests cannot be mixed with other methods", hint="Use GET.")
        return self


class _TensorRequests(Settings):
    """Requests of tensors.

    Rows are read from an .npz file whose arrays are named like the model's inputs. Without a file,
    rows are synthetic and generated from a seed.
    """

    tensors: ExistingFile | None = None
    """Input data: an .npz file with arrays named like the model's inputs. Without it, inputs are
    synthetic."""
    rows_per_request: RowCount = Field(default=1, examples=[1])
    """Number of rows per request, such as 1."""
    popularity: PopularityText = Popularity()
    """Popularity of the rows: how often each row is sent. One of sequential, uniform, zipf or
    {zipf: 1.1}."""


class _LabeledTensorRequests(_TensorRequests):
    """Tensor requests with optional labels, by which the accuracy of the model is measured.
    `labels` is the name of the array in `tensors` that contains the true class of each row."""

    labels: str | None = Field(default=None, examples=["label"])
    """Name of the array in tensors that contains the true class of each row, such as label."""
    output: OutputName | None = Field(default=None, examples=["probabilities"])
    """Name of the model output with the class, or the class scores, of each row,
    such as probabilities. Leave it empty to detect the output."""

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.labels is not None and self.tensors is None:
            raise BadValueError("workload.labels must name an array of workload.tensors, which is missing")
        if self.output is not None and self.labels is None:
            raise BadValueError("workload.output requires workload.labels")
        return self


class OipRequests(_LabeledTensorRequests):
    """Requests of the Open Inference Protocol over HTTP.

    With `binary`, tensors are sent with the binary tensor extension. If the server rejects the
    extension, tensors are sent as JSON.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = _HTTP_KEY_HINTS | _PROMPT_KEY_HINTS | _CLASS_KEY_HINTS
    binary: bool = True
    """Binary tensors, which are faster than JSON. If the server rejects binary tensors,
    JSON is sent."""


class OipGrpcRequests(_LabeledTensorRequests):
    """Requests of the Open Inference Protocol over gRPC.

    With `stream`, requests are sent with ModelStreamInfer instead of ModelInfer.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = (
        _HTTP_KEY_HINTS
        | _PROMPT_KEY_HINTS
        | _CLASS_KEY_HINTS
        | {"binary": "binary is only for protocol oip: gRPC is always binary."}
    )
    stream: bool = False
    """Use of ModelStreamInfer instead of ModelInfer."""


class TfServingRequests(_TensorRequests):
    misplaced_key_hints: ClassVar[dict[str, str]] = _HTTP_KEY_HINTS | _PROMPT_KEY_HINTS | _CLASS_KEY_HINTS


class TorchServeRequests(_BodyRequests):
    """Requests to TorchServe.

    `bodies` and the rows of `dataset` are sent in turn; the files of a folder are sent unchanged.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = _TENSOR_KEY_HINTS | _PROMPT_KEY_HINTS | _CLASS_KEY_HINTS
    requires_form: ClassVar[bool] = True
    content_type: MediaType = "application/json"
    """Media type of the request body."""


class GrpcRequests(_BodyRequests):
    """Calls of a gRPC method with messages in the JSON format of Protocol Buffers.

    A body is one message, or an array of messages if the method takes a stream of them. The types of
    the messages are those of the server's reflection, or of the descriptor set in `protoset`.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = (
        _TENSOR_KEY_HINTS
        | _PROMPT_KEY_HINTS
        | {key: f"{key} is only for protocol http." for key in ("path", "expect", "content_type")}
        | {"stream": "The method's descriptor states whether it is streamed."}
    )
    method: Annotated[str, BeforeValidator(_check_grpc_method)] = Field(examples=["grpc.health.v1.Health/Check"])
    """Method to call, as package.Service/Method, such as grpc.health.v1.Health/Check."""
    protoset: ExistingFile | None = None
    """Descriptor set with the method and its messages, as protoc --include_imports
    --descriptor_set_out writes it. Leave it empty to use the server's reflection."""
    template: Body = None
    """Message in which {{column}} is replaced by the value of that column in each row of the
    dataset."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.template is not None and self.dataset is None:
            raise BadValueError("workload.template requires workload.dataset")
        return self


class LocustRequests(Settings):
    """Users of a Locust test. Without `user_classes`, all user classes in the file are used."""

    misplaced_key_hints: ClassVar[dict[str, str]] = {
        key: f"{key} cannot be used with a Locust test, which makes its own requests."
        for key in (*_HTTP_KEY_HINTS, *_TENSOR_KEY_HINTS, *_PROMPT_KEY_HINTS, *_CLASS_KEY_HINTS)
    }
    user_classes: Listed[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]] = ()
    """Names of the user classes in the Locust test to run. Leave it empty for all classes."""
    spawn_per_s: Rate = Field(default=10.0, alias="spawn", examples=["10/s"])
    """Rate at which users are started, such as 10/s."""


def encode_body(value: JsonValue) -> bytes:
    """Encode a request body: text unchanged, any other value as compact JSON."""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()
