"""What a scripted server does: fixed replies, streams that are exact to the byte and the time, and faces of protocols.

As JSON (`python -m loadgen.reference.scripted --script FILE`) bytes are base64 and a record of a
union has a `type`.

When an answer is due.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from loadgen.payloads.tensors import TensorInput

Manner = Literal[
    "whole", "chunked", "until-close", "close-after", "close-unsaid", "interim", "slow-head", "slow-body", "cut-body",
    "drop", "reset", "hang", "garbage", "http-1.0",
]  # fmt: skip
"""How a reply goes out. `close-after`: whole, with Connection: close; `close-unsaid`: whole, and closed without a word;
`interim`: a 100 Continue before it; `slow-head`: byte by byte, a millisecond each; `slow-body`: so after the head;
`cut-body`: the connection closes in the middle of the body; `drop`: it closes before any byte; `reset`: it is reset
before any byte; `hang`: never; `garbage`: what goes out is not HTTP; `http-1.0`: as a server of that version answers,
its end is the connection's."""


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    manner: Manner = "whole"


class Stream(msgspec.Struct, frozen=True, tag="stream"):
    """`pieces` are written to the socket as they are, each so many seconds after the request came; small ones that are
    due together, as one.

    Then the connection stays open, is closed or is reset, or the last `repeated` pieces come again, for ever, each time
    `period_s` later. `streams` has what composes them.
    """

    pieces: tuple[tuple[float, bytes], ...]
    end: Literal["open", "close", "reset", "repeat"] = "open"
    repeated: int = 1
    period_s: float = 0.02


class Law(msgspec.Struct, frozen=True):
    """How long requests take. `servers` work at a time, the rest wait their turn; None: any number at a time.

    An answer, or its first token, takes `delay_s`: always, or as the median of a lognormal distribution with the
    standard deviation `sigma` of its logarithm. Each further token takes 1/`tokens_per_s`, each row `row_s` more.
    """

    delay_s: float = 0.0
    sigma: float = 0.0
    servers: int | None = None
    tokens_per_s: float | None = None
    row_s: float = 0.0
    seed: int = 0


class HttpFace(msgspec.Struct, frozen=True, tag="http"):
    """Any request to `path` (None: any path) gets `answer`, as JSON."""

    law: Law = Law()
    path: str | None = None
    answer: Any = msgspec.field(default_factory=dict)


class OpenAiFace(msgspec.Struct, frozen=True, tag="openai"):
    """/v1 of an OpenAI-compatible server: chat and text completions, responses, embeddings, rerank, models.

    An answer has as many tokens as the request allows, else `output_tokens`, all of them "tok ".
    """

    law: Law = Law()
    model: str = "scripted"
    output_tokens: int = 16
    embedding_size: int = 8


class TensorModel(msgspec.Struct, frozen=True):
    """A model with typed inputs and outputs. Its outputs are zeros, a row for a row."""

    law: Law = Law()
    model: str = "scripted"
    inputs: tuple[TensorInput, ...] = (TensorInput("input", "FP32", (-1, 4)),)
    outputs: tuple[TensorInput, ...] = (TensorInput("output", "FP32", (-1, 2)),)


class OipFace(TensorModel, frozen=True, tag="oip"):
    """A model of the Open Inference Protocol over HTTP, JSON and binary."""


class TfServingFace(TensorModel, frozen=True, tag="tf-serving"):
    """A model of TensorFlow Serving's REST API: predict, and its metadata. Datatypes are those of OIP."""

    signature: str = "serving_default"


class TorchServeFace(msgspec.Struct, frozen=True, tag="torchserve"):
    """A model of TorchServe's inference API, which answers every prediction with `answer`, as JSON."""

    law: Law = Law()
    model: str = "scripted"
    answer: Any = msgspec.field(default_factory=dict)


Face = HttpFace | OpenAiFace | OipFace | TfServingFace | TorchServeFace


class Script(msgspec.Struct, frozen=True):
    """Each reply comes `delay_s` after its request, any number at a time. The first of `faces` that knows a request
    answers it, when its own law says.

    The freeze begins `freeze_after_s` after the first request and lasts `freeze_s`: replies due during it come at its
    end. At r requests a second, r × `freeze_s` of them so wait a uniform 0 to `freeze_s` longer.
    """

    reply: Reply | Stream = Reply()
    paths: dict[str, Reply | Stream] = {}
    """Other replies, by path."""
    delay_s: float = 0.0
    freeze_after_s: float = 0.0
    freeze_s: float = 0.0
    faces: tuple[Face, ...] = ()
    ready_after_s: float = 0.0
    """Counted from the server's start; until then every answer is a 503, at once."""


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
