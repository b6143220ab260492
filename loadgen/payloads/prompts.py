"""Build the prompts of a language model's workload: synthetic prompts and sessions, or prompts from
a trace or a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, repeat
from typing import Any, NamedTuple, assert_never

import msgspec
import numpy as np

from loadgen.payloads.datasets import DatasetReader, Row, draw_indices
from loadgen.payloads.documents import SEPARATOR, DocumentDraw
from loadgen.payloads.lengths import MAX_LENGTH, draw_length_pairs, draw_lengths
from loadgen.payloads.media import Media, MediaGenerator
from loadgen.payloads.sessions import MAX_DELAY_S, SessionGraph, SessionRequest, build_session_graph
from loadgen.payloads.texts import CountTokens, TextGenerator
from loadgen.workloads import (
    DatasetPrompts,
    Delay,
    ExponentialDelay,
    FixedDelay,
    JointLengths,
    Length,
    LognormalDelay,
    Popularity,
    SyntheticPrompts,
    TracePrompts,
    UniformDelay,
)

MAX_TURNS = 1000
_BLOCK_SIZE = 1024
_MIN_TOKEN_BYTES = 4
MAX_PARALLEL = 100
_LENGTH_STREAM, _THINK_TIME_STREAM, _PARALLEL_STREAM, _TOOL_STREAM = 1, 2, 3, 4
"""Identifiers of the random streams for lengths, think times, parallel requests and tools. The
streams are separate, so that changing the lengths does not change the think times or the texts, and
vice versa."""


class PromptError(Exception):
    """Error that is raised when prompts cannot be built; the message states the reason."""


class Prompt(msgspec.Struct, frozen=True):
    """Prompt of one request.

    `texts` are the messages of a conversation, alternately from user and model; the last message is
    from the user. The conversation begins with `prefix`, and `media` follow the first text. For
    embeddings, `texts` are the texts to embed; for reranking, the query and its documents. If
    `messages` is set, these chat messages are sent unchanged instead of `texts`.
    """

    texts: tuple[str, ...]
    prefix: str = ""
    messages: list[dict[str, Any]] | None = None
    output_tokens: int | None = None
    media: tuple[Media, ...] = ()


def replace_texts(prompt: Prompt, text_generator: TextGenerator) -> Prompt:
    """Return the prompt with other generated texts of the same numbers of tokens."""
    texts = tuple(text_generator.generate(max(1, text_generator.count(text))) for text in prompt.texts)
    prefix = text_generator.generate(text_generator.count(prompt.prefix)) if prompt.prefix else ""
    return msgspec.structs.replace(prompt, texts=texts, prefix=prefix)


class Session(msgspec.Struct, frozen=True):
    """Prompts of one session, in order. `think_times_ns[k]` is the think time in ns after the
    response to prompt k."""

    prompts: list[Prompt]
    think_times_ns: list[int]


def build_single_prompt_session(prompt: Prompt) -> Session:
    return Session([prompt], [0])


def generate_sessions(
    prompts: SyntheticPrompts,
    text_generator: TextGenerator,
    popularity: Popularity,
    seed: int,
    *,
    texts_per_prompt: int,
    limit_bytes: int,
) -> Iterator[Session]:
    """Yield the synthetic sessions: `unique` sessions with `texts_per_prompt` texts in each prompt.
    `texts_per_prompt` must be 1 for sessions with several turns.

    Stop at the first session that is larger than `limit_bytes`. Raises PromptError if this is the
    very first session, and LengthError if a distribution of lengths is invalid.
    """
    think_time_rng = np.random.default_rng([seed, _THINK_TIME_STREAM])
    prefixes = _generate_prefixes(prompts, text_generator, popularity, seed, limit_bytes)
    user_texts = _UserTexts(prompts, text_generator, seed, limit_bytes)
    media_generator = MediaGenerator(prompts.images, prompts.audio, seed)
    for session_number, lengths in enumerate(draw_session_lengths(prompts, seed, texts_per_prompt=texts_per_prompt)):
        output_tokens, turn_count = lengths.output_tokens, len(lengths.output_tokens)
        if _compute_min_bytes(prompts.prefix_tokens, lengths.list_message_tokens(), output_tokens) > limit_bytes:
            if session_number == 0:
                raise PromptError(f"a single request or session would exceed {limit_bytes >> 20} MiB")
            return
        prefix, media = next(prefixes), media_generator.generate()
        if turn_count == 1:
            prompt_texts = tuple(user_texts.generate(lengths))
            yield build_single_prompt_session(Prompt(prompt_texts, prefix, output_tokens=output_tokens[0], media=media))
        else:
            yield Session(
                list(_generate_turns(prefix, user_texts.generate(lengths), output_tokens, text_generator, media)),
                draw_delays_ns(prompts.think_time, turn_count, think_time_rng),
            )


def generate_session_graphs(
    prompts: SyntheticPrompts, text_generator: TextGenerator, popularity: Popularity, seed: int, limit_bytes: int
) -> Iterator[SessionGraph]:
    """Yield the `unique` synthetic sessions whose history is live: one request per turn, or several
    parallel requests that have all requests of the previous turn as parents.

    Stop before the texts of all sessions together are larger than `limit_bytes`. Raises PromptError
    if a single session is larger, and LengthError if a distribution of lengths is invalid.
    """
    live = prompts.live
    assert live is not None
    think_time_rng, tool_rng = (np.random.default_rng([seed, stream]) for stream in (_THINK_TIME_STREAM, _TOOL_STREAM))
    prefixes = _generate_prefixes(prompts, text_generator, popularity, seed, limit_bytes)
    tool_lengths = _draw_endless_lengths(live.tool_tokens, tool_rng)
    user_texts = _UserTexts(prompts, text_generator, seed, limit_bytes)
    media_generator = MediaGenerator(prompts.images, prompts.audio, seed)
    prefix_tokens = prompts.prefix_tokens if prompts.prefix_groups else 0
    remaining_bytes = limit_bytes
    for session_number, lengths in enumerate(draw_session_lengths(prompts, seed)):
        message_tokens = lengths.list_message_tokens()
        tool_tokens = [next(tool_lengths) for _ in message_tokens]
        media = media_generator.generate()
        remaining_bytes -= sum(len(item.data) for item in media)
        remaining_bytes -= _MIN_TOKEN_BYTES * (prefix_tokens + sum(message_tokens) + sum(tool_tokens[1:]))
        if remaining_bytes < 0:
            if session_number == 0:
                raise PromptError(f"a single session would exceed {limit_bytes >> 20} MiB")
            return
        delays_ns = draw_delays_ns(prompts.think_time, len(message_tokens), think_time_rng)
        tool_delays_ns = draw_delays_ns(live.tool_time, len(message_tokens), tool_rng)
        requests: list[SessionRequest] = []
        for parents, text in zip(_connect_turns(lengths.widths), user_texts.generate(lengths), strict=True):
            index = len(requests)
            requests.append(
                SessionRequest(
                    text=text,
                    tokens=message_tokens[index],
                    parents=parents,
                    output_tokens=lengths.output_tokens[index],
                    delay_ns=delays_ns[index],
                    tool_text=text_generator.generate(tool_tokens[index]) if parents else "",
                    tool_tokens=tool_tokens[index],
                    tool_delay_ns=tool_delays_ns[index],
                )
            )
        yield build_session_graph(requests, next(prefixes), prefix_tokens, media)


def _connect_turns(widths: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield the parents of each request: all requests of the previous turn. `widths` has the number
    of requests in each turn."""
    previous_turn: tuple[int, ...] = ()
    start = 0
    for width in widths:
        yield from repeat(previous_turn, width)
        previous_turn, start = tuple(range(start, start + width)), start + width


