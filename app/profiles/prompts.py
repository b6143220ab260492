"""Workloads of the OpenAI-compatible APIs: prompts of given lengths, of a dataset, or of a trace."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from app.profiles.bodies import BodyKeys
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

    groups: Annotated[Count, at_most(100_000)] = Field(default=1, examples=[1])
    """How many different prefixes there are, like 1."""
    tokens: Annotated[Count, at_most(MOST_TOKENS)] = Field(examples=[100])
    """Length of each in tokens, like 100."""


class TextSettings(Settings):
    """Made-up texts; `unique` is how many different ones are prepared."""

    keys_of_others: ClassVar[dict[str, str]] = _GENERATING
    input_tokens: TokenLength
    """Length in tokens: 512, uniform 100 to 800, or {lognormal: {median: 300, sigma: 0.8, max: 4000}}."""
    prefix: PrefixSettings | None = None
    """What prompts begin with in common, as a system prompt."""
    unique: Annotated[Count, at_most(1_000_000)] = Field(default=1000, examples=[1000])
    """How many different texts are prepared, like 1000."""


class PromptSettings(TextSettings):
    """With `turns` an arrival starts a session of so many requests, `think` apart on average."""

    keys_of_others: ClassVar[dict[str, str]] = {}
    output_tokens: TokenLength | None = None
    """Length of the answers in tokens: 128, or a distribution as for input; empty is as the model likes."""
    turns: TokenLength | None = Field(default=None, examples=[4])
    """How many requests a session has, like 4, or a distribution; empty is single requests."""
    think_s: Seconds = Field(default=0.0, alias="think", examples=["5s"])
    """The pause between a session's turns, on average, like 5s."""

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
    """A .jsonl, .csv or .parquet file, or a folder."""
    prompt: Column = "prompt"
    """The column with the text."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class PromptDatasetSettings(TextDatasetSettings):
    """The column `prompt` holds a text or a list of chat messages; `output_tokens` names one with numbers."""

    keys_of_others: ClassVar[dict[str, str]] = {}
    output_tokens: Column | None = None
    """The column with the number of tokens to be answered."""


class _OpenAiRequests(Settings):
    """`extra_body` is merged over the request; what the profile says elsewhere is not said there again."""

    extra_body: BodyKeys = Field(default_factory=dict, examples=[{"temperature": 0}])
    """Merged over each request's body, like temperature: 0."""
    tokenizer: ExistingFile | None = None
    """A tokenizer.json to count tokens by; without it lengths are estimates."""
    popularity: PopularityText = Popularity()
    """Which of the prompts are sent how often: in-turn, uniform, zipf or {zipf: 1.1}."""

    @model_validator(mode="after")
    def _says_it_once(self) -> Self:
        for key, place in (("stream", "workload.stream"), ("model", "target.model")):
            if key in self.extra_body:
                raise BadValueError(f"workload.extra_body.{key} would contradict {place}", hint=f"Write {place}.")
        return self


class PromptRequests(_OpenAiRequests):
    """Of `prompts`, `dataset` and `trace` one is given; a trace has columns of input and output tokens."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"what is asked": ("prompts", "dataset", "trace")}

    keys_of_others: ClassVar[dict[str, str]] = _DOCUMENTS
    prompts: PromptSettings | None = None
    """Made-up prompts of given lengths."""
    dataset: PromptDatasetSettings | None = None
    """Prompts from a file of yours."""
    trace: ExistingFile | None = None
    """A trace with columns of input and output tokens, replayed with its lengths."""
    stream: bool = True
    """Whether answers are streamed, token by token."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(source is not None for source in (self.prompts, self.dataset, self.trace)) != 1:
            raise BadValueError("workload needs exactly one of prompts, dataset and trace")
        if self.trace is not None and self.trace.is_file():
            check_token_columns(self.trace)
        return self


class EmbeddingRequests(_OpenAiRequests):
    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"what is asked": ("prompts", "dataset")}
    keys_of_others: ClassVar[dict[str, str]] = _GENERATING | _DOCUMENTS
    prompts: TextSettings | None = None
    """Made-up texts of given lengths."""
    dataset: TextDatasetSettings | None = None
    """Texts from a file of yours."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.prompts is None) == (self.dataset is None):
            raise BadValueError("workload needs exactly one of prompts and dataset")
        return self


class RerankRequests(EmbeddingRequests):
    """A query and `documents` texts, each of `input_tokens`."""

    keys_of_others: ClassVar[dict[str, str]] = _GENERATING
    documents: Annotated[Count, at_most(10_000)] = Field(default=8, examples=[8])
    """How many texts each query has, like 8."""
