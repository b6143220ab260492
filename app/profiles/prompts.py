"""Workloads of OpenAI-compatible APIs and the Anthropic Messages API: synthetic prompts of given
lengths, or prompts from a dataset or a trace.

A length in tokens is a number such as `512`, a range such as `uniform 100 to 800`, or a mapping
with the name of a distribution:

- `{uniform: {min, max}}`
- `{normal: {mean, sd, min, max}}`
- `{lognormal: {median, sigma, min, max}}`
- `{empirical: {values, weights}}`

By default, min is 1 and there is no max.

A delay is the mean of an exponential distribution such as `5s`, a fixed delay such as `fixed 5s`, a
range such as `uniform 1s to 5s`, or `{lognormal: {median, sigma, max}}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, JsonValue, PlainSerializer, PlainValidator, model_validator

from app.profiles.classes import UNIQUE_CLASSES, ClassKeys
from app.profiles.datasets import BodyKeys, DatasetPath, PopularityText
from app.profiles.problems import BadValueError, UnknownKeyError, did_you_mean
from app.profiles.prompt_content import (
    AudioSettings,
    ColumnName,
    ImageSettings,
    LengthPairSettings,
    ResponseFormatSettings,
    ToolSettings,
)
from app.profiles.settings import (
    Count,
    ExistingFile,
    Key,
    Listed,
    ReadAs,
    Seconds,
    Settings,
    build_settings,
    format_forms,
    upper_bound,
)
from app.profiles.target import ModelName
from app.profiles.traces import DEFAULT_BLOCK_TOKENS, check_token_columns
from app.profiles.units import format_duration, parse_duration_s
from app.records.protocols import join_text_generating_protocols
from loadgen.workloads import (
    NO_DELAY,
    RERANK_DOCUMENTS,
    SAMPLE_RATE_HZ,
    AudioClips,
    Delay,
    Documents,
    EmpiricalLength,
    ExponentialDelay,
    FixedDelay,
    FixedLength,
    Images,
    Length,
    LiveHistory,
    LognormalDelay,
    LognormalLength,
    NormalLength,
    Popularity,
    UniformDelay,
    UniformLength,
)

MAX_TOKENS = 2_000_000
_MAX_CLIP_S = 3_600
_UNIFORM_LENGTH = re.compile(r"uniform\s+(\d+)\s+to\s+(\d+)", re.ASCII)
_LENGTH_HINT = "Write 512, `uniform 100 to 800`, or {lognormal: {median: 300, sigma: 0.8, max: 4000}}."
_MAX_EMPIRICAL_VALUES = 100_000
# Maximum distance of the bounds from the center in standard deviations, which leaves enough
# probability to draw from.
_MAX_DEVIATIONS = 4.0


def parse_length(value: object) -> Length:
    if isinstance(value, str):
        match = _UNIFORM_LENGTH.fullmatch(value.strip())
        if match is None:
            raise BadValueError(f"{value!r} is not a valid length", hint=_LENGTH_HINT)
        value = {"uniform": {"min": int(match[1]), "max": int(match[2])}}
    if not isinstance(value, dict):
        return FixedLength(_parse_token_count(value, "a length"))
    if len(value) != 1:
        raise BadValueError("a length distribution must be a mapping with one key, its name", hint=_LENGTH_HINT)
    ((name, parameters),) = value.items()
    if name not in _DISTRIBUTIONS:
        raise BadValueError(
            f"the length distribution {name!r} is unknown", hint=did_you_mean(name, _DISTRIBUTIONS) or _LENGTH_HINT
        )
    keys, parse_parameters = _DISTRIBUTIONS[name]
    if not isinstance(parameters, dict):
        raise BadValueError(f"{name} must be a mapping of {', '.join(keys)}", hint=_LENGTH_HINT)
    for key in parameters:
        if key not in keys:
            raise UnknownKeyError(key, keys, None)
    return parse_parameters(parameters)


def format_length(length: Length) -> Any:
    """Return a length in profile notation. Parsing the returned value gives the same
    distribution."""
    if isinstance(length, FixedLength):
        return length.tokens
    parameters = {_PROFILE_KEYS.get(key, key): value for key, value in msgspec.structs.asdict(length).items()}
    parameters = {key: list(value) if isinstance(value, tuple) else value for key, value in parameters.items()}
    return {
        type(length).__struct_config__.tag: {key: value for key, value in parameters.items() if value not in (None, [])}
    }


_PROFILE_KEYS = {"low": "min", "high": "max"}


def _parse_uniform(parameters: dict[str, Any]) -> Length:
    low, high = _parse_token_count(parameters.get("min", 1), "min"), _parse_token_count(parameters.get("max"), "max")
    _check_bounds(low, high)
    return UniformLength(low, high)


def _parse_normal(parameters: dict[str, Any]) -> Length:
    mean, sd = _parse_number(parameters.get("mean"), "mean"), _parse_number(parameters.get("sd"), "sd")
    low, high = _parse_bounds(parameters)
    if low - mean > _MAX_DEVIATIONS * sd or (high is not None and mean - high > _MAX_DEVIATIONS * sd):
        raise BadValueError("min and max exclude almost all of the distribution")
    return NormalLength(mean, sd, low, high)


def _parse_lognormal(parameters: dict[str, Any]) -> Length:
    median, sigma = _parse_number(parameters.get("median"), "median"), _parse_number(parameters.get("sigma"), "sigma")
    if sigma > 5:
        raise BadValueError("sigma, the standard deviation of the logarithm, must be at most 5")
    low, high = _parse_bounds(parameters)
    if math.log(low / median) > _MAX_DEVIATIONS * sigma or (
        high is not None and math.log(median / high) > _MAX_DEVIATIONS * sigma
    ):
        raise BadValueError("min and max exclude almost all of the distribution")
    return LognormalLength(median, sigma, low, high)


def _parse_empirical(parameters: dict[str, Any]) -> Length:
    values, weights = parameters.get("values"), parameters.get("weights", [])
    if not isinstance(values, list) or not values or not isinstance(weights, list):
        raise BadValueError(
            "empirical.values must be a list of token counts, and empirical.weights must be a list or absent",
            hint="Use a value such as {empirical: {values: [100, 400], weights: [3, 1]}}.",
        )
    if len(values) > _MAX_EMPIRICAL_VALUES:
        raise BadValueError(
            f"empirical.values has {len(values):,} values, above the limit of {_MAX_EMPIRICAL_VALUES:,}"
        )
    if weights and len(weights) != len(values):
        raise BadValueError(f"empirical has {len(values)} values but {len(weights)} weights")
    parsed_weights = tuple(_parse_number(weight, "a weight", minimum=0.0) for weight in weights)
    if parsed_weights and not sum(parsed_weights) > 0:
        raise BadValueError("empirical has no weight above 0")
    return EmpiricalLength(tuple(_parse_token_count(value, "a value") for value in values), parsed_weights)


_DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Length]]] = {
    "uniform": (("min", "max"), _parse_uniform),
    "normal": (("mean", "sd", "min", "max"), _parse_normal),
    "lognormal": (("median", "sigma", "min", "max"), _parse_lognormal),
    "empirical": (("values", "weights"), _parse_empirical),
}


def _parse_bounds(parameters: dict[str, Any]) -> tuple[int, int | None]:
    low = _parse_token_count(parameters.get("min", 1), "min")
    high = None if parameters.get("max") is None else _parse_token_count(parameters["max"], "max")
    _check_bounds(low, high)
    return low, high


def _check_bounds(low: int, high: int | None) -> None:
    if high is not None and low > high:
        raise BadValueError(f"min {low} is above max {high}")


def _parse_token_count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or not value >= 1:
        raise BadValueError(f"{name} must be a whole number of at least 1, not {value!r}", hint=_LENGTH_HINT)
    if value > MAX_TOKENS:
        raise BadValueError(f"{name} exceeds the maximum of {MAX_TOKENS:,}")
    return int(value)


def _parse_number(value: object, name: str, minimum: float = 1e-9) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= 1e12:
        bound = "of at least 0" if minimum == 0 else "above 0"
        raise BadValueError(f"{name} must be a number {bound}, not {value!r}")
    return float(value)


TokenLength = Annotated[Length, PlainValidator(parse_length), PlainSerializer(format_length)]


MAX_DELAY_S = 30 * 86_400.0
_UNIFORM_DELAY = re.compile(r"uniform\s+(\S+)\s+to\s+(\S+)", re.ASCII)
_FIXED_DELAY = re.compile(r"fixed\s+(\S+)", re.ASCII)
_DELAY_HINT = "Write 5s, `fixed 5s`, `uniform 1s to 5s`, or {lognormal: {median: 5s, sigma: 0.8, max: 60s}}."
_LOGNORMAL_DELAY_KEYS = ("median", "sigma", "max")


def parse_delay(value: object) -> Delay:
    if isinstance(value, dict):
        return _parse_lognormal_delay(value)
    if isinstance(value, str):
        if (match := _UNIFORM_DELAY.fullmatch(value.strip())) is not None:
            low_s, high_s = _parse_delay_s(match[1]), _parse_delay_s(match[2])
            if low_s > high_s:
                raise BadValueError(f"the lower bound of {value!r} is above its upper bound", hint=_DELAY_HINT)
            return UniformDelay(low_s, high_s)
        if (match := _FIXED_DELAY.fullmatch(value.strip())) is not None:
            return FixedDelay(_parse_delay_s(match[1]))
    mean_s = _parse_delay_s(value)
    return ExponentialDelay(mean_s) if mean_s else NO_DELAY


def format_delay(delay: Delay) -> Any:
    """Return a delay in profile notation. Parsing the returned value gives the same
    distribution."""
    match delay:
        case FixedDelay(delay_s=delay_s):
            return f"fixed {format_duration(delay_s)}" if delay_s else "0s"
        case ExponentialDelay(mean_s=mean_s):
            return format_duration(mean_s)
        case UniformDelay(low_s=low_s, high_s=high_s):
            return f"uniform {format_duration(low_s)} to {format_duration(high_s)}"
        case LognormalDelay(median_s=median_s, sigma=sigma, high_s=high_s):
            bound = {} if high_s is None else {"max": format_duration(high_s)}
            return {"lognormal": {"median": format_duration(median_s), "sigma": sigma, **bound}}


def _parse_lognormal_delay(value: dict[Any, Any]) -> Delay:
    parameters = value.get("lognormal")
    if len(value) != 1 or not isinstance(parameters, dict):
        raise BadValueError(f"{value!r} is not a valid delay", hint=_DELAY_HINT)
    for key in parameters:
        if key not in _LOGNORMAL_DELAY_KEYS:
            raise UnknownKeyError(key, _LOGNORMAL_DELAY_KEYS, None)
    median_s, sigma = _parse_delay_s(parameters.get("median")), _parse_number(parameters.get("sigma"), "sigma")
    high_s = None if parameters.get("max") is None else _parse_delay_s(parameters["max"])
    if sigma > 5:
        raise BadValueError("sigma, the standard deviation of the logarithm, must be at most 5")
    return LognormalDelay(median_s, sigma, high_s)


def _parse_delay_s(value: object) -> float:
    delay_s = parse_duration_s(value)
    if delay_s > MAX_DELAY_S:
        raise BadValueError(f"{format_duration(delay_s)} exceeds the maximum of {format_duration(MAX_DELAY_S)}")
    return delay_s


DelayTime = Annotated[Delay, PlainValidator(parse_delay), PlainSerializer(format_delay)]


_GENERATION_KEY_HINTS = {
    key: f"{key} is only for {join_text_generating_protocols()}."
    for key in (
        "output_tokens",
        "lengths",
        "documents",
        "images",
        "audio",
        "tools",
        "response_format",
        "turns",
        "think_time",
        "history",
        "stream",
        "trace",
        "block_tokens",
        "sessions",
        "cache_bust",
        "classes",
    )
}
_SESSION_KEY_HINTS = {
    key: f"{key} cannot be used with openai-batch, whose requests are independent."
    for key in ("turns", "think_time", "history", "sessions")
}
_DOCUMENT_KEY_HINTS = {
    "documents": "documents is only for openai-rerank. The documents of prompts are prompts.documents."
}


class PrefixSettings(Settings):
    """Shared prefixes: every prompt begins with one of `groups` prefixes. Each prefix has `tokens`
    tokens, which are added to the length of the prompt."""

    groups: Annotated[Count, upper_bound(100_000)] = Field(default=1, examples=[1])
    """Number of different prefixes, such as 1."""
    tokens: Annotated[Count, upper_bound(MAX_TOKENS)] = Field(examples=[100])
    """Length of each prefix in tokens, such as 100."""
    popularity: PopularityText | None = None
    """Popularity of the prefixes: how many prompts begin with each prefix. One of sequential,
    uniform, zipf or {zipf: 1.1}. Leave it empty to use the popularity of the prompts."""


DocumentSettings = build_settings(
    Documents,
    class_name="DocumentSettings",
    count=Key(Annotated[Count, upper_bound(100_000)], "Number of different documents, such as 500.", 500),
    tokens=Key(TokenLength, "Length of a document in tokens, such as 400, or a distribution.", 400),
    per_prompt=Key(
        Annotated[Count, upper_bound(1000)],
        "Number of different documents at the beginning of each message of a user, such as 3.",
        3,
    ),
    popularity=Key(
        PopularityText,
        "Popularity of the documents: how often each document is retrieved. One of sequential, uniform, zipf or "
        "{zipf: 1.1}.",
    ),
    order=Key(
        Literal["drawn", "popularity"],
        "Order of the documents in a message: as drawn, which varies as in most applications, or the most popular "
        "document first, so that more prompts begin with the same documents.",
    ),
)


def _check_documents(documents: Documents) -> None:
    if documents.per_prompt > documents.count:
        raise BadValueError(
            f"documents.per_prompt {documents.per_prompt:,} exceeds documents.count {documents.count:,}",
            hint="A message contains each document at most once.",
        )


class TextSettings(Settings):
    """Synthetic texts whose length is fixed or follows a distribution."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _GENERATION_KEY_HINTS
    input_tokens: TokenLength
    """Length of a text in tokens: 512, uniform 100 to 800, or {lognormal: {median: 300, sigma: 0.8,
    max: 4000}}."""
    prefix: PrefixSettings | None = None
    """Prefix that several prompts share, for example a system prompt."""
    unique: Annotated[Count, upper_bound(1_000_000)] = Field(default=1000, examples=[1000])
    """Number of different texts to prepare, such as 1000."""


