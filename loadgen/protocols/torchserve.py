"""TorchServe's inference API: a prediction for each body, or each row of a dataset."""

from __future__ import annotations

from urllib.parse import quote

from loadgen.protocols.built import Built, WorkloadError
from loadgen.protocols.http import build_http
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.workloads import HttpWorkload, TorchServeWorkload


def build_torchserve(workload: TorchServeWorkload, endpoint: Endpoint, address: Address) -> Built:
    """Raises WorkloadError."""
    bodies, dataset = workload.bodies, workload.dataset
    if not bodies and dataset is None:
        raise WorkloadError("there is nothing to predict from", hint="give bodies or a dataset")
    says_type_itself = dataset is not None and dataset.format == "folder"
    version = "" if workload.version is None else f"/{quote(workload.version, safe='')}"
    request = HttpWorkload(
        method="POST",
        path=f"{address.path.partition('?')[0].rstrip('/')}/predictions/{quote(workload.model, safe='')}{version}",
        bodies=bodies,
        dataset=dataset,
        content_type=None if says_type_itself else workload.content_type,
        popularity=workload.popularity,
        seed=workload.seed,
    )
    return build_http(request, endpoint, address)
