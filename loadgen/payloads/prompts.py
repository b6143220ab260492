"""What is asked of a language model: made-up prompts, sessions of them, or those of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import msgspec
import numpy as np

from loadgen.payloads.datasets import DatasetReading, Row, picks
from loadgen.payloads.lengths import MAX_LENGTH, draw
from loadgen.payloads.texts import TextMaker
from loadgen.workloads import DatasetPrompts, Length, Popularity, SyntheticPrompts, TracePrompts

MAX_TURNS = 1000
_BLOCK = 1024
_LEAST_TOKEN_BYTES = 4
_LENGTHS, _THINKING = 1, 2
"""Streams of random numbers beside that of the texts, so that one does not move the other."""


class PromptError(Exception):
    """No prompt can be made; the message says why."""


class Prompt(msgspec.Struct, frozen=True):
    """`texts` are what the user and the model said in turn, the user last; `prefix` comes before them.

    For embeddings and reranking they are the texts, the first of a reranking being the query. `messages` of a chat, if
    there are any, are sent as they are.
    """

    texts: tuple[str, ...]
    prefix: str = ""
    messages: list[dict[str, Any]] | None = None
    output_tokens: int | None = None


class Session(msgspec.Struct, frozen=True):
    """Prompts that follow each other. `think_ns[k]` is the pause after the answer to the k-th."""

    prompts: list[Prompt]
    think_ns: list[int]


def alone(prompt: Prompt) -> Session:
    return Session([prompt], [0])


def synthetic(
    prompts: SyntheticPrompts, maker: TextMaker, popularity: Popularity, seed: int, *, texts: int, limit_bytes: int
) -> Iterator[Session]:
    """`unique` sessions of `texts` texts a prompt (more than one only where there are no turns). Ends early at one that
    would not fit into `limit_bytes`. Raises PromptError when the first does not, and LengthError."""
    thinking_rng = np.random.default_rng([seed, _THINKING])
    prefixes = _prefixes(prompts, maker, popularity, seed, limit_bytes)
    for number, (asked, answered) in enumerate(drawn_lengths(prompts, seed, texts=texts)):
        count = len(answered)
        if _least_bytes(prompts.prefix_tokens, asked, answered, count) > limit_bytes:
            if number == 0:
                raise PromptError(f"a single request or session would take over {limit_bytes >> 20} MiB")
            return
        prefix = next(prefixes)
        if count == 1:
            made = tuple(maker.make(tokens) for tokens in asked)
            yield alone(Prompt(made, prefix, output_tokens=answered[0]))
        else:
            pauses = thinking_rng.exponential(prompts.think_s * 1e9, count)
            yield Session(list(_turns(prefix, asked, answered, maker)), [round(pause) for pause in pauses])


def drawn_lengths(
    prompts: SyntheticPrompts, seed: int, *, texts: int = 1
) -> Iterator[tuple[list[int], list[int | None]]]:
    """Of each of the `unique` sessions, tokens of what is asked and of what is to be answered, turn by turn; as
    `synthetic` makes them. Raises LengthError."""
    rng = np.random.default_rng([seed, _LENGTHS])
    inputs = _endless(prompts.input_tokens, rng)
    outputs: Iterator[int | None] = repeat(None)
    if prompts.output_tokens is not None:
        outputs = _endless(prompts.output_tokens, rng)
    turns = repeat(1) if prompts.turns is None else _endless(prompts.turns, rng)
    for _ in range(prompts.unique):
        count = min(next(turns), MAX_TURNS)
        yield [next(inputs) for _ in range(max(count, texts))], [next(outputs) for _ in range(count)]


def traced(trace: TracePrompts, maker: TextMaker, limit_bytes: int) -> Iterator[Session]:
    """One prompt for each of the trace's lines. A length below 1 counts as 1. Raises PromptError."""
    if not trace.input_tokens or len(trace.input_tokens) != len(trace.output_tokens) or len(trace.input_tokens) % 4:
        raise PromptError("the trace must have as many lengths of answers as of prompts, at least one")
    inputs, outputs = (np.frombuffer(data, "<i4").tolist() for data in (trace.input_tokens, trace.output_tokens))
    for number, (asked, answered) in enumerate(zip(inputs, outputs, strict=True)):
        tokens = min(max(asked, 1), MAX_LENGTH)
        if tokens * _LEAST_TOKEN_BYTES > limit_bytes:
            if number == 0:
                raise PromptError(f"a single request would take over {limit_bytes >> 20} MiB")
            return
        yield alone(Prompt((maker.make(tokens),), output_tokens=max(answered, 1)))