_LIVE_DEFAULTS = LiveHistory()


class SinglePromptSettings(TextSettings):
    """Synthetic prompts of independent requests, whose length is fixed or follows a distribution."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _GENERATION_KEY_HINTS | _SESSION_KEY_HINTS
    output_tokens: TokenLength | None = None
    """Length of the responses in tokens: 128, or a distribution. Leave it empty to let the model
    choose the length."""


class PromptSettings(Settings):
    """Synthetic prompts whose length is fixed or follows a distribution.

    With `turns`, each arrival starts a session. A session consists of `turns` requests, with a
    pause of `think_time` before each further request.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"length source": ("input_tokens", "lengths")}

    input_tokens: TokenLength | None = None
    """Length of a prompt in tokens: 512, uniform 100 to 800, or {lognormal: {median: 300, sigma:
    0.8, max: 4000}}."""
    output_tokens: TokenLength | None = None
    """Length of the responses in tokens: 128, or a distribution. Leave it empty to let the model
    choose the length."""
    lengths: LengthPairSettings | None = None
    """Lengths of prompts and responses from a file, drawn together, in place of input_tokens and
    output_tokens."""
    prefix: PrefixSettings | None = None
    """Prefix that several prompts share, for example a system prompt."""
    unique: Annotated[Count, upper_bound(1_000_000)] = Field(default=1000, examples=[1000])
    """Number of different prompts or sessions to prepare, such as 1000."""
    documents: Annotated[Documents, ReadAs(DocumentSettings, _check_documents)] | None = None
    """Documents that the prompts contain, as in retrieval-augmented generation."""
    images: Annotated[Images, ReadAs(ImageSettings)] | None = None
    """Generated PNG images in the first message of each prompt or session."""
    audio: Annotated[AudioClips, ReadAs(AudioSettings)] | None = None
    """Generated WAV clips in the first message of each prompt or session. Only for openai-chat."""
    tools: ToolSettings | None = None
    """Tools that the model may call. Not for openai-completions."""
    response_format: ResponseFormatSettings | None = None
    """Structured output: responses that are JSON and match a JSON schema."""
    turns: TokenLength | None = Field(default=None, examples=[4])
    """Number of requests per session, such as 4, or a distribution. Leave it empty for single
    requests."""
    think_time: DelayTime = Field(default=NO_DELAY, examples=["5s"])
    """Pause between the turns of a session: a mean such as 5s, or fixed 5s, uniform 1s to 5s, or
    {lognormal: {median: 5s, sigma: 0.8, max: 60s}}."""
    history: Literal["prepared", "live"] = "prepared"
    """Earlier responses in the requests of a session: prepared (generated ahead), or live (those of
    the server)."""
    reasoning: Literal["drop", "keep"] = _LIVE_DEFAULTS.reasoning
    """Whether a live history contains the reasoning of earlier responses: drop or keep."""
    tool_tokens: TokenLength = Field(default=_LIVE_DEFAULTS.tool_tokens, examples=[100])
    """Length in tokens of the generated result for each tool call of a live session, such as 100,
    or a distribution."""
    tool_time: DelayTime = Field(default=_LIVE_DEFAULTS.tool_time, examples=["2s"])
    """Pause of a live session, such as 2s, after a response with tool calls, in place of
    think_time."""
    parallel: TokenLength | None = Field(default=None, examples=[3])
    """Number of parallel requests in each turn of a live session after the first, such as 3, or a
    distribution. The next turn starts when all have ended."""
    context_tokens: Annotated[Count, upper_bound(1_000_000_000)] | None = Field(default=None, examples=[32_000])
    """Maximum number of tokens of a request of a live session, such as 32000, including its output.
    The session ends before it exceeds the maximum."""

    @property
    def has_output_lengths(self) -> bool:
        """True if the lengths of the responses are given."""
        return self.output_tokens is not None or self.lengths is not None

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:
        if not set_keys:
            raise BadValueError("prompts is missing the key input_tokens", hint=f"Set {', or '.join(forms)}.")
        if len(set_keys) > 1 or (self.lengths is not None and self.output_tokens is not None):
            raise BadValueError("prompts.lengths replaces input_tokens and output_tokens, so it conflicts with them")

    @model_validator(mode="after")
    def _check_session(self) -> Self:
        if self.turns is None and self.think_time != NO_DELAY:
            raise BadValueError("prompts.think_time is the pause between turns and requires prompts.turns")
        if self.history == "live" and self.turns is None:
            raise BadValueError("prompts.history is about the turns of a session and requires prompts.turns")
        if self.history == "prepared":
            self._check_prepared_history()
        if isinstance(self.turns, FixedLength) and self.turns.tokens > 1000:
            raise BadValueError("prompts.turns exceeds the maximum of 1,000")
        if isinstance(self.parallel, FixedLength) and self.parallel.tokens > 100:
            raise BadValueError("prompts.parallel exceeds the maximum of 100")
        return self

    def _check_prepared_history(self) -> None:
        for key in ("reasoning", "tool_tokens", "tool_time", "parallel", "context_tokens"):
            if getattr(self, key) != getattr(_LIVE_DEFAULTS, key):
                raise BadValueError(f"prompts.{key} requires prompts.history: live")
        if self.turns is not None and not self.has_output_lengths:
            raise BadValueError(
                "prompts.turns requires output_tokens, because the responses in a session's history are generated",
                hint="Set output_tokens, or history: live to send the server's own responses.",
            )


