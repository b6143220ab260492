"""Workloads of the OpenAI-compatible APIs: prompts of given lengths, of a dataset, or of a trace."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, JsonValue, model_validator

from app.profiles.datasets import DatasetPath
from app.profiles.lengths import MOST_TOKENS, TokenLength
from app.profiles.popularity import PopularityText
from app.profiles.problems import BadValueError
from app.profiles.settings import Count, ExistingFile, Seconds, Settings, at_most
from app.profiles.traces import check_token_columns
from loadgen.workloads import FixedLength, Popularity

Column = Annotated[str, Field(min_length=1, max_length=256)]
_GENERATING = {
    key: f"{key} is for openai-chat, openai-completions and openai-responses."
    for key in ("output_tokens", "turns", "think", "stream", "trace")
}
_DOCUMENTS = {"documents": "documents is for openai-rerank."}


class PrefixSettings(Settings):
    """Every prompt begins with one of `groups` prefixes of `tokens`, on top of its own."""

    groups: Annotated[Count, at_most(100_000)] = 1
    tokens: Annotated[Count, at_most(MOST_TOKENS)]


class TextSettings(Settings):
    """Made-up texts; `unique` is how many different ones are prepared."""

    keys_of_others: ClassVar[dict[str, str]] = _GENERATING
    input_tokens: TokenLength
    prefix: PrefixSettings | None = None
    unique: Annotated[Count, at_most(1_000_000)] = 1000


class PromptSettings(TextSettings):
    """With `turns` an arrival starts a session of so many requests, `think` apart on average."""

    keys_of_others: ClassVar[dict[str, str]] = {}
    output_tokens: TokenLength | None = None
    turns: TokenLength | None = None
    think_s: Seconds = Field(default=0.0, alias="think")

    @model_validator(mode="after")
    def _is_a_session(self) -> Self:
        if self.turns is None and self.think_s > 0:
            raise BadValueError("prompts.think is the pause between turns, and turns is not given")
        if self.turns is not None and self.output_tokens is None:
            raise BadValueError("prompts.turns needs output_tokens: the answers in a session's history are made up")
        if isinstance(self.turns, FixedLength) and self.turns.tokens > 1000:
            raise BadValueError("prompts.turns is more than 1,000, the most that can be asked for")
        return self


class TextDatasetSettings(Settings):
    """The column `prompt` holds a text, or a list of them."""

    keys_of_others: ClassVar[dict[str, str]] = _GENERATING
    path: DatasetPath
    prompt: Column = "prompt"

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class PromptDatasetSettings(TextDatasetSettings):
    """The column `prompt` holds a text or a list of chat messages; `output_tokens` names one with numbers."""

    keys_of_others: ClassVar[dict[str, str]] = {}
    output_tokens: Column | None = None


class _OpenAiRequests(Settings):
    """`extra_body` is merged over the request; what the profile says elsewhere is not said there again."""

    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    tokenizer: ExistingFile | None = None
    popularity: PopularityText = Popularity()

    @model_validator(mode="after")
    def _says_it_once(self) -> Self:
        for key, place in (("stream", "workload.stream"), ("model", "target.model")):
            if key in self.extra_body:
                raise BadValueError(f"workload.extra_body.{key} would contradict {place}", hint=f"Write {place}.")
        return self


class PromptRequests(_OpenAiRequests):
    """Of `prompts`, `dataset` and `trace` one is given; a trace has columns of input and output tokens."""

    keys_of_others: ClassVar[dict[str, str]] = _DOCUMENTS
    prompts: PromptSettings | None = None
    dataset: PromptDatasetSettings | None = None
    trace: ExistingFile | None = None
    stream: bool = True

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(source is not None for source in (self.prompts, self.dataset, self.trace)) != 1:
            raise BadValueError("workload needs exactly one of prompts, dataset and trace")
        if self.trace is not None and self.trace.is_file():
            check_token_columns(self.trace)
        return self


class EmbeddingRequests(_OpenAiRequests):
    keys_of_others: ClassVar[dict[str, str]] = _GENERATING | _DOCUMENTS
    prompts: TextSettings | None = None
    dataset: TextDatasetSettings | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.prompts is None) == (self.dataset is None):
            raise BadValueError("workload needs exactly one of prompts and dataset")
        return self


class RerankRequests(EmbeddingRequests):
    """A query and `documents` texts, each of `input_tokens`."""

    keys_of_others: ClassVar[dict[str, str]] = _GENERATING
    documents: Annotated[Count, at_most(10_000)] = 8
