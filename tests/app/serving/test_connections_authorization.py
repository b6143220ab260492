from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send

from app.serving import _announce
from app.serving.connections import encode_message, guard, resolve_token
from app.serving.settings import EndpointReady
from tests.fakes.asgi import send_request

TOKEN = "correct horse battery staple"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1"])
def test_loopback_address_needs_no_token(address: str) -> None:
    assert resolve_token(address, None) is None
    assert resolve_token(address, TOKEN) == TOKEN


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.4", "fe80::1%eth0"])
def test_other_addresses_always_have_a_token(address: str) -> None:
    generated = resolve_token(address, None)
    assert generated is not None
    assert len(generated) >= 32
    assert generated != resolve_token(address, None)
    assert resolve_token(address, TOKEN) == TOKEN


def encode_error(_: int, message: str) -> bytes:
    return encode_message(message)


async def send_secret_page(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"secret"})


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v2/models/m", {}, 401),
        ("/metrics", {}, 401),
        ("/v2/models/m", {"Authorization": "Bearer wrong"}, 401),
        ("/v2/models/m", {"Authorization": TOKEN}, 401),
        ("/v2/models/m", {"Authorization": f"Bearer {TOKEN}"}, 200),
        ("/v2/health/ready", {}, 200),
    ],
)
async def test_guarded_endpoint_requires_the_token_except_for_health(
    anyio_backend: str, path: str, headers: dict[str, str], status: int
) -> None:
    reply = await send_request(guard(send_secret_page, TOKEN, encode_error), "GET", path, headers=headers)
    assert reply.status == status


JSON = {"Content-Type": "application/json"}
LOCAL = {"Host": "127.0.0.1:8000"}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", LOCAL, 200),
        ("GET", {"Host": "localhost"}, 200),
        ("GET", {"Host": "[::1]:8000"}, 200),
        ("GET", {"Host": "evil.example:8000"}, 403),
        ("GET", {"Host": "127.0.0.1.evil.example"}, 403),
        ("GET", {"Host": "[::1"}, 403),
        ("GET", {"Host": ""}, 403),
        ("GET", LOCAL | {"Origin": "http://localhost:3000"}, 200),
        ("GET", LOCAL | {"Origin": "https://evil.example"}, 403),
        ("GET", LOCAL | {"Origin": "null"}, 403),
        ("POST", LOCAL | JSON, 200),
        ("POST", LOCAL | {"Content-Type": "Application/JSON; charset=utf-8"}, 200),
        ("POST", LOCAL | {"Content-Type": "application/octet-stream"}, 200),
        ("POST", LOCAL | JSON | {"Origin": "https://evil.example"}, 403),
        ("POST", LOCAL | {"Content-Type": "text/plain"}, 415),
        ("POST", LOCAL | {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", LOCAL | {"Content-Type": "text/plain; application/json"}, 415),
        ("POST", LOCAL, 415),
        ("POST", {"Host": "evil.example"} | JSON, 403),
    ],
)
async def test_endpoint_without_a_token_rejects_requests_of_web_pages(
    anyio_backend: str, method: str, headers: dict[str, str], status: int
) -> None:
    reply = await send_request(guard(send_secret_page, None, encode_error), method, "/v2/models/m", headers=headers)
    assert reply.status == status


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_endpoint_with_a_token_accepts_any_host_name(anyio_backend: str) -> None:
    headers = {"Host": "models.example", "Authorization": f"Bearer {TOKEN}"}
    assert (
        await send_request(guard(send_secret_page, TOKEN, encode_error), "POST", "/v2/models/m", headers=headers)
    ).status == 200


def build_ready(token: str | None) -> EndpointReady:
    return EndpointReady(
        url="http://0.0.0.0:8000", model="m", pid=1, provider_requested="cpu", provider_used="cpu",
        provider_reason=None, fallback_nodes=(), inputs=(), outputs=(), threads=1, max_batch=1, queue_delay_s=0.0,
        queue_limit=1, runtime_version="1", token=token,
    )  # fmt: skip


def test_generated_token_is_printed_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    _announce(build_ready(TOKEN), None)
    output = capsys.readouterr()
    assert output.out == "http://0.0.0.0:8000\n"
    assert output.err.startswith("warning: http://0.0.0.0:8000 is reachable from other machines")
    assert f"Authorization: Bearer {TOKEN}" in output.err


@pytest.mark.parametrize(("token", "configured_token"), [(None, None), (TOKEN, TOKEN)])
def test_configured_token_is_not_printed(
    capsys: pytest.CaptureFixture[str], token: str | None, configured_token: str | None
) -> None:
    _announce(build_ready(token), configured_token)
    assert TOKEN not in capsys.readouterr().err
