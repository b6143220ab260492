"""What is asked of the target, by its protocol."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from app.profiles import secrets
from app.profiles.datasets import Body, DatasetPath, PopularityText
from app.profiles.problems import BadValueError
from app.profiles.settings import Count, ExistingFile, Listed, Rate, Settings, at_most
from loadgen.workloads import Popularity

MediaType = Annotated[str, Field(pattern=r"^[!-~](?:[ -~]{0,254}[!-~])?$")]
OutputName = Annotated[str, Field(min_length=1, max_length=200)]
Rows = Annotated[Count, at_most(65_536)]
_HTTP_KEYS = {
    key: f"{key} works with protocol http."
    for key in ("method", "path", "body", "bodies", "dataset", "template", "expect", "content_type")
}
_TENSOR_KEYS = {
    key: f"{key} works with protocol oip." for key in ("tensors", "labels", "output", "rows_per_request", "binary")
}
_PROMPT_KEYS = {key: f"{key} works with openai-… protocols." for key in ("prompts", "extra_body", "tokenizer")}


def _read_path(value: object) -> object:
    if isinstance(value, str):
        if "#" in value:
            raise BadValueError("a path is sent without a fragment, so it cannot hold #")
        secrets.refuse_secrets_in_url(f"http://host{value}")
    return value


def _read_pattern(value: object) -> object:
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as error:
            raise BadValueError(f"not a regular expression: {error}") from error
    return value


class ExpectSettings(Settings):
    """What an answer must be: its `status`, and what `pointer` (RFC 6901; the whole body without it) leads to."""

    status: Listed[Annotated[int, Field(ge=100, le=599)]] = Field(default=(), examples=[[200]])
    """Which statuses are right, like 200."""
    pointer: Annotated[str, Field(pattern=r"^(?:/(?:[^~]|~[01])*)?$")] | None = Field(
        default=None, examples=["/result/score"]
    )
    """Where in the answer to look, like /result/score; empty is the whole of it."""
    equals: JsonValue = None
    """What must stand there, as JSON."""
    matches: Annotated[str, BeforeValidator(_read_pattern)] | None = None
    """A regular expression that what stands there must match."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_one_status(cls, value: Any) -> Any:
        status = value.get("status") if isinstance(value, dict) else None
        return {**value, "status": [status]} if isinstance(status, int) else value

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if self.equals is not None and self.matches is not None:
            raise BadValueError("expect takes only one of equals and matches")
        if not self.status and self.pointer is None and self.equals is None and self.matches is None:
            raise BadValueError("expect needs status, pointer, equals or matches")
        return self


class HttpRequests(Settings):
    """`bodies` and the rows of `dataset` take turns. Text is sent as it is, all else as JSON.

    `{{column}}` in `template` and `path` is filled in from each row of `dataset`. Without a `content_type` it is
    that of what is sent: JSON, text, or by a file's name.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"what is sent": ("body", "bodies", "dataset")}

    keys_of_others: ClassVar[dict[str, str]] = _TENSOR_KEYS | _PROMPT_KEYS
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
    """How it is asked; POST where there is a body."""
    path: Annotated[str, Field(pattern=r"^/[!-~]*$"), BeforeValidator(_read_path)] | None = Field(
        default=None, examples=["/v1/score"]
    )
    """Where on the host, in place of the URL's path, like /v1/score."""
    body: Body = None
    """What is sent with each request, as JSON or text."""
    bodies: Listed[Body] = ()
    """Several bodies that take turns."""
    dataset: DatasetPath | None = None
    """A .jsonl, .csv or .parquet file, or a folder, whose rows are sent in turn."""
    template: Body = None
    """A body in which {{column}} is filled in from each row of the dataset."""
    expect: ExpectSettings | None = None
    """What an answer must be to count as right."""
    content_type: MediaType | None = None
    """The media type of what is sent; empty is by what it is."""
    popularity: PopularityText = Popularity()
    """Which of the requests are sent how often: in-turn, uniform, zipf or {zipf: 1.1}."""

    @model_validator(mode="before")
    @classmethod
    def _posts_what_has_a_body(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("method") is not None:
            return value
        has_body = any(value.get(key) not in (None, []) for key in ("body", "bodies", "dataset"))
        return {**value, "method": "POST" if has_body else "GET"}

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.body is not None) + bool(self.bodies) + (self.dataset is not None) > 1:
            raise BadValueError("workload takes only one of body, bodies and dataset")
        if self.template is not None and self.dataset is None:
            raise BadValueError("workload.template is filled in from workload.dataset, which is not given")
        if self.dataset is None and self.path is not None and "{{" in self.path:
            raise BadValueError("workload.path is filled in from workload.dataset, which is not given")
        return self


