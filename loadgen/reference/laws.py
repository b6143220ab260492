"""When an answer is due."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from loadgen.reference.script import Law, Script


class Desk:
    """Requests are taken in the order they come, so each one's times are known at once."""

    def __init__(self, law: Law) -> None:
        self._law = law
        self._random = random.Random(law.seed)
        self._free_ns = None if law.servers is None else [0] * law.servers
        self.gap_ns = 0 if law.tokens_per_s is None else round(1e9 / law.tokens_per_s)

    def take(self, at_ns: int, *, rows: int = 0, tokens: int = 1) -> tuple[int, int]:
        """Nanoseconds from `at_ns` until a server begins, and from there until the first token."""
        first_ns = self._first_ns() + round(rows * self._law.row_s * 1e9)
        if self._free_ns is None:
            return 0, first_ns
        start_ns = max(at_ns, self._free_ns[0])
        heapq.heapreplace(self._free_ns, start_ns + first_ns + max(tokens - 1, 0) * self.gap_ns)
        return start_ns - at_ns, first_ns

    def _first_ns(self) -> int:
        law = self._law
        factor = self._random.lognormvariate(0, law.sigma) if law.sigma else 1.0
        return round(law.delay_s * factor * 1e9)


def freeze_of(script: Script, first_ns: int) -> Callable[[int], int]:
    """When what is due goes out, the first request having come at `first_ns`: in the freeze, at its end."""
    begin_ns = first_ns + round(script.freeze_after_s * 1e9)
    end_ns = begin_ns + round(script.freeze_s * 1e9)
    return lambda due_ns: end_ns if begin_ns <= due_ns < end_ns else due_ns
