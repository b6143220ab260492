"""Prepare workloads of the Open Inference Protocol v2 over HTTP or gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from loadgen.payloads.datasets import draw_indices
from loadgen.payloads.tensors import AmbiguousOutputError, NamedTensor, TensorError, TensorInput, find_class_output
from loadgen.protocols.http import build_omitted_request_notes
from loadgen.protocols.oip_http import OipHttp
from loadgen.protocols.oip_tensors import (
    Labels,
    ModelInputs,
    RequestInputs,
    ResponseError,
    deduplicate_outputs,
    load_inputs,
)
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    CheckResponse,
    PreparedWorkload,
    SendGrpcRequest,
    WorkloadError,
    limit_total_size,
)
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, StreamReader
from loadgen.workloads import OipWorkload


class OipTransport(Protocol):
    """Implementation of the Open Inference Protocol over HTTP or gRPC.

    `rejection_note` is the note in the result if the server rejects binary tensors.
    """

    @property
    def label(self) -> str: ...
    @property
    def rejection_note(self) -> str: ...
    @property
    def new_reader(self) -> Callable[[], StreamReader] | None: ...

    async def fetch_inputs(self, send: SendGrpcRequest, /) -> tuple[TensorInput, ...]:
        """Request the model's metadata and return the model's inputs. Raises TargetError if the
        metadata cannot be read."""
        ...

    def encode_request(self, inputs: RequestInputs, is_binary: bool, /) -> bytes:
        """Serialize one inference request. Raises TensorError for a tensor that cannot be
        encoded."""
        ...

    def is_rejection(self, exchange: Exchange, /) -> bool:
        """Return True if the server rejected the request of the exchange."""
        ...

    def read_named_outputs(self, exchange: Exchange, /) -> list[NamedTensor]:
        """Return the names and tensors of the outputs in a successful response. Raises
        ResponseError if the response violates the protocol."""
        ...

    def build_check(self, labels: Labels | None, class_index: int | None, /) -> CheckResponse: ...


async def build_oip(
    workload: OipWorkload, endpoint: Endpoint, address: Address, send: SendGrpcRequest
) -> PreparedWorkload:
    """Prepare an Open Inference Protocol workload: request the model's metadata, and test whether
    the server accepts binary tensors. Raises TargetError if the metadata cannot be read, and
    WorkloadError if the requests cannot be built."""
    transport = _create_transport(workload, endpoint, address)
    specs = await transport.fetch_inputs(send)
    try:
        inputs = load_inputs(workload, specs)
        is_binary = workload.binary and await _accepts_binary(transport, inputs, send)
        requests, is_truncated = limit_total_size(
            transport.encode_request(request_inputs, is_binary) for request_inputs in inputs.iterate_requests()
        )
    except TensorError as error:
        raise WorkloadError(
            str(error), hint="Use the input names as array names in the .npz file, with rows as the first axis."
        ) from error
    if not requests:
        raise WorkloadError(
            f"no request of {workload.rows_per_request} rows can be built from the tensors",
            hint="Check that the file contains the rows of a whole request, and that a request is smaller than "
            f"{MAX_REQUESTS_BYTES >> 20} MiB.",
        )
    labels = inputs.get_labels(len(requests))
    class_index = None
    if labels is not None:
        class_index = await _find_class_index(transport, requests[0], workload, send)
    rejection_notes = (transport.rejection_note,) if workload.binary and not is_binary else ()
    return PreparedWorkload(
        requests=requests,
        check=transport.build_check(labels, class_index),
        label=transport.label,
        new_reader=transport.new_reader,
        request_indices=draw_indices(workload.popularity, len(requests), workload.seed),
        notes=(*rejection_notes, *build_omitted_request_notes(requests, is_truncated)),
    )


def _create_transport(workload: OipWorkload, endpoint: Endpoint, address: Address) -> OipTransport:
    if workload.transport == "http":
        return OipHttp(workload, endpoint, address)
    # Import gRPC only when it is used: Protocol Buffers are slow to import.
    from loadgen.protocols.oip_grpc import OipGrpc

    return OipGrpc(workload, address)


async def _accepts_binary(transport: OipTransport, inputs: ModelInputs, send: SendGrpcRequest) -> bool:
    """Return False if the server rejects a request with binary tensors, but accepts the same
    request without binary tensors. Otherwise return True."""
    request_inputs = next(inputs.iterate_requests(), None)
    if request_inputs is None or not transport.is_rejection(await send(transport.encode_request(request_inputs, True))):
        return True
    try:
        plain_request = transport.encode_request(request_inputs, False)
    except TensorError:
        return True
    response = await send(plain_request)
    if response.error == "send":  # some servers close the connection after a rejection, so send again
        response = await send(plain_request)
    return response.error is not None or response.status is None or transport.is_rejection(response)


async def _find_class_index(
    transport: OipTransport, request: bytes, workload: OipWorkload, send: SendGrpcRequest
) -> int | None:
    """Send one request, and return the index of the model's output that is compared with the
    labels.

    Return None if the request failed; the preflight will report the failure. Raises WorkloadError
    if none or several of the outputs can contain the classes.
    """
    response = await send(request)
    if response.error is not None or response.status is None or transport.is_rejection(response):
        return None
    try:
        outputs = deduplicate_outputs(transport.read_named_outputs(response))
    except (ResponseError, ValueError, OverflowError, MemoryError):
        return None
    try:
        return find_class_output(outputs, workload.rows_per_request, workload.output)
    except AmbiguousOutputError as error:
        raise WorkloadError(f"accuracy cannot be measured: {error}", hint=error.hint) from error
