"""Who may use an endpoint that others can reach."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from secrets import token_urlsafe

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

_OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
"""What load balancers and orchestrators ask, which says nothing of the model."""


def token_for(address: str, given: str | None) -> str | None:
    """The token that requests must carry: the one given, a new one beyond loopback, None on loopback."""
    if given is not None:
        return given
    return None if ip_address(address.partition("%")[0]).is_loopback else token_urlsafe(24)


class TokenGuard:
    """Answers 401 to requests without `Authorization: Bearer TOKEN`."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _OPEN_PATHS or self._is_authorized(scope):
            await self._app(scope, receive, send)
            return
        body = msgspec.json.encode({"error": "this endpoint needs its token: send Authorization: Bearer TOKEN"})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"www-authenticate", b"Bearer"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _is_authorized(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self._expected)
