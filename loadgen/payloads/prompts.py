"""Prompts for a language model: synthetic prompts, sessions of them, or those of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import msgspec
import numpy as np

from loadgen.payloads.datasets import DatasetReader, Row, draw_picks
from loadgen.payloads.lengths import MAX_LENGTH, draw_lengths
from loadgen.payloads.texts import TextGenerator
from loadgen.workloads import DatasetPrompts, Length, Popularity, SyntheticPrompts, TracePrompts

MAX_TURNS = 1000
_BLOCK_SIZE = 1024
_MIN_TOKEN_BYTES = 4
_LENGTHS, _THINK_TIMES = 1, 2
"""Random streams besides that of the texts, so that a change in one does not affect the others."""


class PromptError(Exception):
    """Raised when no prompt can be made; the message has the reason."""


class Prompt(msgspec.Struct, frozen=True):
    """A prompt.

    `texts` are the alternating messages of user and model, the user's last; `prefix` precedes them. For embeddings and
    reranking they are the texts; the first one of a reranking is the query. If a chat has `messages`, those are sent as
    they are.
    """

    texts: tuple[str, ...]
    prefix: str = ""
    messages: list[dict[str, Any]] | None = None
    output_tokens: int | None = None


class Session(msgspec.Struct, frozen=True):
    """Prompts that follow each other. `think_ns[k]` is the pause in ns after the response to the k-th."""

    prompts: list[Prompt]
    think_ns: list[int]


def single_prompt_session(prompt: Prompt) -> Session:
    return Session([prompt], [0])


def generate_sessions(
    prompts: SyntheticPrompts, maker: TextGenerator, popularity: Popularity, seed: int, *, texts: int, limit_bytes: int
) -> Iterator[Session]:
    """Yield `unique` sessions with `texts` texts per prompt (more than one only without turns).

    Stops early at a session that would not fit into `limit_bytes`. Raises PromptError if the first one does not fit,
    and LengthError.
    """
    thinking_rng = np.random.default_rng([seed, _THINK_TIMES])
    prefixes = _prefixes(prompts, maker, popularity, seed, limit_bytes)
    for number, (input_tokens, output_tokens) in enumerate(draw_session_lengths(prompts, seed, texts=texts)):
        count = len(output_tokens)
        if _min_bytes(prompts.prefix_tokens, input_tokens, output_tokens, count) > limit_bytes:
            if number == 0:
                raise PromptError(f"a single request or session would take over {limit_bytes >> 20} MiB")
            return
        prefix = next(prefixes)
        if count == 1:
            texts_ = tuple(maker.generate(tokens) for tokens in input_tokens)
            yield single_prompt_session(Prompt(texts_, prefix, output_tokens=output_tokens[0]))
        else:
            pauses = thinking_rng.exponential(prompts.think_s * 1e9, count)
            yield Session(list(_turns(prefix, input_tokens, output_tokens, maker)), [round(pause) for pause in pauses])


def draw_session_lengths(
    prompts: SyntheticPrompts, seed: int, *, texts: int = 1
) -> Iterator[tuple[list[int], list[int | None]]]:
    """Yield the prompt and response lengths in tokens of each of the `unique` sessions, turn by turn, as
    `generate_sessions` uses them.

    Raises LengthError.
    """
    rng = np.random.default_rng([seed, _LENGTHS])
    inputs = _endless_lengths(prompts.input_tokens, rng)
    outputs: Iterator[int | None] = repeat(None)
    if prompts.output_tokens is not None:
        outputs = _endless_lengths(prompts.output_tokens, rng)
    turns = repeat(1) if prompts.turns is None else _endless_lengths(prompts.turns, rng)
    for _ in range(prompts.unique):
        count = min(next(turns), MAX_TURNS)
        yield [next(inputs) for _ in range(max(count, texts))], [next(outputs) for _ in range(count)]


def sessions_from_trace(trace: TracePrompts, maker: TextGenerator, limit_bytes: int) -> Iterator[Session]:
    """Yield one prompt for each line of the trace. A length below 1 counts as 1. Raises PromptError."""
    if not trace.input_tokens or len(trace.input_tokens) != len(trace.output_tokens) or len(trace.input_tokens) % 4:
        raise PromptError("the trace must have as many output lengths as prompt lengths, and at least one")
    inputs, outputs = (np.frombuffer(data, "<i4").tolist() for data in (trace.input_tokens, trace.output_tokens))
    for number, (input_tokens, output_tokens) in enumerate(zip(inputs, outputs, strict=True)):
        tokens = min(max(input_tokens, 1), MAX_LENGTH)
        if tokens * _MIN_TOKEN_BYTES > limit_bytes:
            if number == 0:
                raise PromptError(f"a single request would take over {limit_bytes >> 20} MiB")
            return
        yield single_prompt_session(Prompt((maker.generate(tokens),), output_tokens=max(output_tokens, 1)))


def sessions_from_dataset(prompts: DatasetPrompts, reading: DatasetReader) -> Iterator[Session]:
    """Yield one prompt per row. Raises PromptError and DatasetError."""
    for number, row in enumerate(reading, 1):
        value = _cell(row.row, prompts.prompt, number)
        output_tokens = (
            None
            if prompts.output_tokens is None
            else _token_count(_cell(row.row, prompts.output_tokens, number), number)
        )
        if isinstance(value, bytes):
            yield single_prompt_session(Prompt((_decoded(value, row.name),), output_tokens=output_tokens))
        elif isinstance(value, str):
            yield single_prompt_session(Prompt((value,), output_tokens=output_tokens))
        elif isinstance(value, list) and value and all(isinstance(text, str) for text in value):
            yield single_prompt_session(Prompt(tuple(value), output_tokens=output_tokens))
        else:
            yield single_prompt_session(Prompt((), messages=_messages(value, number), output_tokens=output_tokens))


def _endless_lengths(length: Length, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from draw_lengths(length, _BLOCK_SIZE, rng).tolist()


def _prefixes(
    prompts: SyntheticPrompts, maker: TextGenerator, popularity: Popularity, seed: int, limit_bytes: int
) -> Iterator[str]:
    """Yield the prefix of each prompt, drawn from the shared groups."""
    groups, tokens = prompts.prefix_groups, prompts.prefix_tokens
    if groups < 1 or tokens < 1:
        yield from repeat("")
    if groups * tokens * _MIN_TOKEN_BYTES > limit_bytes:
        raise PromptError(f"{groups:,} prefixes of {tokens:,} tokens would take over {limit_bytes >> 20} MiB")
    prefixes = [maker.generate(tokens) for _ in range(groups)]
    picked = draw_picks(popularity, groups, seed)
    order = range(groups) if picked is None else picked
    while True:
        yield from (prefixes[group] for group in order)


def _min_bytes(prefix_tokens: int, inputs: list[int], outputs: list[int | None], turns: int) -> int:
    """Return the minimum size in bytes of a session; each of its requests contains all turns before it."""
    if turns == 1:
        return _MIN_TOKEN_BYTES * (prefix_tokens + sum(inputs))
    total = history = 0
    for tokens_in, tokens_out in zip(inputs, outputs, strict=True):
        history += tokens_in
        total += prefix_tokens + history
        history += tokens_out or 0
    return _MIN_TOKEN_BYTES * total


def _turns(prefix: str, inputs: list[int], outputs: list[int | None], maker: TextGenerator) -> Iterator[Prompt]:
    history: list[str] = []
    for tokens_in, tokens_out in zip(inputs, outputs, strict=True):
        history.append(maker.generate(tokens_in))
        yield Prompt(tuple(history), prefix, output_tokens=tokens_out)
        if tokens_out is None:
            raise PromptError("a session needs output_tokens, because the responses in its history are generated")
        history.append(maker.generate(tokens_out))


def _cell(row: Row, column: str, number: int) -> object:
    if column not in row:
        raise PromptError(f"row {number} of the dataset has no column {column!r}; it has {', '.join(row)[:200]}")
    return row[column]


def _token_count(value: object, number: int) -> int:
    """Return a number of tokens. CSV has numbers as text, and Parquet may have them as floats."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LENGTH:
        raise PromptError(f"row {number} of the dataset does not have a whole number of tokens of at least 1")
    return value


def _decoded(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise PromptError(f"{name or 'a row'} of the dataset is not UTF-8 text") from error


def _messages(value: object, number: int) -> list[dict[str, Any]]:
    """Return chat messages without the null values that a table adds for keys that a message lacks."""
    if not isinstance(value, list) or not value or not all(_is_message(message) for message in value):
        raise PromptError(f"row {number} of the dataset has neither a text nor a list of texts or chat messages")
    return [
        {key: content for key, content in message.items() if content is not None or key == "content"}
        for message in value
    ]


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    return isinstance(content, str | list) or bool(message.get("tool_calls"))