def draw_delays_ns(distribution: Delay, count: int, rng: np.random.Generator) -> list[int]:
    match distribution:
        case FixedDelay(delay_s=delay_s):
            delays_s = np.full(count, delay_s)
        case ExponentialDelay(mean_s=mean_s):
            return [round(delay_ns) for delay_ns in rng.exponential(mean_s * 1e9, count)]
        case UniformDelay(low_s=low_s, high_s=high_s):
            delays_s = rng.uniform(low_s, high_s, count)
        case LognormalDelay(median_s=median_s, sigma=sigma, high_s=high_s):
            delays_s = np.minimum(median_s * np.exp(rng.normal(0.0, sigma, count)), MAX_DELAY_S)
            delays_s = delays_s if high_s is None else np.minimum(delays_s, high_s)
        case _:
            assert_never(distribution)
    return [round(1e9 * delay_s) for delay_s in delays_s.tolist()]


class SessionLengths(NamedTuple):
    """Lengths in tokens of the prompt and the response of each request of a session, and the number
    of requests in each turn.

    `documents` has the indices of the documents in each prompt, and `document_tokens` their total
    length, which `input_tokens` does not include.
    """

    input_tokens: list[int]
    output_tokens: list[int | None]
    widths: list[int]
    documents: list[list[int]]
    document_tokens: list[int]

    def list_message_tokens(self) -> list[int]:
        """Return the length of each prompt, including its documents."""
        return [sum(tokens) for tokens in zip(self.input_tokens, self.document_tokens, strict=True)]