def of_dataset(prompts: DatasetPrompts, reading: DatasetReading) -> Iterator[Session]:
    """One prompt a row. Raises PromptError and DatasetError."""
    for number, one in enumerate(reading, 1):
        value = _cell(one.row, prompts.prompt, number)
        asked = None if prompts.output_tokens is None else _whole(_cell(one.row, prompts.output_tokens, number), number)
        if isinstance(value, bytes):
            yield alone(Prompt((_decoded(value, one.name),), output_tokens=asked))
        elif isinstance(value, str):
            yield alone(Prompt((value,), output_tokens=asked))
        elif isinstance(value, list) and value and all(isinstance(text, str) for text in value):
            yield alone(Prompt(tuple(value), output_tokens=asked))
        else:
            yield alone(Prompt((), messages=_messages(value, number), output_tokens=asked))


def _endless(length: Length, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from draw(length, _BLOCK, rng).tolist()


def _prefixes(
    prompts: SyntheticPrompts, maker: TextMaker, popularity: Popularity, seed: int, limit_bytes: int
) -> Iterator[str]:
    """Each prompt's, of the groups that are shared."""
    groups, tokens = prompts.prefix_groups, prompts.prefix_tokens
    if groups < 1 or tokens < 1:
        yield from repeat("")
    if groups * tokens * _LEAST_TOKEN_BYTES > limit_bytes:
        raise PromptError(f"{groups:,} prefixes of {tokens:,} tokens would take over {limit_bytes >> 20} MiB")
    made = [maker.make(tokens) for _ in range(groups)]
    drawn = picks(popularity, groups, seed)
    order = range(groups) if drawn is None else drawn
    while True:
        yield from (made[group] for group in order)


def _least_bytes(prefix_tokens: int, asked: list[int], answered: list[int | None], turns: int) -> int:
    """Each request of a session holds all turns before it."""
    if turns == 1:
        return _LEAST_TOKEN_BYTES * (prefix_tokens + sum(asked))
    total = history = 0
    for tokens_in, tokens_out in zip(asked, answered, strict=True):
        history += tokens_in
        total += prefix_tokens + history
        history += tokens_out or 0
    return _LEAST_TOKEN_BYTES * total


def _turns(prefix: str, asked: list[int], answered: list[int | None], maker: TextMaker) -> Iterator[Prompt]:
    said: list[str] = []
    for tokens_in, tokens_out in zip(asked, answered, strict=True):
        said.append(maker.make(tokens_in))
        yield Prompt(tuple(said), prefix, output_tokens=tokens_out)
        if tokens_out is None:
            raise PromptError("a session needs output_tokens: the answers in its history are made up")
        said.append(maker.make(tokens_out))


def _cell(row: Row, column: str, number: int) -> object:
    if column not in row:
        raise PromptError(f"row {number} of the dataset has no column {column!r}; it has {', '.join(row)[:200]}")
    return row[column]


def _whole(value: object, number: int) -> int:
    """Of CSV a number is text; Parquet's may be floating."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LENGTH:
        raise PromptError(f"row {number} of the dataset does not ask for a whole number of tokens, at least 1")
    return value


def _decoded(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise PromptError(f"{name or 'a row'} of the dataset is not text in UTF-8") from error


def _messages(value: object, number: int) -> list[dict[str, Any]]:
    """What a table has put in for a key that a message lacks is left out."""
    if not isinstance(value, list) or not value or not all(_is_message(message) for message in value):
        raise PromptError(f"row {number} of the dataset holds neither a text nor a list of texts or chat messages")
    return [{key: of for key, of in message.items() if of is not None or key == "content"} for message in value]


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    return isinstance(content, str | list) or bool(message.get("tool_calls"))
