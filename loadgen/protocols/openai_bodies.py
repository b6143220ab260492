"""Bodies of requests to the OpenAI-compatible APIs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import msgspec

from loadgen.decoding import decode_json
from loadgen.payloads.prompts import Prompt, PromptError, Session, alone
from loadgen.protocols.built import WorkloadError
from loadgen.protocols.openai_answers import Api
from loadgen.workloads import DatasetPrompts, OpenAiWorkload

_MAX_DEPTH = 32
_LENGTHS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "min_tokens")

Body = dict[str, Any]


def read_extra(extra: bytes) -> Body:
    """Raises WorkloadError."""
    try:
        return decode_json(extra, Body)
    except msgspec.DecodeError as error:
        raise WorkloadError(f"extra_body must be a JSON object: {error}") from error


def merged(body: Body, extra: Body, depth: int = 0) -> Body:
    """As JSON Merge Patch has it (RFC 7396): objects are merged, and null takes a key away."""
    result = dict(body)
    for key, value in extra.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and depth < _MAX_DEPTH:
            before = result.get(key)
            result[key] = merged(before if isinstance(before, dict) else {}, value, depth + 1)
        else:
            result[key] = value
    return result


def encoded(body: Body) -> bytes:
    """Raises PromptError for what a row of a dataset may hold and JSON cannot."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PromptError(f"a prompt cannot be written as JSON: {error}") from error


def body_of(workload: OpenAiWorkload, prompt: Prompt) -> Body:
    """Nothing that changes what is generated is set but its length: temperature and the like are the user's to say.

    Raises PromptError for a prompt that the API does not take.
    """
    api: Api = workload.api
    body: Body = {"model": workload.model}
    if api == "embeddings":
        texts = _texts(prompt)
        return {**body, "input": texts[0] if len(texts) == 1 else texts}
    if api == "rerank":
        query, *documents = _texts(prompt)
        return {**body, "query": query, "documents": documents}
    if prompt.messages is None and len(prompt.texts) > 1 and isinstance(workload.prompts, DatasetPrompts):
        raise PromptError("the dataset holds lists of texts, which are for embeddings and reranking")
    body |= _asked(api, prompt)
    if prompt.output_tokens is not None:
        body["max_output_tokens" if api == "responses" else "max_tokens"] = prompt.output_tokens
    if workload.stream:
        body["stream"] = True
        if api != "responses":
            body["stream_options"] = {"include_usage": True}
    return body


def size_of(api: Api, prompt: Prompt) -> int:
    """How many results the answer may have."""
    return len(prompt.texts) - 1 if api == "rerank" else len(prompt.texts)


def asked_tokens(body: Body) -> int | None:
    """How many output tokens it asks for at most, as servers read it: the newer name goes before the older."""
    named = (body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    return next((count for count in named if type(count) is int and 0 < count < 2**31), None)


def prompt_hash(body: Body) -> int:
    """The same for bodies that differ in nothing but how much they ask for."""
    return hash(encoded({key: value for key, value in body.items() if key not in _LENGTHS}))


def for_reranking(sessions: Iterator[Session], documents: int) -> Iterator[Session]:
    """A list of texts is a query and its documents. Single texts are queries, and the rows after them the documents."""
    prompts = [prompt for session in sessions for prompt in session.prompts]
    singles = [prompt.texts[0] for prompt in prompts if len(prompt.texts) == 1]
    count = min(documents, len(singles) - 1)
    if singles and count < 1:
        raise PromptError("reranking needs rows of a query and its documents, or at least two rows of text")
    at = 0
    for prompt in prompts:
        if len(prompt.texts) == 1:
            others = (singles[(at + step) % len(singles)] for step in range(1, count + 1))
            prompt, at = Prompt((singles[at], *others)), at + 1
        yield alone(prompt)


def _asked(api: Api, prompt: Prompt) -> Body:
    if api == "completions":
        if prompt.messages is not None:
            raise PromptError("the dataset holds chat messages, which completions do not take: name a column of text")
        text = "\n".join(prompt.texts)
        return {"prompt": f"{prompt.prefix} {text}" if prompt.prefix else text}
    if api == "responses":
        is_text = prompt.messages is None and not prompt.prefix and len(prompt.texts) == 1
        return {"input": prompt.texts[0] if is_text else _messages(prompt)}
    return {"messages": _messages(prompt)}


def _messages(prompt: Prompt) -> list[Body]:
    if prompt.messages is not None:
        return prompt.messages
    system = [{"role": "system", "content": prompt.prefix}] if prompt.prefix else []
    turns = zip(cycle(("user", "assistant")), prompt.texts, strict=False)
    return [*system, *({"role": role, "content": text} for role, text in turns)]


def _texts(prompt: Prompt) -> list[str]:
    if prompt.messages is not None:
        raise PromptError("the dataset holds chat messages, and texts are needed: name a column of text")
    first, *rest = prompt.texts
    return [f"{prompt.prefix} {first}" if prompt.prefix else first, *rest]
