"""Predictions of a language model on a text, for perplexity and fidelity, and its greedy tokens at
different batch sizes.

Long texts are scored in overlapping windows, as in the strided evaluation of Hugging Face
Transformers (Perplexity of fixed-length models): the first window predicts all its tokens but the
first, and each later window begins `stride` tokens after the one before, and predicts only the
tokens that follow the one before. So each token of the text but the first is predicted once, from
at least `window − stride` tokens (fewer in the first window). No token is added to a window.

If the library fails, its RuntimeError is raised; `convert_run_error` converts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime_genai as genai
from scipy import special

from app.analysis.columns import Floats
from app.analysis.local.perplexity import TextScores, build_batch_divergence
from app.errors import MeasurementError, UsageError
from app.records.generation import BatchConsistency, BatchDivergence

Tokens = npt.NDArray[np.int32]

MAX_SAMPLE_BYTES = 2**26
"""Maximum size in bytes of the sampled log-probabilities: 1,024 positions for a vocabulary of
32,768 tokens, and 261 for one of 128,256."""
_MAX_SAMPLES = 4096
_NUMBERS_PER_BLOCK = 2**20
_MIN_LOG_PROBABILITY = -60_000.0
"""Log-probability that float16 still represents."""
_LOGITS = "logits"


def encode_text(model: Any, text: str, max_tokens: int) -> Tokens:
    """Return the first `max_tokens` tokens of a text. Raises UsageError for fewer than two."""
    tokens: Tokens = np.asarray(genai.Tokenizer(model).encode(text), np.int32)[:max_tokens]
    if tokens.size < 2:
        raise UsageError(f"the text has {tokens.size} tokens, but at least 2 are needed", hint="Use a longer text.")
    return tokens


def score_text(model: Any, tokens: Tokens, window: int, stride: int) -> TextScores:
    """Score each token of a text but the first, from the tokens before it in its window.

    `model` is an `onnxruntime_genai.Model` with a contiguous KV cache; `window` is at most its
    context. Raises UsageError if the stride is not between 1 and window − 1, and MeasurementError
    if the model computes logits that are not finite."""
    if not 1 <= stride < window:
        raise UsageError(
            f"the stride must be between 1 and {window - 1} tokens (got {stride})",
            hint="Use half the window, for example.",
        )
    log_likelihoods = np.zeros(tokens.size - 1)
    top_tokens = np.zeros(tokens.size - 1, np.int32)
    sample: _Sample | None = None
    for part in _list_windows(tokens.size, window, stride):
        for first, logits in _iterate_logits(model, tokens[part.begin : part.end - 1], part.first - 1 - part.begin):
            index = part.begin + first
            targets = tokens[index + 1 : index + 1 + len(logits)]
            _check_logits(logits, targets, index)
            log_probabilities = np.asarray(special.log_softmax(logits, axis=1))
            indices = slice(index, index + len(logits))
            log_likelihoods[indices] = log_probabilities[np.arange(len(logits)), targets]
            top_tokens[indices] = logits.argmax(axis=1)
            sample = sample or _Sample(tokens.size - 1, logits.shape[1])
            sample.add(index, log_probabilities)
    assert sample is not None  # Each text has a window.
    return TextScores(
        tokens=tokens,
        window_tokens=window,
        stride_tokens=stride,
        log_likelihoods=log_likelihoods,
        top_tokens=top_tokens,
        sampled_indices=sample.indices,
        sampled_log_probabilities=sample.log_probabilities,
    )


def _check_logits(logits: Floats, targets: Tokens, index: int) -> None:
    if not np.isfinite(logits).all():
        raise MeasurementError(
            f"the model computes logits that are not finite after {index + 1} to {index + len(logits)} tokens of the "
            "text",
            hint="Export the model with another precision.",
        )
    if targets.max() >= logits.shape[1]:
        raise MeasurementError(
            f"the text has the token {targets.max()}, but the model has logits for {logits.shape[1]} tokens",
            hint="Export the model again, with its own tokenizer.",
        )


class _Window(NamedTuple):
    """A window of the text, from token `begin` to before token `end`, that predicts the tokens from
    `first` on."""

    begin: int
    end: int
    first: int


def _list_windows(count: int, window: int, stride: int) -> list[_Window]:
    windows = [_Window(0, min(window, count), 1)]
    while windows[-1].end < count:
        begin = windows[-1].begin + stride
        windows.append(_Window(begin, min(begin + window, count), windows[-1].end))
    return windows


class _Sample:
    """Log-probabilities of the whole vocabulary at evenly spaced positions."""

    def __init__(self, count: int, vocabulary: int) -> None:
        size = max(1, min(count, _MAX_SAMPLES, MAX_SAMPLE_BYTES // (2 * vocabulary)))
        self.indices = np.arange(size) * count // size
        self.log_probabilities = np.zeros((size, vocabulary), np.float16)

    def add(self, index: int, log_probabilities: Floats) -> None:
        first, last = np.searchsorted(self.indices, (index, index + len(log_probabilities)))
        rows = log_probabilities[self.indices[first:last] - index]
        self.log_probabilities[first:last] = np.maximum(rows, _MIN_LOG_PROBABILITY)


def _iterate_logits(model: Any, tokens: Tokens, first: int) -> Iterator[tuple[int, Floats]]:
    """Yield the logits of the positions from `first` on, in blocks of the first position and one
    row per position.

    Most models compute the logits of all positions of a prefill. From a model that computes only
    the last, the tokens are decoded one by one."""
    generator = _open_generator(model, tokens.size + 1, 1)
    generator.append_tokens(tokens)
    all_logits = generator.get_output(_LOGITS)  # A view of memory that the generator owns.
    if all_logits.ndim == 3 and all_logits.shape[1] == tokens.size:
        block_size = max(1, _NUMBERS_PER_BLOCK // all_logits.shape[2])
        for start in range(first, tokens.size, block_size):
            yield start, all_logits[0, start : start + block_size].astype(np.float64)
        return
    generator = _open_generator(model, tokens.size + 1, 1)
    if first:
        generator.append_tokens(tokens[:first])
    for position in range(first, tokens.size):
        generator.append_tokens(tokens[position : position + 1])
        yield position, generator.get_logits()[0].astype(np.float64)


def select_prompts(tokens: Tokens, batch: int, prompt_tokens: int) -> Tokens:
    """Return `batch` different prompts of equal length from a text, evenly spaced, of shape
    [batch, tokens]. Raises UsageError if the text is too short."""
    if tokens.size < batch + prompt_tokens - 1:
        raise UsageError(
            f"the text has {tokens.size} tokens, too few for {batch} different prompts of {prompt_tokens} tokens",
            hint="Use a longer text.",
        )
    starts = np.arange(batch) * (tokens.size - prompt_tokens) // max(1, batch - 1)
    return np.stack([tokens[start : start + prompt_tokens] for start in starts])


def compare_greedy_tokens(model: Any, prompts: Tokens, count: int) -> BatchConsistency:
    """Compare the `count` greedy tokens of each prompt in a batch of all prompts with its greedy
    tokens alone. Tokens that end a response are not generated.

    Where they differ first, both are generated again, to compare the logits at this position; later
    tokens differ because of the first."""
    in_batch = _generate_greedily(model, prompts, count)
    divergences = []
    for row, prompt in enumerate(prompts):
        alone = _generate_greedily(model, prompt[None], count)[0]
        differing = np.flatnonzero(alone != in_batch[row])
        if differing.size:
            position = int(differing[0])
            tokens = alone[position], in_batch[row, position]
            divergences.append(_build_divergence(model, prompts, row, position, tokens))
    return BatchConsistency(batch=len(prompts), tokens=count, divergences=tuple(divergences))


def _build_divergence(model: Any, prompts: Tokens, row: int, position: int, tokens: tuple[int, int]) -> BatchDivergence:
    logits_in_batch = _compute_logits_after(model, prompts, position)[row]
    logits_alone = _compute_logits_after(model, prompts[row : row + 1], position)[0]
    return build_batch_divergence(row, position, tokens, logits_alone, logits_in_batch)


def _generate_greedily(model: Any, prompts: Tokens, count: int) -> Tokens:
    length = prompts.shape[1] + count
    generator = _open_generator(model, length, len(prompts))
    generator.append_tokens(prompts)
    for _ in range(count):
        generator.generate_next_token()
    return np.stack([generator.get_sequence(row)[prompts.shape[1] :] for row in range(len(prompts))])


def _compute_logits_after(model: Any, prompts: Tokens, count: int) -> Floats:
    """Return the logits of each row after `count` greedy tokens."""
    generator = _open_generator(model, prompts.shape[1] + count + 1, len(prompts))
    generator.append_tokens(prompts)
    for _ in range(count):
        generator.generate_next_token()
    return np.asarray(generator.get_logits()[:, -1], np.float64)


def _open_generator(model: Any, length: int, batch: int) -> Any:
    """Open a generator that decodes greedily up to `length` tokens, which the prompt includes."""
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=length, min_length=length, batch_size=batch, do_sample=False)
    return genai.Generator(model, parameters)
