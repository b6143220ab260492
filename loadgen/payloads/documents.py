"""Draw the retrieved documents of each prompt, as in retrieval-augmented generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from loadgen.payloads.lengths import draw_lengths
from loadgen.workloads import Documents

_DOCUMENT_STREAM = 5
"""Identifier of the random stream for documents, which differs from those of lengths, think times,
parallel requests and tools."""
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
    log_weights = -exponent * np.log(np.arange(1, count + 1))
    while True:
        # The largest sums of a log weight and a Gumbel variate, in descending order, are distributed
        # like draws without replacement by weight.
        keys = log_weights + rng.gumbel(size=count)
        drawn = np.argpartition(keys, count - per_prompt)[count - per_prompt :]
        yield drawn[np.argsort(-keys[drawn])].tolist()
