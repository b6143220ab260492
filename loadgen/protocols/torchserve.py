"""Prepare workloads for TorchServe's inference API: one prediction request per body or dataset
row."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from loadgen.decoding import decode_json
from loadgen.protocols.http import build_http, encode_request
from loadgen.protocols.prepared import RESPONSE_OK, PreparedWorkload, ResponseCheck, SendRequest, WorkloadError
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, find_header
from loadgen.workloads import HttpWorkload, TorchServeWorkload

_CACHE_CONTROL = b"no-cache; no-store, must-revalidate, private"
"""Cache-Control header of every response from TorchServe, and from DJL Serving, which has the same
API. A proxy may remove the header."""

_HEALTH_KEYS = ("status", "health")
"""Keys that identify the JSON response to `GET /ping`: "status" for current versions of TorchServe,
"health" for older versions and DJL Serving."""

_NOT_IDENTIFIED = ResponseCheck(
    note="The server did not identify itself as TorchServe: predictions lack TorchServe's headers, and `GET /ping` "
    "does not report the server's health, possibly because of a proxy. Responses are counted as predictions."
)


def build_torchserve(workload: TorchServeWorkload, endpoint: Endpoint, address: Address) -> PreparedWorkload:
    """Prepare a TorchServe workload. Raises WorkloadError if the requests cannot be built."""
    bodies, dataset = workload.bodies, workload.dataset
    if not bodies and dataset is None:
        raise WorkloadError("the workload has no input", hint="Set bodies or a dataset.")
    base_path = address.path.partition("?")[0].rstrip("/")
    is_folder = dataset is not None and dataset.format == "folder"
    version_path = "" if workload.version is None else f"/{quote(workload.version, safe='')}"
    http_workload = HttpWorkload(
        method="POST",
        path=f"{base_path}/predictions/{quote(workload.model, safe='')}{version_path}",
        bodies=bodies,
        dataset=dataset,
        content_type=None if is_folder else workload.content_type,
        popularity=workload.popularity,
        seed=workload.seed,
    )
    ping_request = encode_request("GET", f"{base_path}/ping", address, endpoint.headers, None)

    async def identify_server(prediction: Exchange, send: SendRequest) -> ResponseCheck:
        return await _identify_server(prediction, ping_request, send)

    return msgspec.structs.replace(build_http(http_workload, endpoint, address), identify_server=identify_server)


async def _identify_server(prediction: Exchange, ping_request: bytes, send: SendRequest) -> ResponseCheck:
    """Check whether the server is TorchServe, from the headers of a prediction and the response to
    `GET /ping_request`.

    The body of a prediction does not identify the server, because it can have any content. The
    server is rejected only if both responses have the same body, or if both are web pages.
    """
    if find_header(prediction.headers, b"cache-control") == _CACHE_CONTROL:
        return RESPONSE_OK
    ping_exchange = await send(ping_request)
    if ping_exchange.error is not None or ping_exchange.status is None or not 200 <= ping_exchange.status < 300:
        return _NOT_IDENTIFIED
    if ping_exchange.body == prediction.body or (_is_web_page(ping_exchange) and _is_web_page(prediction)):
        prediction.detail = "the response to `GET /ping` is the same, so the server is not TorchServe"
        return ResponseCheck("bad-payload")
    return RESPONSE_OK if _is_health_report(ping_exchange.body) else _NOT_IDENTIFIED


def _is_web_page(exchange: Exchange) -> bool:
    return (find_header(exchange.headers, b"content-type") or b"").lower().startswith(b"text/html")


def _is_health_report(body: bytes) -> bool:
    try:
        health = decode_json(body)
    except msgspec.DecodeError:
        return False
    return isinstance(health, dict) and any(key in health for key in _HEALTH_KEYS)
