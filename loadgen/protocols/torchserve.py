"""TorchServe's inference API: a prediction for each body, or each row of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from loadgen.payloads.datasets import DatasetError, Reading, as_body
from loadgen.payloads.popularity import picks
from loadgen.protocols.built import MAX_BUILT_BYTES, Built, WorkloadError
from loadgen.protocols.expectation import judge_status
from loadgen.protocols.http import Unsent, left_out_notes, row_type, within_memory
from loadgen.records import Endpoint, TorchServeWorkload
from loadgen.transport.address import Address


def build_torchserve(workload: TorchServeWorkload, endpoint: Endpoint, address: Address) -> Built:
    """Raises WorkloadError."""
    path = _path(workload, address)
    reading = None if workload.dataset is None else Reading(workload.dataset, MAX_BUILT_BYTES)
    unsent = _bodies(workload, path) if reading is None else _rows(workload, path, reading)
    try:
        requests, was_cut = within_memory(unsent, "POST", endpoint, address)
    except DatasetError as error:
        raise WorkloadError(str(error)) from error
    if not requests:
        raise WorkloadError("there is nothing to predict from", hint="give bodies or a dataset")
    return Built(
        requests=requests,
        judge=judge_status,
        shown=f"POST {address.shown(path)}",
        picks=picks(workload.popularity, len(requests), workload.seed),
        notes=left_out_notes(requests, was_cut or (reading is not None and reading.was_cut)),
    )


def _path(workload: TorchServeWorkload, address: Address) -> str:
    version = "" if workload.version is None else f"/{quote(workload.version, safe='')}"
    return f"{address.path.partition('?')[0].rstrip('/')}/predictions/{quote(workload.model, safe='')}{version}"


def _bodies(workload: TorchServeWorkload, path: str) -> Iterator[Unsent]:
    yield from (Unsent(path, body, workload.content_type) for body in workload.bodies)


def _rows(workload: TorchServeWorkload, path: str, reading: Reading) -> Iterator[Unsent]:
    is_csv = reading.format == "csv"
    for one in reading:
        yield Unsent(path, as_body(one, is_csv=is_csv), row_type(one) if one.name else workload.content_type)