class TextDatasetSettings(Settings):
    """Texts from a dataset. Each value in the column `prompt` is a string or a list of strings."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _GENERATION_KEY_HINTS
    path: DatasetPath
    """Dataset: a .jsonl, .json, .csv or .parquet file, or a folder."""
    prompt: ColumnName = "prompt"
    """Name of the column with the text."""

    @model_validator(mode="before")
    @classmethod
    def _accept_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class SinglePromptDatasetSettings(TextDatasetSettings):
    """Prompts of independent requests from a dataset. `output_tokens` is the name of a column with
    token counts."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _GENERATION_KEY_HINTS | _SESSION_KEY_HINTS
    output_tokens: ColumnName | None = None
    """Name of the column with the number of tokens to generate."""


class PromptDatasetSettings(SinglePromptDatasetSettings):
    """Prompts from a dataset.

    Each value in the column `prompt` is a string, a list of chat messages or a conversation of
    ShareGPT. `output_tokens` is the name of a column with token counts. With `sessions`, each
    conversation is a session.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = {}
    sessions: bool = False
    """Send all messages of the user in a conversation, one after another, each with the recorded
    messages before it. Otherwise, only the first of ShareGPT is sent."""
    tools: ToolSettings | None = None
    """Tools that the model may call. Not for openai-completions."""
    response_format: ResponseFormatSettings | None = None
    """Structured output: responses that are JSON and match a JSON schema."""


class SessionFileSettings(Settings):
    """Recorded sessions, whose requests contain the server's own responses: a file of JSON lines,
    with one request per line."""

    path: ExistingFile
    """File of JSON lines with the keys session, text or tokens, and optionally request, parents,
    system, output_tokens, delay_s, tool_text, tool_tokens and tool_delay_s."""
    reasoning: Literal["drop", "keep"] = _LIVE_DEFAULTS.reasoning
    """Whether requests contain the reasoning of earlier responses: drop or keep."""
    context_tokens: Annotated[Count, upper_bound(1_000_000_000)] | None = Field(default=None, examples=[32_000])
    """Maximum number of tokens of a request, such as 32000, including its output. The session ends
    before it exceeds the maximum."""

    @model_validator(mode="before")
    @classmethod
    def _accept_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class _OpenAiRequests(Settings):
    """Requests to an OpenAI-compatible API, or to the Anthropic Messages API.

    `extra_body` is merged into the body of each request. `extra_body` must not contain keys that
    the profile sets elsewhere.
    """

    subject: ClassVar[str] = "workload"
    extra_body: BodyKeys = Field(default_factory=dict, examples=[{"temperature": 0}])
    """Keys and values to merge into the body of each request, such as temperature: 0."""
    tokenizer: ExistingFile | None = None
    """A tokenizer.json file for counting tokens. Without it, token counts are estimates."""
    popularity: PopularityText = Popularity()
    """Popularity of the prompts: how often each prompt is sent. One of sequential, uniform, zipf or
    {zipf: 1.1}."""

    @model_validator(mode="after")
    def _check_extra_body(self) -> Self:
        for key, profile_key in (("stream", "workload.stream"), ("model", "target.model")):
            if key in self.extra_body:
                raise BadValueError(
                    f"workload.extra_body.{key} conflicts with {profile_key}", hint=f"Set {profile_key}."
                )
        return self


class PromptClassSettings(ClassKeys):
    """One class of requests for text generation. Without `prompts`, `dataset` and `sessions`, it has
    those of the workload, with different texts than the other classes."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"prompt source": ("prompts", "dataset", "sessions")}
    misplaced_key_hints: ClassVar[dict[str, str]] = {
        key: f"{key} applies to all classes. Set it in workload."
        for key in ("stream", "cache_bust", "tokenizer", "popularity")
    } | {"trace": "A trace cannot be mixed with other requests."}
    model: ModelName | None = Field(default=None, examples=["my-lora"])
    """Name of the model or LoRA adapter on the server, such as my-lora. Without it, the class uses
    target.model."""
    prompts: PromptSettings | None = None
    """Synthetic prompts of this class."""
    dataset: PromptDatasetSettings | None = None
    """Prompts of this class from a file or folder."""
    sessions: SessionFileSettings | None = None
    """Recorded sessions of this class from a file."""
    extra_body: BodyKeys = Field(default_factory=dict, examples=[{"priority": 1}])
    """Keys and values to merge into the body of each request of this class, such as priority: 1.
    They replace the same keys of workload.extra_body."""

    @property
    def has_own_source(self) -> bool:
        return any(source is not None for source in (self.prompts, self.dataset, self.sessions))

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:
        if len(set_keys) > 1:
            raise BadValueError(f"class {self.name} must have only one of {format_forms(forms)}")

    @model_validator(mode="after")
    def _check_class(self) -> Self:
        for key, hint in (("stream", "Set workload.stream."), ("model", "Set model in the class.")):
            if key in self.extra_body:
                raise BadValueError(f"class {self.name} must not set {key} in extra_body", hint=hint)
        return self