def draw_session_lengths(
    prompts: SyntheticPrompts, seed: int, *, texts_per_prompt: int = 1
) -> Iterator[SessionLengths]:
    """Yield the lengths of each session that `generate_sessions` or `generate_session_graphs`
    yields. Raises LengthError if a distribution of lengths is invalid."""
    rng = np.random.default_rng([seed, _LENGTH_STREAM])
    documents = DocumentDraw(prompts.documents, seed)
    draw_request_lengths = _build_length_draw(prompts, rng)
    turn_counts = repeat(1) if prompts.turns is None else _draw_endless_lengths(prompts.turns, rng)
    parallel_counts: Iterator[int] = repeat(1)
    if prompts.live is not None and prompts.live.parallel is not None:
        parallel_counts = _draw_endless_lengths(prompts.live.parallel, np.random.default_rng([seed, _PARALLEL_STREAM]))
    for _ in range(prompts.unique):
        turn_count = min(next(turn_counts), MAX_TURNS)
        widths = [1, *(min(next(parallel_counts), MAX_PARALLEL) for _ in range(turn_count - 1))]
        request_count = sum(widths)
        input_tokens, output_tokens = draw_request_lengths(max(request_count, texts_per_prompt), request_count)
        drawn_documents = [documents.draw() for _ in input_tokens]
        document_tokens = [documents.count_tokens(indices) for indices in drawn_documents]
        yield SessionLengths(input_tokens, output_tokens, widths, drawn_documents, document_tokens)


_DrawRequestLengths = Callable[[int, int], tuple[list[int], list[int | None]]]


def _build_length_draw(prompts: SyntheticPrompts, rng: np.random.Generator) -> _DrawRequestLengths:
    """Build a function that draws the lengths of a given number of prompts and of responses."""
    if isinstance(prompts.input_tokens, JointLengths):
        pairs = _draw_endless_pairs(prompts.input_tokens, rng)

        def draw_pairs(input_count: int, output_count: int) -> tuple[list[int], list[int | None]]:
            drawn = [next(pairs) for _ in range(input_count)]
            return [tokens_in for tokens_in, _ in drawn], [tokens_out for _, tokens_out in drawn[:output_count]]

        return draw_pairs
    input_lengths = _draw_endless_lengths(prompts.input_tokens, rng)
    output_lengths: Iterator[int | None] = repeat(None)
    if prompts.output_tokens is not None:
        output_lengths = _draw_endless_lengths(prompts.output_tokens, rng)
    return lambda input_count, output_count: (
        [next(input_lengths) for _ in range(input_count)],
        [next(output_lengths) for _ in range(output_count)],
    )


class _UserTexts:
    """Generator of the messages of users: the documents of a message, and then its own text."""

    def __init__(self, prompts: SyntheticPrompts, text_generator: TextGenerator, seed: int, limit_bytes: int) -> None:
        self._text_generator = text_generator
        lengths = DocumentDraw(prompts.documents, seed).lengths
        if sum(lengths) * _MIN_TOKEN_BYTES > limit_bytes:
            raise PromptError(f"the {len(lengths):,} documents would exceed {limit_bytes >> 20} MiB")
        self._documents = [text_generator.generate(tokens) for tokens in lengths]

    def generate(self, lengths: SessionLengths) -> Iterator[str]:
        """Yield the messages of a session in order."""
        for tokens, indices in zip(lengths.input_tokens, lengths.documents, strict=True):
            texts = [self._documents[index] for index in indices]
            yield SEPARATOR.join([*texts, self._text_generator.generate(tokens)])


