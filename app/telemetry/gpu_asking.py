"""One question to a driver at a time, and what is remembered of the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

ASK_AGAIN_NS = 60_000_000_000

Readings = dict[str, float | None]

NOT_OFFERED = (
    pynvml.NVMLError_NotSupported,
    pynvml.NVMLError_NoPermission,
    pynvml.NVMLError_FunctionNotFound,
    pynvml.NVMLError_ArgumentVersionMismatch,
    AttributeError,  # the binding is older than the call
)
GONE = (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_ResetRequired)


@dataclass(frozen=True)
class Question:
    """One call and the metrics it gives, in order. `ways`: the newest call first; the first one offered is kept."""

    metrics: tuple[str, ...]
    ways: tuple[Callable[[Any], tuple[float, ...]], ...]


class NvmlQuery:
    """Asks for one GPU. Once it is lost it is not asked again, and all its readings are None.

    Threads may share one, each with questions of its own.
    """

    def __init__(self) -> None:
        self.is_lost = False
        self._ask_again_ns: dict[Question, int] = {}
        self._way: dict[Question, int] = {}

    def put(self, question: Question, handle: Any, at_ns: int) -> Readings:
        """None for what the card does not offer, which is asked for again once a minute."""
        if not self.is_lost and at_ns >= self._ask_again_ns.get(question, at_ns):
            for way in range(self._way.get(question, 0), len(question.ways)):
                try:
                    answer = question.ways[way](handle)
                except NOT_OFFERED:
                    continue
                except GONE:
                    self.is_lost = True
                except pynvml.NVMLError:
                    pass  # a hiccup of the driver costs this reading alone
                else:
                    self._way[question] = way
                    return dict(zip(question.metrics, answer, strict=True))
                break
            else:
                self._way.pop(question, None)
                self._ask_again_ns[question] = at_ns + ASK_AGAIN_NS
        return dict.fromkeys(question.metrics)
