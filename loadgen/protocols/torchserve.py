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
    base = address.path.partition("?")[0].rstrip("/")
    is_folder = dataset is not None and dataset.format == "folder"
    version = "" if workload.version is None else f"/{quote(workload.version, safe='')}"
    request = HttpWorkload(
        method="POST",
        path=f"{base}/predictions/{quote(workload.model, safe='')}{version}",
        bodies=bodies,
        dataset=dataset,
        content_type=None if is_folder else workload.content_type,
        popularity=workload.popularity,
        seed=workload.seed,
    )
    ping = encode_request("GET", f"{base}/ping", address, endpoint.headers, None)

    async def identify(prediction: Exchange, send: SendRequest) -> ResponseCheck:
        return await _identify(prediction, ping, send)

    return msgspec.structs.replace(build_http(request, endpoint, address), identify=identify)


async def _identify(prediction: Exchange, ping: bytes, send: SendRequest) -> ResponseCheck:
    """Check whether the server is TorchServe, from the headers of a prediction and the response to
    `GET /ping`.

    The body of a prediction does not identify the server, because it can have any content. The
    server is rejected only if both responses have the same body, or if both are web pages.
    """
    if find_header(prediction.headers, b"cache-control") == _CACHE_CONTROL:
        return RESPONSE_OK
    pong = await send(ping)
    if pong.error is not None or pong.status is None or not 200 <= pong.status < 300:
        return _NOT_IDENTIFIED
    if pong.body == prediction.body or (_is_web_page(pong) and _is_web_page(prediction)):
        prediction.detail = "the response to `GET /ping` is the same, so the server is not TorchServe"
        return ResponseCheck("bad-payload")
    return RESPONSE_OK if _is_health(pong.body) else _NOT_IDENTIFIED


def _is_web_page(exchange: Exchange) -> bool:
    return (find_header(exchange.headers, b"content-type") or b"").lower().startswith(b"text/html")


def _is_health(body: bytes) -> bool:
    try:
        health = decode_json(body)
    except msgspec.DecodeError:
        return False
    return isinstance(health, dict) and any(key in health for key in _HEALTH_KEYS)