def build_sessions_from_trace(
    trace: TracePrompts, text_generator: TextGenerator, limit_bytes: int, seed: int = 0
) -> Iterator[Session]:
    """Yield one single-prompt session per request of the trace. Lengths below 1 token are replaced
    by 1. `seed` determines the texts of blocks.

    Stop at the first request that is larger than `limit_bytes`. Raises PromptError if this is the
    very first request, or if the trace is invalid.
    """
    for request_number, (blocks, tokens, output_tokens) in enumerate(iterate_trace_requests(trace)):
        if tokens * _MIN_TOKEN_BYTES > limit_bytes:
            if request_number == 0:
                raise PromptError(f"a single request would exceed {limit_bytes >> 20} MiB")
            return
        text = (
            text_generator.generate_from_blocks(blocks, trace.block_tokens, seed)
            if blocks
            else text_generator.generate(tokens)
        )
        yield build_single_prompt_session(Prompt((text,), output_tokens=output_tokens))


Block = tuple[int, int]
"""ID of a block of a prompt, and its number of tokens."""


def iterate_trace_requests(trace: TracePrompts) -> Iterator[tuple[list[Block], int, int]]:
    """Yield the blocks, the prompt length and the response length of each request of a trace, in
    tokens. Without hash IDs, there are no blocks. Raises PromptError if the trace is invalid."""
    columns = (trace.input_tokens, trace.output_tokens)
    has_blocks = bool(trace.hash_counts)
    if not trace.input_tokens or len({len(column) for column in columns}) > 1 or len(trace.input_tokens) % 4:
        raise PromptError("the trace must have as many output lengths as prompt lengths, and at least one")
    if (has_blocks and len(trace.hash_counts) != len(trace.input_tokens)) or len(trace.hash_ids) % 8:
        raise PromptError("the trace must have a number of hash IDs for each prompt")
    input_lengths, output_lengths = (np.frombuffer(column, "<i4").tolist() for column in columns)
    counts = np.frombuffer(trace.hash_counts, "<i4").tolist() if has_blocks else [0] * len(input_lengths)
    if min(counts) < 0 or sum(counts) * 8 != len(trace.hash_ids) or trace.block_tokens < 1:
        raise PromptError("the numbers of hash IDs of the trace do not match its hash IDs")
    ids = np.frombuffer(trace.hash_ids, "<i8")
    if len(ids) and int(ids.min()) < 0:
        raise PromptError("a hash ID of the trace is below zero")
    start = 0
    for input_tokens, output_tokens, count in zip(input_lengths, output_lengths, counts, strict=True):
        tokens = min(max(input_tokens, 1), MAX_LENGTH)
        block_starts = range(0, tokens, trace.block_tokens)[:count]
        if len(block_starts) != count or (count and tokens > count * trace.block_tokens):
            raise PromptError(f"a prompt of {tokens:,} tokens does not have {count:,} blocks")
        blocks = [
            (block_id, min(trace.block_tokens, tokens - block_start))
            for block_id, block_start in zip(ids[start : start + count].tolist(), block_starts, strict=True)
        ]
        start += count
        yield blocks, tokens, max(output_tokens, 1)


def iterate_document_blocks(prompts: SyntheticPrompts, popularity: Popularity, seed: int) -> Iterator[list[Block]]:
    """Yield the blocks of each prompt that `generate_sessions` yields: its prefix, its documents and
    its own text. The prompts must consist of a single message each."""
    groups = _draw_prefix_groups(prompts, popularity, seed)
    document_lengths = DocumentDraw(prompts.documents, seed).lengths
    for own_id, lengths in enumerate(draw_session_lengths(prompts, seed), prompts.prefix_groups):
        prefix = [(next(groups), prompts.prefix_tokens)] if prompts.prefix_groups and prompts.prefix_tokens else []
        documents = [(-2 - index, document_lengths[index]) for index in lengths.documents[0]]
        yield [*prefix, *documents, (own_id, lengths.input_tokens[0])]