class _Tensors(Settings):
    """Rows come from an .npz of arrays named like the model's inputs; without one they are made up, seeded."""

    tensors: ExistingFile | None = None
    """An .npz file of arrays named as the model's inputs; without it inputs are made up."""
    rows_per_request: Rows = Field(default=1, examples=[1])
    """How many rows go in one request, like 1."""
    popularity: PopularityText = Popularity()
    """Which of the rows are sent how often: in-turn, uniform, zipf or {zipf: 1.1}."""


class _LabelledTensors(_Tensors):
    """`labels` is the name of the array in `tensors` that holds the right class of each row."""

    labels: str | None = Field(default=None, examples=["label"])
    """The array in tensors that holds the right class of each row, like label."""
    output: OutputName | None = Field(default=None, examples=["probabilities"])
    """The output with the class, or its scores, of each row, like probabilities; empty is found by itself."""

    @model_validator(mode="after")
    def _has_rows_to_label(self) -> Self:
        if self.labels is not None and self.tensors is None:
            raise BadValueError("workload.labels names an array of workload.tensors, which is not given")
        if self.output is not None and self.labels is None:
            raise BadValueError("workload.output is what labels are compared with, and workload.labels is not given")
        return self


class OipRequests(_LabelledTensors):
    """`binary` asks for the binary tensor extension; a server that refuses it is sent JSON."""

    keys_of_others: ClassVar[dict[str, str]] = _HTTP_KEYS | _PROMPT_KEYS
    binary: bool = True
    """Whether tensors are sent in binary, which is faster; a server that refuses gets JSON."""


class OipGrpcRequests(_LabelledTensors):
    """`stream` sends requests by ModelStreamInfer instead of ModelInfer."""

    keys_of_others: ClassVar[dict[str, str]] = (
        _HTTP_KEYS | _PROMPT_KEYS | {"binary": "binary works with protocol oip: gRPC is always binary."}
    )
    stream: bool = False
    """Whether requests go by ModelStreamInfer."""


class TfServingRequests(_Tensors):
    keys_of_others: ClassVar[dict[str, str]] = _HTTP_KEYS | _PROMPT_KEYS


class TorchServeRequests(Settings):
    """`bodies` and the rows of `dataset` take turns, a folder's files as they are."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"what is sent": ("body", "bodies", "dataset")}

    keys_of_others: ClassVar[dict[str, str]] = _TENSOR_KEYS | _PROMPT_KEYS
    body: Body = None
    """What is sent with each request, as JSON or text."""
    bodies: Listed[Body] = ()
    """Several bodies that take turns."""
    dataset: DatasetPath | None = None
    """A .jsonl, .csv or .parquet file, or a folder, whose rows are sent in turn."""
    content_type: MediaType = "application/json"
    """The media type of what is sent."""
    popularity: PopularityText = Popularity()
    """Which of the requests are sent how often: in-turn, uniform, zipf or {zipf: 1.1}."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.body is not None) + bool(self.bodies) + (self.dataset is not None) != 1:
            raise BadValueError("workload needs exactly one of body, bodies and dataset")
        return self


class LocustRequests(Settings):
    """No `user_classes` means all of the file's; `spawn` is how fast users are started."""

    keys_of_others: ClassVar[dict[str, str]] = {
        key: f"{key} is not for a Locust test, which makes its own requests."
        for key in (*_HTTP_KEYS, *_TENSOR_KEYS, *_PROMPT_KEYS)
    }
    user_classes: Listed[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]] = ()
    """Which of the test's user classes are run; empty is all."""
    spawn_per_s: Rate = Field(default=10.0, alias="spawn", examples=["10/s"])
    """How fast users are started, like 10/s."""


def encoded(value: JsonValue) -> bytes:
    """Text as it is, all else as compact JSON."""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()
