"""Prepare a mix of several classes of requests: join the prepared requests of the classes, and draw
the class of each arrival ahead of the stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np

from loadgen.payloads.datasets import MAX_DRAWN_INDICES
from loadgen.payloads.sessions import SessionGraph, SessionRequest, build_session_graph
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    CheckOutput,
    CheckResponse,
    CollectedResponse,
    LiveSessions,
    OutputCheck,
    PreparedWorkload,
    RequestClasses,
    ResponseCheck,
    SessionHttpRequest,
    Sessions,
    WorkloadError,
)
from loadgen.transport.exchange import Exchange
from loadgen.workloads import HttpWorkload, MixedWorkload, OpenAiWorkload

_CLASS_STREAM = 5
"""Identifier of the random stream for the classes, so that other settings do not change the order
of the classes."""
_MAX_ORDERED_ARRIVALS = 1_000_000
"""Maximum number of arrivals whose requests are drawn. Further arrivals repeat the sequence."""
_SINGLE_REQUEST = build_session_graph([SessionRequest(text="", tokens=0)])
_NO_CONTENT = CollectedResponse(tokens_in=None, tokens_out=0, char_count=0)


def build_mix(
    workload: MixedWorkload, prepare: Callable[[OpenAiWorkload | HttpWorkload], PreparedWorkload]
) -> PreparedWorkload:
    """Prepare a mix. `prepare` prepares the workload of one class. Raises WorkloadError if the
    requests cannot be built."""
    parts: list[PreparedWorkload] = []
    total_bytes = 0
    for request_class in workload.classes:
        try:
            parts.append(prepare(request_class.workload))
        except WorkloadError as error:
            raise WorkloadError(f"class {request_class.name}: {error}", hint=error.hint) from error
        total_bytes += sum(map(len, parts[-1].requests))
        if total_bytes > MAX_REQUESTS_BYTES:
            raise WorkloadError(
                f"the requests of all classes together exceed {MAX_REQUESTS_BYTES >> 20} MiB",
                hint="Set a lower prompts.unique, or use smaller datasets.",
            )
    if len({(part.is_head, part.new_reader is None) for part in parts}) > 1:
        raise WorkloadError("the classes of a mix must all be streamed or none, and must all be HEAD requests or none")
    sizes = [len(part.requests) for part in parts]
    offsets = [sum(sizes[:index]) for index in range(len(sizes))]
    class_indices = np.repeat(np.arange(len(parts), dtype=np.int16), sizes).tolist()
    requests = list(chain.from_iterable(part.requests for part in parts))
    live_parts = [part for part in parts if part.live_sessions is not None]
    collecting_parts = [part for part in parts if part.check_output is not None]
    reader_part = [*live_parts, *collecting_parts, *parts][0]
    has_limits = any(part.max_output_tokens is not None for part in parts)
    distinct_counts = [part.distinct_prompts for part in parts if part.distinct_prompts is not None]
    return PreparedWorkload(
        requests=requests,
        check=_join_checks([part.check for part in parts], class_indices),
        label=parts[0].label,
        is_head=parts[0].is_head,
        new_reader=reader_part.new_reader,
        request_indices=_draw_request_indices(workload, parts, offsets),
        max_output_tokens=list(chain.from_iterable(map(_list_output_limits, parts))) if has_limits else None,
        sessions=None if live_parts else _join_sessions(parts, offsets),
        live_sessions=_MixedSessions(parts, offsets, class_indices, requests) if live_parts else None,
        distinct_prompts=sum(distinct_counts) if distinct_counts else None,
        notes=_join_notes(workload, parts),
        preflight_requests={
            offset + index: request
            for part, offset in zip(parts, offsets, strict=True)
            for index, request in part.preflight_requests.items()
        },
        check_output=_join_output_checks([part.check_output for part in parts], class_indices),
        classes=RequestClasses(
            names=tuple(request_class.name for request_class in workload.classes),
            indices=class_indices,
            labels=tuple(part.label for part in parts),
            first_requests=tuple(
                offset + _list_request_indices(part)[0] for part, offset in zip(parts, offsets, strict=True)
            ),
        ),
    )


def _list_request_indices(part: PreparedWorkload) -> Sequence[int]:
    return range(len(part.requests)) if part.request_indices is None else part.request_indices


def _draw_request_indices(
    workload: MixedWorkload, parts: Sequence[PreparedWorkload], offsets: Sequence[int]
) -> list[int]:
    """Draw the class of each arrival by weight, and return the index of its request. The requests of
    a class are sent in its own order."""
    weights = np.array([request_class.weight for request_class in workload.classes])
    shares = weights / weights.sum()
    orders = [
        np.asarray(_list_request_indices(part), np.int64) + offset for part, offset in zip(parts, offsets, strict=True)
    ]
    # Long enough that each class sends all its requests, unless there are too many.
    needed_count = max(len(order) / share for order, share in zip(orders, shares, strict=True))
    count = math.ceil(min(max(needed_count, MAX_DRAWN_INDICES), _MAX_ORDERED_ARRIVALS))
    classes = np.random.default_rng([workload.seed, _CLASS_STREAM]).choice(len(parts), count, p=shares)
    request_indices = np.empty(count, np.int64)
    for class_index, order in enumerate(orders):
        is_in_class = classes == class_index
        request_indices[is_in_class] = np.resize(order, int(np.count_nonzero(is_in_class)))
    drawn_indices: list[int] = request_indices.tolist()
    return drawn_indices


def _join_checks(checks: Sequence[CheckResponse], class_indices: Sequence[int]) -> CheckResponse:
    def check(exchange: Exchange) -> ResponseCheck:
        return checks[class_indices[exchange.request_index]](exchange)

    return check


def _join_output_checks(checks: Sequence[CheckOutput | None], class_indices: Sequence[int]) -> CheckOutput | None:
    """Join the checks of the content of all classes. The content of a class without a check is not
    examined."""
    if all(check is None for check in checks):
        return None

    def check_output(exchange: Exchange) -> OutputCheck | None:
        check = checks[class_indices[exchange.request_index]]
        return None if check is None else check(exchange)

    return check_output


def _list_output_limits(part: PreparedWorkload) -> Sequence[int | None]:
    return [None] * len(part.requests) if part.max_output_tokens is None else part.max_output_tokens


def _join_sessions(parts: Sequence[PreparedWorkload], offsets: Sequence[int]) -> Sessions | None:
    """Join the sessions of all classes. A class without sessions has sessions of one request."""
    if all(part.sessions is None for part in parts):
        return None
    next_request_indices: list[int | None] = []
    think_times_ns: list[int] = []
    for part, offset in zip(parts, offsets, strict=True):
        sessions = _get_sessions(part)
        next_request_indices += [None if index is None else index + offset for index in sessions.next_request_indices]
        think_times_ns += sessions.think_times_ns
    return Sessions(next_request_indices, think_times_ns)


def _get_sessions(part: PreparedWorkload) -> Sessions:
    return part.sessions or Sessions([None] * len(part.requests), [0] * len(part.requests))


def _join_notes(workload: MixedWorkload, parts: Sequence[PreparedWorkload]) -> tuple[str, ...]:
    """Return the notes of all classes, with the name of the class unless all classes have the same
    note."""
    notes: dict[str, None] = {}
    for request_class, part in zip(workload.classes, parts, strict=True):
        for note in part.notes:
            is_common = all(note in other_part.notes for other_part in parts)
            notes[note if is_common else f"class {request_class.name}: {note}"] = None
    return tuple(notes)


class _PreparedTurn(SessionHttpRequest, frozen=True, gc=False, kw_only=True):
    """Prepared request `index` of a session whose history is not live."""

    index: int


class _PreparedSessions:
    """Sessions whose requests are all prepared, among sessions with a live history. A single request
    is a session of one request."""

    def __init__(self, sessions: Sessions, requests: Sequence[bytes]) -> None:
        self._sessions, self._requests = sessions, requests
        self._graphs: dict[int, SessionGraph] = {}

    def get_graph(self, first: int) -> SessionGraph:
        if self._sessions.next_request_indices[first] is None:
            return _SINGLE_REQUEST
        graph = self._graphs.get(first)
        if graph is None:
            graph = self._graphs[first] = build_session_graph(list(self._iterate_requests(first)))
        return graph

    def _iterate_requests(self, first: int) -> Iterator[SessionRequest]:
        index: int | None = first
        delay_ns = 0
        parents: tuple[int, ...] = ()
        while index is not None:
            yield SessionRequest(text="", tokens=0, parents=parents, delay_ns=delay_ns)
            parents, delay_ns = (index - first,), self._sessions.think_times_ns[index]
            index = self._sessions.next_request_indices[index]

    def has_live_history(self, first: int) -> bool:
        del first
        return False

    def get_context_limit(self, first: int) -> int | None:
        del first
        return None

    def build_first(self, first: int, session: str) -> SessionHttpRequest:
        del session
        return self._build_turn(first)

    def collect(self, first: int, exchange: Exchange, body: bytes) -> CollectedResponse | None:
        del first, exchange, body
        return _NO_CONTENT

    def build_next(
        self, first: int, index: int, parents: Sequence[tuple[SessionHttpRequest, CollectedResponse]]
    ) -> SessionHttpRequest:
        del parents
        return self._build_turn(first + index)

    def renew(self, first: int, request: SessionHttpRequest) -> bytes:
        del first
        assert isinstance(request, _PreparedTurn)
        return self._requests[request.index]

    def use_requests(self, requests: Sequence[bytes]) -> None:
        self._requests = requests

    def _build_turn(self, index: int) -> _PreparedTurn:
        data = self._requests[index]
        return _PreparedTurn(data, 0, 0, len(data), context_tokens=0, index=index)


class _RequestView(Sequence[bytes]):
    """The requests of one class among those of the mix, in which API keys are renewed in place."""

    def __init__(self, requests: Sequence[bytes], offset: int, size: int) -> None:
        self._requests, self._offset, self._size = requests, offset, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]  # sessions read single requests
        return self._requests[self._offset + index]


class _MixedSessions:
    """Live sessions of a mix, which has at least one class with a live history. Each call is passed
    on to the sessions of the class."""

    def __init__(
        self,
        parts: Sequence[PreparedWorkload],
        offsets: Sequence[int],
        class_indices: Sequence[int],
        requests: Sequence[bytes],
    ) -> None:
        self._offsets, self._class_indices = offsets, class_indices
        self._parts: list[LiveSessions] = [
            part.live_sessions or _PreparedSessions(_get_sessions(part), part.requests) for part in parts
        ]
        self._sizes = [len(part.requests) for part in parts]
        self.use_requests(requests)

    def use_requests(self, requests: Sequence[bytes]) -> None:
        for part, offset, size in zip(self._parts, self._offsets, self._sizes, strict=True):
            part.use_requests(_RequestView(requests, offset, size))

    def _find(self, first: int) -> tuple[LiveSessions, int]:
        """Return the sessions of the class, and the index of the request within the class."""
        class_index = self._class_indices[first]
        return self._parts[class_index], first - self._offsets[class_index]

    def get_graph(self, first: int) -> SessionGraph:
        part, own_first = self._find(first)
        return part.get_graph(own_first)

    def has_live_history(self, first: int) -> bool:
        part, own_first = self._find(first)
        return part.has_live_history(own_first)

    def get_context_limit(self, first: int) -> int | None:
        part, own_first = self._find(first)
        return part.get_context_limit(own_first)

    def build_first(self, first: int, session: str) -> SessionHttpRequest:
        part, own_first = self._find(first)
        return part.build_first(own_first, session)

    def collect(self, first: int, exchange: Exchange, body: bytes) -> CollectedResponse | None:
        part, own_first = self._find(first)
        return part.collect(own_first, exchange, body)

    def build_next(
        self, first: int, index: int, parents: Sequence[tuple[SessionHttpRequest, CollectedResponse]]
    ) -> SessionHttpRequest:
        part, own_first = self._find(first)
        return part.build_next(own_first, index, parents)

    def renew(self, first: int, request: SessionHttpRequest) -> bytes:
        part, own_first = self._find(first)
        return part.renew(own_first, request)