def build_sessions_from_dataset(
    prompts: DatasetPrompts, reader: DatasetReader, count_tokens: CountTokens | None = None
) -> Iterator[Session]:
    """Yield one session per row of the dataset: with a single prompt or, for a conversation, with
    one prompt per message of the user if `prompts.sessions` is set. Conversations without a message
    of the user are skipped. Without `count_tokens`, each word of a recorded response is one token.

    Raises PromptError for a row that is not a prompt, and DatasetError if the dataset cannot be
    read."""
    is_empty, has_conversations = True, prompts.sessions
    for row_number, row in enumerate(reader, 1):
        value = _get_cell(row.cells, prompts.prompt, row_number)
        output_tokens = (
            None
            if prompts.output_tokens is None
            else _parse_token_count(_get_cell(row.cells, prompts.output_tokens, row_number), row_number)
        )
        if isinstance(value, bytes):
            session = build_single_prompt_session(Prompt((_decode_text(value, row.name),), output_tokens=output_tokens))
        elif isinstance(value, str):
            session = build_single_prompt_session(Prompt((value,), output_tokens=output_tokens))
        elif isinstance(value, list) and value and all(isinstance(text, str) for text in value):
            session = build_single_prompt_session(Prompt(tuple(value), output_tokens=output_tokens))
        elif value == [] and has_conversations:
            continue
        elif prompts.sessions or _is_sharegpt_conversation(value):
            has_conversations = True
            turns = list(_build_conversation_turns(_parse_conversation(value, row_number), output_tokens, count_tokens))
            if not turns:
                continue
            turns = turns[:MAX_TURNS] if prompts.sessions else turns[:1]
            session = Session(turns, [0] * len(turns))
        else:
            session = build_single_prompt_session(
                Prompt((), messages=_parse_messages(value, row_number), output_tokens=output_tokens)
            )
        is_empty = False
        yield session
    if is_empty:
        raise PromptError("no row of the dataset has a message of the user")


def _is_sharegpt_conversation(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and {"from", "value"} <= turn.keys() for turn in value)
    )


def _parse_conversation(value: object, row_number: int) -> list[dict[str, Any]]:
    """Return the chat messages of a conversation of ShareGPT or of chat messages."""
    if not _is_sharegpt_conversation(value):
        return _parse_messages(value, row_number)
    assert isinstance(value, list)
    messages: list[dict[str, Any]] = []
    for turn in value:
        role = _ROLES_BY_SENDER.get(str(turn["from"]).casefold())
        if role is None or not isinstance(turn["value"], str):
            sender = f"{turn['from']!r:.100}"
            raise PromptError(
                f"row {row_number} of the dataset has a message from {sender}, not a text from human, gpt or system"
            )
        messages.append({"role": role, "content": turn["value"]})
    return messages


_ROLES_BY_SENDER = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant",
    "bard": "assistant", "assistant": "assistant", "system": "system",
}  # fmt: skip


def _build_conversation_turns(
    messages: list[dict[str, Any]], output_tokens: int | None, count_tokens: CountTokens | None
) -> Iterator[Prompt]:
    """Yield a prompt for each message of the user that a response follows, or that is the last
    message. The prompt contains all messages up to it."""
    for end, message in enumerate(messages, 1):
        following = messages[end] if end < len(messages) else None
        if message["role"] != "user" or (following is not None and following["role"] != "assistant"):
            continue
        recorded = None if following is None else following.get("content")
        recorded_tokens = None
        if isinstance(recorded, str):
            recorded_tokens = max(len(recorded.split()) if count_tokens is None else count_tokens(recorded), 1)
        yield Prompt((), messages=messages[:end], output_tokens=output_tokens or recorded_tokens)