class PromptRequests(_OpenAiRequests):
    """Requests for text generation, from exactly one of `prompts`, `dataset`, `trace` and
    `sessions`, or from `classes` with their own sources.

    A trace must have columns with input and output tokens.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"prompt source": ("prompts", "dataset", "trace", "sessions")}

    misplaced_key_hints: ClassVar[dict[str, str]] = _DOCUMENT_KEY_HINTS
    prompts: PromptSettings | None = None
    """Synthetic prompts whose length is fixed or follows a distribution."""
    dataset: PromptDatasetSettings | None = None
    """Prompts from a file or folder."""
    trace: ExistingFile | None = None
    """Trace with columns of input and output tokens, which determine the lengths of the prompts and
    the responses. Prompts with the same first hash IDs begin with the same text."""
    block_tokens: Annotated[Count, upper_bound(MAX_TOKENS)] = Field(default=DEFAULT_BLOCK_TOKENS, examples=[512])
    """Number of prompt tokens per hash ID of the trace, such as 512."""
    sessions: SessionFileSettings | None = None
    """Recorded sessions from a file, whose requests contain the server's own responses."""
    stream: bool = True
    """Streamed responses, whose tokens arrive as they are generated."""
    cache_bust: Literal["none", "run", "session"] = "none"
    """Unique string at the start of the first message, so that the server's prefix cache has no
    prompt of earlier runs (run), or of earlier sessions either (session)."""

    classes: Annotated[Listed[PromptClassSettings], UNIQUE_CLASSES] = ()
    """Classes of requests that are sent at the same time, each with its own share of the requests,
    prompts, model and SLO."""

    def list_class_requests(self) -> tuple[tuple[PromptClassSettings, PromptRequests], ...]:
        """Return each class with its requests as a workload of its own; empty without classes."""
        return tuple((request_class, self._build_class_requests(request_class)) for request_class in self.classes)

    def _build_class_requests(self, request_class: PromptClassSettings) -> PromptRequests:
        own_source = {
            "prompts": request_class.prompts,
            "dataset": request_class.dataset,
            "sessions": request_class.sessions,
        }
        return self.model_copy(
            update={
                "classes": (),
                "extra_body": {**self.extra_body, **request_class.extra_body},
                **(own_source if request_class.has_own_source else {}),
            }
        )

    @property
    def has_live_history(self) -> bool:
        """True if requests contain the server's own responses."""
        if self.classes:
            return any(requests.has_live_history for _, requests in self.list_class_requests())
        return self.sessions is not None or (self.prompts is not None and self.prompts.history == "live")

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:
        self._check_class_sources(len(set_keys))
        if set_keys or not self.classes:
            super().check_form(forms, set_keys)

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.trace is not None and self.trace.is_file():
            check_token_columns(self.trace, self.block_tokens)
        if self.cache_bust == "session" and not self.has_live_history:
            raise BadValueError(
                "workload.cache_bust: session requires workload.sessions or prompts.history: live",
                hint="Use cache_bust: run.",
            )
        return self

    def _check_class_sources(self, source_count: int) -> None:
        if not self.classes:
            return
        if self.trace is not None:
            raise BadValueError(
                "workload.trace cannot be combined with workload.classes, because the trace determines the order of "
                "the requests",
                hint="Use prompts, dataset or sessions.",
            )
        without_source = [request_class.name for request_class in self.classes if not request_class.has_own_source]
        if without_source and not source_count:
            raise BadValueError(
                f"class {without_source[0]} has no prompts",
                hint="Set prompts, dataset or sessions in the class, or in workload for all classes without them.",
            )
        if source_count and not without_source:
            raise BadValueError(
                "workload has prompts that no class uses, because each class has its own",
                hint="Remove prompts, dataset or sessions from workload.",
            )
        reasoning = {
            source.reasoning
            for _, requests in self.list_class_requests()
            if requests.has_live_history and (source := requests.prompts or requests.sessions) is not None
        }
        if len(reasoning) > 1:
            raise BadValueError("all classes with a live history must have the same setting of reasoning")


