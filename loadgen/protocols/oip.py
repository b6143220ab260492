"""Open Inference Protocol v2: a workload's requests, over HTTP or gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from loadgen.payloads.datasets import picks
from loadgen.payloads.tensors import Named, TensorError, TensorInput, UnclearOutputError, class_output
from loadgen.protocols.built import MAX_BUILT_BYTES, AskMethod, Built, Judge, WorkloadError
from loadgen.protocols.http import left_out_notes
from loadgen.protocols.oip_http import OipHttp
from loadgen.protocols.oip_tensors import AnswerError, Inputs, Labels, Part, first_of_each, inputs_of
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, StreamReader
from loadgen.workloads import OipWorkload


class Dialect(Protocol):
    """The protocol as one transport carries it. `refusal` is the note for a server that takes no binary tensors."""

    @property
    def shown(self) -> str: ...
    @property
    def refusal(self) -> str: ...
    @property
    def new_reader(self) -> Callable[[], StreamReader] | None: ...

    async def inputs(self, ask: AskMethod, /) -> tuple[TensorInput, ...]:
        """What the model takes. Raises TargetError."""
        ...

    def request(self, part: Part, is_binary: bool, /) -> bytes:
        """Raises TensorError."""
        ...

    def is_refusal(self, exchange: Exchange, /) -> bool:
        """Whether the server answered, and would not."""
        ...

    def named_outputs(self, exchange: Exchange, /) -> list[Named]:
        """Of an answer without an error. Raises AnswerError."""
        ...

    def judge(self, labels: Labels | None, class_index: int | None, /) -> Judge: ...


async def build_oip(workload: OipWorkload, endpoint: Endpoint, address: Address, ask: AskMethod) -> Built:
    """Asks for the model's metadata, and tries one binary request. Raises WorkloadError and TargetError."""
    dialect = _dialect(workload, endpoint, address)
    specs = await dialect.inputs(ask)
    try:
        inputs = inputs_of(workload, specs)
        is_binary = workload.binary and await _takes_binary(dialect, inputs, ask)
        requests, was_cut = _within_memory(dialect.request(part, is_binary) for part in inputs.parts())
    except TensorError as error:
        raise WorkloadError(str(error), hint="the arrays of the .npz are named like the inputs, rows first") from error
    if not requests:
        raise WorkloadError(
            f"no request of {workload.rows_per_request} rows can be made of the tensors",
            hint=f"a request needs all its rows in the file, and must be below {MAX_BUILT_BYTES >> 20} MiB",
        )
    labels = inputs.labels(len(requests))
    class_index = None
    if labels is not None:
        class_index = await _class_index(dialect, requests[0], workload, ask)
    refusals = (dialect.refusal,) if workload.binary and not is_binary else ()
    return Built(
        requests=requests,
        judge=dialect.judge(labels, class_index),
        shown=dialect.shown,
        new_reader=dialect.new_reader,
        picks=picks(workload.popularity, len(requests), workload.seed),
        notes=(*refusals, *left_out_notes(requests, was_cut)),
    )


def _dialect(workload: OipWorkload, endpoint: Endpoint, address: Address) -> Dialect:
    if workload.transport == "http":
        return OipHttp(workload, endpoint, address)
    # Protocol Buffers cost what HTTP need not pay
    from loadgen.protocols.oip_grpc import OipGrpc

    return OipGrpc(workload, address)


async def _takes_binary(dialect: Dialect, inputs: Inputs, ask: AskMethod) -> bool:
    """Not if it refuses a binary request and answers the same one in plain form."""
    part = next(inputs.parts(), None)
    if part is None or not dialect.is_refusal(await ask(dialect.request(part, True))):
        return True
    try:
        in_plain = dialect.request(part, False)
    except TensorError:
        return True
    plain = await ask(in_plain)
    if plain.error == "send":  # some close the connection behind a refusal, and this went onto it
        plain = await ask(in_plain)
    return plain.error is not None or plain.status is None or dialect.is_refusal(plain)


async def _class_index(dialect: Dialect, request: bytes, workload: OipWorkload, ask: AskMethod) -> int | None:
    """The output that labels are compared with, by the answer to one request; None where it is no answer, which is for
    the preflight to report. Raises WorkloadError where it does not make clear which."""
    answer = await ask(request)
    if answer.error is not None or answer.status is None or dialect.is_refusal(answer):
        return None
    try:
        outputs = first_of_each(dialect.named_outputs(answer))
    except (AnswerError, ValueError, OverflowError, MemoryError):
        return None
    try:
        return class_output(outputs, workload.rows_per_request, workload.output)
    except UnclearOutputError as error:
        raise WorkloadError(f"accuracy cannot be measured: {error}", hint=error.hint) from error


def _within_memory(requests: Iterable[bytes]) -> tuple[list[bytes], bool]:
    """And whether there were more."""
    kept: list[bytes] = []
    total = 0
    for request in requests:
        total += len(request)
        if total > MAX_BUILT_BYTES:
            return kept, True
        kept.append(request)
    return kept, False
