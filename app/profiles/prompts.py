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
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from app.profiles.datasets import BodyKeys, DatasetPath, PopularityText
from app.profiles.problems import BadValueError, UnknownKeyError, did_you_mean
from app.profiles.settings import Count, ExistingFile, Settings, upper_bound
from app.profiles.traces import DEFAULT_BLOCK_TOKENS, check_token_columns
from app.profiles.units import format_duration, parse_duration_s
from loadgen.workloads import (
    NO_DELAY,
    Delay,
    EmpiricalLength,
    ExponentialDelay,
    FixedDelay,
    FixedLength,
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
_UNIFORM_LENGTH = re.compile(r"uniform\s+(\d+)\s+to\s+(\d+)", re.ASCII)
_LENGTH_HINT = "Write 512, `uniform 100 to 800`, or {lognormal: {median: 300, sigma: 0.8, max: 4000}}."
# Maximum distance of the bounds from the center in standard deviations, which leaves enough
# probability to draw from.
_MAX_EMPIRICAL_VALUES = 100_000
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


ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
_GENERATION_KEY_HINTS = {
    key: f"{key} is only for openai-chat, openai-completions, openai-responses and anthropic-messages."
    for key in (
        "output_tokens",
        "turns",
        "think_time",
        "history",
        "stream",
        "trace",
        "block_tokens",
        "sessions",
        "cache_bust",
    )
}
_SESSION_KEY_HINTS = {
    key: f"{key} cannot be used with openai-batch, whose requests are independent."
    for key in ("turns", "think_time", "history", "sessions")
}
_DOCUMENT_KEY_HINTS = {"documents": "documents is only for openai-rerank."}


class PrefixSettings(Settings):
    """Shared prefixes: every prompt begins with one of `groups` prefixes. Each prefix has `tokens`
    tokens, which are added to the length of the prompt."""

    groups: Annotated[Count, upper_bound(100_000)] = Field(default=1, examples=[1])
    """Number of different prefixes, such as 1."""
    tokens: Annotated[Count, upper_bound(MAX_TOKENS)] = Field(examples=[100])
    """Length of each prefix in tokens, such as 100."""


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

    misplaced_key_hints: ClassVar[dict[str, str]] = _SESSION_KEY_HINTS
    output_tokens: TokenLength | None = None
    """Length of the responses in tokens: 128, or a distribution. Leave it empty to let the model
    choose the length."""


class PromptSettings(TextSettings):
    """Synthetic prompts whose length is fixed or follows a distribution.

    With `turns`, each arrival starts a session. A session consists of `turns` requests, with a
    pause of `think_time` before each further request.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = {}
    output_tokens: TokenLength | None = None
    """Length of the responses in tokens: 128, or a distribution. Leave it empty to let the model
    choose the length."""
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
        if self.turns is not None and self.output_tokens is None:
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

    misplaced_key_hints: ClassVar[dict[str, str]] = _SESSION_KEY_HINTS
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


class PromptRequests(_OpenAiRequests):
    """Requests for text generation, from exactly one of `prompts`, `dataset`, `trace` and
    `sessions`.

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

    @property
    def has_live_history(self) -> bool:
        """True if requests contain the server's own responses."""
        return self.sessions is not None or (self.prompts is not None and self.prompts.history == "live")

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        sources = (self.prompts, self.dataset, self.trace, self.sessions)
        if sum(source is not None for source in sources) != 1:
            raise BadValueError("workload needs exactly one of prompts, dataset, trace and sessions")
        if self.trace is not None and self.trace.is_file():
            check_token_columns(self.trace, self.block_tokens)
        if self.cache_bust == "session" and not self.has_live_history:
            raise BadValueError(
                "workload.cache_bust: session requires workload.sessions or prompts.history: live",
                hint="Use cache_bust: run.",
            )
        return self


class BatchRequests(_OpenAiRequests):
    """Chat completions of a batch, from exactly one of `prompts` and `dataset`."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"prompt source": ("prompts", "dataset")}
    misplaced_key_hints: ClassVar[dict[str, str]] = _DOCUMENT_KEY_HINTS | {
        key: f"{key} cannot be used with openai-batch, whose requests are independent and not streamed."
        for key in ("stream", "trace", "block_tokens", "sessions", "cache_bust")
    }
    prompts: SinglePromptSettings | None = None
    """Synthetic prompts whose length is fixed or follows a distribution."""
    dataset: SinglePromptDatasetSettings | None = None
    """Prompts from a file or folder."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.prompts is None) == (self.dataset is None):
            raise BadValueError("workload needs exactly one of prompts and dataset")
        return self


class EmbeddingRequests(_OpenAiRequests):
    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"text source": ("prompts", "dataset")}
    misplaced_key_hints: ClassVar[dict[str, str]] = _GENERATION_KEY_HINTS | _DOCUMENT_KEY_HINTS
    prompts: TextSettings | None = None
    """Synthetic texts whose length is fixed or follows a distribution."""
    dataset: TextDatasetSettings | None = None
    """Texts from a file or folder."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.prompts is None) == (self.dataset is None):
            raise BadValueError("workload needs exactly one of prompts and dataset")
        return self


class RerankRequests(EmbeddingRequests):
    """Rerank requests. Each request has a query and `documents` texts, all with `input_tokens`
    tokens."""

    misplaced_key_hints: ClassVar[dict[str, str]] = _GENERATION_KEY_HINTS
    documents: Annotated[Count, upper_bound(10_000)] = Field(default=8, examples=[8])
    """Number of texts per query, such as 8."""
