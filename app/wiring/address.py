"""Names to addresses."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from app.errors import UnavailableError


def resolve(url: str) -> list[str]:
    host = urlsplit(url).hostname or ""
    try:
        return [str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise UnavailableError(f"the host {host} of target.url is not known: {error.strerror}",
                               hint="Check the host name in target.url.") from None  # fmt: skip