def _draw_endless_lengths(distribution: Length, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from draw_lengths(distribution, _BLOCK_SIZE, rng).tolist()


def _draw_endless_pairs(distribution: JointLengths, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    while True:
        input_lengths, output_lengths = draw_length_pairs(distribution, _BLOCK_SIZE, rng)
        yield from zip(input_lengths.tolist(), output_lengths.tolist(), strict=True)


def _generate_prefixes(
    prompts: SyntheticPrompts, text_generator: TextGenerator, popularity: Popularity, seed: int, limit_bytes: int
) -> Iterator[str]:
    """Yield the shared prefix of each prompt, drawn from the prefix groups. Yield empty strings if
    there are no prefix groups."""
    group_count, prefix_tokens = prompts.prefix_groups, prompts.prefix_tokens
    if group_count < 1 or prefix_tokens < 1:
        yield from repeat("")
    if group_count * prefix_tokens * _MIN_TOKEN_BYTES > limit_bytes:
        raise PromptError(f"{group_count:,} prefixes of {prefix_tokens:,} tokens would exceed {limit_bytes >> 20} MiB")
    prefixes = [text_generator.generate(prefix_tokens) for _ in range(group_count)]
    yield from (prefixes[group] for group in _draw_prefix_groups(prompts, popularity, seed))


def _draw_prefix_groups(prompts: SyntheticPrompts, popularity: Popularity, seed: int) -> Iterator[int]:
    group_count = prompts.prefix_groups
    indices = draw_indices(prompts.prefix_popularity or popularity, group_count, seed)
    yield from cycle(range(group_count) if indices is None else indices)


def _compute_min_bytes(prefix_tokens: int, message_tokens: list[int], output_lengths: list[int | None]) -> int:
    """Return a lower bound of the size in bytes of a session's requests. Each request contains all
    earlier turns of the session."""
    if len(output_lengths) == 1:
        return _MIN_TOKEN_BYTES * (prefix_tokens + sum(message_tokens))
    total_tokens = history_tokens = 0
    for tokens_in, tokens_out in zip(message_tokens, output_lengths, strict=True):
        history_tokens += tokens_in
        total_tokens += prefix_tokens + history_tokens
        history_tokens += tokens_out or 0
    return _MIN_TOKEN_BYTES * total_tokens


def _generate_turns(
    prefix: str,
    user_texts: Iterator[str],
    output_lengths: list[int | None],
    text_generator: TextGenerator,
    media: tuple[Media, ...],
) -> Iterator[Prompt]:
    history: list[str] = []
    for user_text, tokens_out in zip(user_texts, output_lengths, strict=True):
        history.append(user_text)
        yield Prompt(tuple(history), prefix, output_tokens=tokens_out, media=media)
        if tokens_out is None:
            raise PromptError(
                "sessions require `output_tokens`, because the responses in their history are generated in advance"
            )
        history.append(text_generator.generate(tokens_out))


def _get_cell(row: Row, column: str, row_number: int) -> object:
    if column not in row:
        raise PromptError(
            f"row {row_number} of the dataset has no column {column!r}; it has these columns: {', '.join(row)[:200]}"
        )
    return row[column]


def _parse_token_count(value: object, row_number: int) -> int:
    """Parse the number of tokens in a dataset cell: an integer, a string (CSV) or a float
    (Parquet). Raises PromptError if the value is not a valid number of tokens."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LENGTH:
        raise PromptError(
            f"the number of tokens in row {row_number} of the dataset must be an integer from 1 to {MAX_LENGTH:,} "
            f"(got {value!r:.100})"
        )
    return value


def _decode_text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise PromptError(f"{name or 'a row'} of the dataset is not UTF-8 text") from error


def _parse_messages(value: object, row_number: int) -> list[dict[str, Any]]:
    """Parse a list of chat messages in a dataset cell. Keys with null values are removed, because
    Parquet adds them for keys that a message lacks. Raises PromptError if the value is not a list
    of chat messages."""
    if not isinstance(value, list) or not value or not all(_is_message(message) for message in value):
        raise PromptError(
            f"row {row_number} of the dataset is neither a string, a list of strings nor a list of chat messages"
        )
    return [
        {key: content for key, content in message.items() if content is not None or key == "content"}
        for message in value
    ]


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    return isinstance(content, str | list) or bool(message.get("tool_calls"))
