"""Prepares workloads of the Open Inference Protocol v2, over HTTP or gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from loadgen.payloads.datasets import draw_picks
from loadgen.payloads.tensors import AmbiguousOutputError, NamedTensor, TensorError, TensorInput, find_class_output
from loadgen.protocols.http import omitted_request_notes
from loadgen.protocols.oip_http import OipHttp
from loadgen.protocols.oip_tensors import Inputs, Labels, RequestInputs, ResponseError, deduplicate_outputs, load_inputs
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    CheckResponse,
    PreparedWorkload,
    SendGrpcRequest,
    WorkloadError,
)
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, StreamReader
from loadgen.workloads import OipWorkload


class OipTransport(Protocol):
    """The protocol over one transport. `refusal_note` is the note for a server that rejects binary tensors."""

    @property
    def label(self) -> str: ...
    @property
    def refusal_note(self) -> str: ...
    @property
    def new_reader(self) -> Callable[[], StreamReader] | None: ...

    async def fetch_inputs(self, ask: SendGrpcRequest, /) -> tuple[TensorInput, ...]:
        """Return the inputs of the model. Raises TargetError."""
        ...

    def encode_request(self, part: RequestInputs, is_binary: bool, /) -> bytes:
        """Serialize one request. Raises TensorError."""
        ...

    def is_refusal(self, exchange: Exchange, /) -> bool:
        """Return True if the server responded with a refusal."""
        ...

    def read_named_outputs(self, exchange: Exchange, /) -> list[NamedTensor]:
        """Return the outputs of a response without an error. Raises AnswerError."""
        ...

    def build_check(self, labels: Labels | None, class_index: int | None, /) -> CheckResponse: ...


async def build_oip(
    workload: OipWorkload, endpoint: Endpoint, address: Address, ask: SendGrpcRequest
) -> PreparedWorkload:
    """Prepare a workload: request the model's metadata and try one binary request. Raises WorkloadError and
    TargetError."""
    dialect = _dialect(workload, endpoint, address)
    specs = await dialect.fetch_inputs(ask)
    try:
        inputs = load_inputs(workload, specs)
        is_binary = workload.binary and await _accepts_binary(dialect, inputs, ask)
        requests, was_cut = _within_memory(dialect.encode_request(part, is_binary) for part in inputs.requests())
    except TensorError as error:
        raise WorkloadError(
            str(error), hint="Name the arrays of the .npz file like the inputs, with rows as the first axis."
        ) from error
    if not requests:
        raise WorkloadError(
            f"the tensors do not allow a request of {workload.rows_per_request} rows",
            hint="The file must contain all rows of a request, and a request must be below "
            f"{MAX_REQUESTS_BYTES >> 20} MiB.",
        )
    labels = inputs.labels(len(requests))
    class_index = None
    if labels is not None:
        class_index = await _class_index(dialect, requests[0], workload, ask)
    refusals = (dialect.refusal_note,) if workload.binary and not is_binary else ()
    return PreparedWorkload(
        requests=requests,
        check=dialect.build_check(labels, class_index),
        label=dialect.label,
        new_reader=dialect.new_reader,
        picks=draw_picks(workload.popularity, len(requests), workload.seed),
        notes=(*refusals, *omitted_request_notes(requests, was_cut)),
    )


def _dialect(workload: OipWorkload, endpoint: Endpoint, address: Address) -> OipTransport:
    if workload.transport == "http":
        return OipHttp(workload, endpoint, address)
    # imported here because Protocol Buffers are slow to import and HTTP does not need them
    from loadgen.protocols.oip_grpc import OipGrpc

    return OipGrpc(workload, address)


async def _accepts_binary(dialect: OipTransport, inputs: Inputs, ask: SendGrpcRequest) -> bool:
    """Return False if the server rejects a binary request but responds to the same request in plain form."""
    part = next(inputs.requests(), None)
    if part is None or not dialect.is_refusal(await ask(dialect.encode_request(part, True))):
        return True
    try:
        plain_request = dialect.encode_request(part, False)
    except TensorError:
        return True
    response = await ask(plain_request)
    if response.error == "send":  # some servers close the connection after a refusal, and this request was sent on it
        response = await ask(plain_request)
    return response.error is not None or response.status is None or dialect.is_refusal(response)


async def _class_index(
    dialect: OipTransport, request: bytes, workload: OipWorkload, ask: SendGrpcRequest
) -> int | None:
    """Return the index of the output that labels are compared with, according to the response to one request.

    Return None if that request failed, which the preflight reports. Raises WorkloadError if the response does not make
    clear which output it is.
    """
    response = await ask(request)
    if response.error is not None or response.status is None or dialect.is_refusal(response):
        return None
    try:
        outputs = deduplicate_outputs(dialect.read_named_outputs(response))
    except (ResponseError, ValueError, OverflowError, MemoryError):
        return None
    try:
        return find_class_output(outputs, workload.rows_per_request, workload.output)
    except AmbiguousOutputError as error:
        raise WorkloadError(f"accuracy cannot be measured: {error}", hint=error.hint) from error


def _within_memory(requests: Iterable[bytes]) -> tuple[list[bytes], bool]:
    """Return the requests that fit into the memory limit, and whether there were more."""
    fitting: list[bytes] = []
    total = 0
    for request in requests:
        total += len(request)
        if total > MAX_REQUESTS_BYTES:
            return fitting, True
        fitting.append(request)
    return fitting, False
