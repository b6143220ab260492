"""Draw the retrieved documents of each prompt, as in retrieval-augmented generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from loadgen.payloads.lengths import draw_lengths
from loadgen.workloads import Documents

_DOCUMENT_STREAM = 5
"""Identifier of the random stream for documents, which differs from those of lengths, think times,
parallel requests and tools."""
_DRAWS_PER_DOCUMENT = 4
"""Number of draws per document of a message. Draws that repeat a document are dropped."""
SEPARATOR = "\n\n"
"""Text between the documents of a prompt, and before the text of its user."""


class DocumentDraw:
    """Documents of a workload: `lengths` has their lengths in tokens, in the order of their
    popularity. An iterator yields the indices of the documents of each message of a user.

    Without documents, there are no lengths, and no message has documents. Raises LengthError if the
    distribution of lengths is invalid.
    """

    def __init__(self, documents: Documents | None, seed: int) -> None:
        rng = np.random.default_rng([seed, _DOCUMENT_STREAM])
        self.lengths: list[int] = []
        self._draw_next: Callable[[], list[int]] = list
        if documents is None:
            return
        self.lengths = draw_lengths(documents.tokens, documents.count, rng).tolist()
        indices = _draw_indices(documents, rng)
        is_sorted = documents.order == "popularity"
        self._draw_next = lambda: sorted(next(indices)) if is_sorted else next(indices)

    def draw(self) -> list[int]:
        """Return the indices of the documents of the next message, in the order in which the message
        contains them."""
        return self._draw_next()

    def count_tokens(self, indices: list[int]) -> int:
        return sum(self.lengths[index] for index in indices)


def _draw_indices(documents: Documents, rng: np.random.Generator) -> Iterator[list[int]]:
    """Yield different documents for each message, by the popularity of the documents."""
    count, per_prompt = documents.count, min(documents.per_prompt, documents.count)
    popularity = documents.popularity
    if popularity.kind == "sequential":
        start = 0
        while True:
            yield [(start + step) % count for step in range(per_prompt)]
            start = (start + per_prompt) % count
    exponent = popularity.exponent if popularity.kind == "zipf" else 0.0
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    bounds = np.cumsum(weights)
    while True:
        positions = rng.random(_DRAWS_PER_DOCUMENT * per_prompt) * bounds[-1]
        candidates = np.minimum(np.searchsorted(bounds, positions, side="right"), count - 1)
        drawn = list(dict.fromkeys(candidates.tolist()))[:per_prompt]
        if len(drawn) < per_prompt:
            drawn += _draw_others(weights, drawn, per_prompt - len(drawn), rng)
        yield drawn


def _draw_others(
    weights: npt.NDArray[np.float64], drawn: list[int], missing_count: int, rng: np.random.Generator
) -> list[int]:
    """Draw further documents by weight, without those that are already drawn.

    The largest sums of a log weight and a Gumbel variate, in descending order, are distributed like
    draws without replacement.
    """
    keys = np.log(weights) + rng.gumbel(size=len(weights))
    keys[drawn] = -np.inf
    others = np.argpartition(keys, -missing_count)[-missing_count:]
    indices: list[int] = others[np.argsort(-keys[others])].tolist()
    return indices