class BatchRequests(_OpenAiRequests):
    """Chat completions of a batch, from exactly one of `prompts` and `dataset`."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"prompt source": ("prompts", "dataset")}
    misplaced_key_hints: ClassVar[dict[str, str]] = _DOCUMENT_KEY_HINTS | {
        key: f"{key} cannot be used with openai-batch, whose requests are independent and not streamed."
        for key in ("stream", "trace", "block_tokens", "sessions", "cache_bust", "classes")
    }
    prompts: SinglePromptSettings | None = None
    """Synthetic prompts whose length is fixed or follows a distribution."""
    dataset: SinglePromptDatasetSettings | None = None
    """Prompts from a file or folder."""


class EmbeddingRequests(_OpenAiRequests):
    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"text source": ("prompts", "dataset")}
    misplaced_key_hints: ClassVar[dict[str, str]] = _GENERATION_KEY_HINTS | _DOCUMENT_KEY_HINTS
    prompts: TextSettings | None = None
    """Synthetic texts whose length is fixed or follows a distribution."""
    dataset: TextDatasetSettings | None = None
    """Texts from a file or folder."""


class RerankRequests(EmbeddingRequests):
    """Rerank requests. Each request has a query and `documents` texts, all with `input_tokens`
    tokens."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _GENERATION_KEY_HINTS
    documents: Annotated[Count, upper_bound(10_000)] = Field(default=RERANK_DOCUMENTS, examples=[RERANK_DOCUMENTS])
    """Number of texts per query, such as 8."""


