"""TorchServe's inference API: a prediction for each body, or each row of a dataset."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from loadgen.decoding import decode_json
from loadgen.protocols.built import AS_PROMISED, Ask, Built, ResponseCheck, WorkloadError
from loadgen.protocols.http import build_http, request_bytes
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, header_value
from loadgen.workloads import HttpWorkload, TorchServeWorkload

_CACHE_CONTROL = b"no-cache; no-store, must-revalidate, private"
"""Of every response of TorchServe and of DJL Serving, which has the same API. A proxy may leave it out."""

_HEALTH_KEYS = ("status", "health")
"""Of the JSON object that `GET /ping` returns: TorchServe's today, and that of DJL Serving and older TorchServe."""

_NOT_IDENTIFIED = ResponseCheck(
    note="The server did not identify itself as TorchServe: its predictions lack TorchServe's headers, and `GET /ping` "
    "does not report its health, which a proxy may prevent. Its responses count as predictions."
)


def build_torchserve(workload: TorchServeWorkload, endpoint: Endpoint, address: Address) -> Built:
    """Raises WorkloadError."""
    bodies, dataset = workload.bodies, workload.dataset
    if not bodies and dataset is None:
        raise WorkloadError("there is nothing to predict from", hint="give bodies or a dataset")
    base = address.path.partition("?")[0].rstrip("/")
    says_type_itself = dataset is not None and dataset.format == "folder"
    version = "" if workload.version is None else f"/{quote(workload.version, safe='')}"
    request = HttpWorkload(
        method="POST",
        path=f"{base}/predictions/{quote(workload.model, safe='')}{version}",
        bodies=bodies,
        dataset=dataset,
        content_type=None if says_type_itself else workload.content_type,
        popularity=workload.popularity,
        seed=workload.seed,
    )
    ping = request_bytes("GET", f"{base}/ping", address, endpoint.headers, None)

    async def identify(prediction: Exchange, ask: Ask) -> ResponseCheck:
        return await _identified(prediction, ping, ask)

    return msgspec.structs.replace(build_http(request, endpoint, address), identify=identify)


async def _identified(prediction: Exchange, ping: bytes, ask: Ask) -> ResponseCheck:
    """Whether the server is TorchServe. A prediction may have any content, so that only what a server sends beside it
    can tell; refused is only a server that sends the same to `GET /ping`, or a web page to both."""
    if header_value(prediction.headers, b"cache-control") == _CACHE_CONTROL:
        return AS_PROMISED
    pong = await ask(ping)
    if pong.error is not None or pong.status is None or not 200 <= pong.status < 300:
        return _NOT_IDENTIFIED
    if pong.body == prediction.body or (_is_web_page(pong) and _is_web_page(prediction)):
        prediction.detail = "`GET /ping` gets such a response too, so the server is not TorchServe"
        return ResponseCheck("bad-payload")
    return AS_PROMISED if _is_health(pong.body) else _NOT_IDENTIFIED


def _is_web_page(exchange: Exchange) -> bool:
    return (header_value(exchange.headers, b"content-type") or b"").lower().startswith(b"text/html")


def _is_health(body: bytes) -> bool:
    try:
        health = decode_json(body)
    except msgspec.DecodeError:
        return False
    return isinstance(health, dict) and any(key in health for key in _HEALTH_KEYS)