_STREAM_KEY_HINTS = {
    key: hint for key, hint in (_GENERATION_KEY_HINTS | _DOCUMENT_KEY_HINTS).items() if key != "stream"
}


def _check_conflicts(extra_body: Mapping[str, JsonValue], conflicts: dict[str, str]) -> None:
    """Check that `extra_body` has no key that the profile sets elsewhere. Raises BadValueError
    otherwise. `conflicts` has the key of the profile for each key of a request body."""
    for key, profile_key in conflicts.items():
        if key in extra_body:
            raise BadValueError(f"workload.extra_body.{key} conflicts with {profile_key}", hint=f"Set {profile_key}.")


class SpeechRequests(EmbeddingRequests):
    """Requests for speech, which read synthetic texts or the texts of a dataset aloud.

    The duration of the speech, and with it the real-time factor, is known for the formats `pcm` and
    `wav`.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = _STREAM_KEY_HINTS
    voice: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(default=None, examples=["alloy"])
    """Name of the voice, such as alloy. Leave it empty for the default voice of the server."""
    format: Literal["pcm", "wav", "mp3", "opus", "aac", "flac"] = "pcm"
    """Format of the audio. Servers that stream usually stream pcm only."""
    sample_rate: Annotated[Count, upper_bound(384_000)] = Field(default=SAMPLE_RATE_HZ, examples=[SAMPLE_RATE_HZ])
    """Sampling rate of pcm audio in Hz, such as 24000. A pcm response does not state it."""
    stream: bool = True
    """Streamed responses, whose audio arrives as it is generated. If false, the request does not ask
    for it, and the server decides."""

    @model_validator(mode="after")
    def _check_speech_body(self) -> Self:
        _check_conflicts(
            self.extra_body,
            {
                "voice": "workload.voice",
                "response_format": "workload.format",
                "input": "workload.prompts",
                "stream_format": "workload.stream",
            },
        )
        return self


class ImageRequests(EmbeddingRequests):
    """Requests for images, whose prompts are synthetic texts or the texts of a dataset."""

    images: Annotated[Count, upper_bound(100)] = Field(default=1, examples=[1])
    """Number of images per request, such as 1."""
    size: Annotated[str, Field(pattern=r"^(?:[1-9][0-9]{0,4}x[1-9][0-9]{0,4}|auto)$")] | None = Field(
        default=None, examples=["1024x1024"]
    )
    """Width and height of the images, such as 1024x1024. Leave it empty for the default of the
    server."""

    @model_validator(mode="after")
    def _check_image_body(self) -> Self:
        _check_conflicts(
            self.extra_body, {"n": "workload.images", "size": "workload.size", "prompt": "workload.prompts"}
        )
        return self


class GeneratedAudioSettings(Settings):
    """Generated audio clips, which sound like a voice without words."""

    seconds: TokenLength = Field(examples=[10])
    """Length of a clip in whole seconds, such as 10, uniform 2 to 20, or {lognormal: {median: 8,
    sigma: 0.6, max: 30}}."""
    unique: Annotated[Count, upper_bound(10_000)] = Field(default=100, examples=[100])
    """Number of different clips to prepare, such as 100."""

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        length = self.seconds
        longest_s = {FixedLength: "tokens", UniformLength: "high"}.get(type(length))
        if longest_s is not None and getattr(length, longest_s) > _MAX_CLIP_S:
            raise BadValueError(f"audio.seconds exceeds the maximum of {_MAX_CLIP_S:,}")
        return self


class TranscriptionRequests(Settings):
    """Requests to transcribe audio, from exactly one of `audio` and `dataset`. The audio of a request
    is uploaded as a form with a file.

    `extra_body` has further fields of the form. It must not contain keys that the profile sets
    elsewhere.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"audio source": ("audio", "dataset")}
    subject: ClassVar[str] = "workload"
    misplaced_key_hints: ClassVar[dict[str, str]] = (
        _GENERATION_KEY_HINTS
        | _DOCUMENT_KEY_HINTS
        | {"prompts": "prompts is for requests with a text. Set audio or dataset."}
    )
    audio: GeneratedAudioSettings | None = None
    """Generated audio clips, which sound like a voice without words."""
    dataset: DatasetPath | None = None
    """Folder with audio files. Each request uploads one of them."""
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(?:-[A-Za-z]{2,4})?$")] | None = Field(
        default=None, examples=["en"]
    )
    """Language of the audio, such as en. Leave it empty to let the server detect it."""
    format: Literal["json", "verbose_json", "text", "srt", "vtt"] = "json"
    """Format of the transcripts."""
    extra_body: BodyKeys = Field(default_factory=dict, examples=[{"temperature": 0}])
    """Further fields of the form of each request, such as temperature: 0."""
    popularity: PopularityText = Popularity()
    """Popularity of the audio: how often each clip is sent. One of sequential, uniform, zipf or
    {zipf: 1.1}."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.dataset is not None and self.dataset.is_file():
            raise BadValueError(
                f"{self.dataset.name} is not a folder", hint="Set workload.dataset to a folder with audio files."
            )
        _check_conflicts(
            self.extra_body,
            {
                "model": "target.model",
                "language": "workload.language",
                "response_format": "workload.format",
                "file": "workload.dataset",
            },
        )
        if "stream" in self.extra_body:
            raise BadValueError("transcripts are measured as a whole, not streamed", hint="Remove extra_body.stream.")
        return self


class RealtimeRequests(Settings):
    """Dialogs with the Realtime API: audio in real time, from exactly one of `audio` and `dataset`,
    and then one spoken response.

    `session` is merged into the settings of the session.
    """

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"audio source": ("audio", "dataset")}
    subject: ClassVar[str] = "workload"
    misplaced_key_hints: ClassVar[dict[str, str]] = TranscriptionRequests.misplaced_key_hints
    audio: GeneratedAudioSettings | None = None
    """Generated audio clips, which sound like a voice without words."""
    dataset: DatasetPath | None = None
    """Folder with WAV files of 16-bit samples. Each dialog begins with one of them."""
    voice: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(default=None, examples=["alloy"])
    """Name of the voice, such as alloy. Leave it empty for the default voice of the server."""
    version: Literal["ga", "beta"] = "ga"
    """Version of the API that defines the settings of the session: ga (released) or beta."""
    sample_rate: Annotated[Count, upper_bound(384_000)] = Field(default=SAMPLE_RATE_HZ, examples=[SAMPLE_RATE_HZ])
    """Sampling rate of the audio that is sent in Hz, such as 24000."""
    output_sample_rate: Annotated[Count, upper_bound(384_000)] = Field(
        default=SAMPLE_RATE_HZ, examples=[SAMPLE_RATE_HZ]
    )
    """Sampling rate of the response in Hz, such as 24000, unless the server states another."""
    chunk_s: Annotated[Seconds, Field(ge=0.01, le=5)] = Field(default=0.1, alias="chunk", examples=["100ms"])
    """Duration of the audio in each message, such as 100ms."""
    session: BodyKeys = Field(default_factory=dict, examples=[{"instructions": "Answer briefly."}])
    """Further settings of the session, such as instructions: Answer briefly. null removes a
    setting."""
    popularity: PopularityText = Popularity()
    """Popularity of the audio: how often each clip is sent. One of sequential, uniform, zipf or
    {zipf: 1.1}."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.dataset is not None and self.dataset.is_file():
            raise BadValueError(
                f"{self.dataset.name} is not a folder", hint="Set workload.dataset to a folder with WAV files."
            )
        return self
