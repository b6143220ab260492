"""Openers of `urllib.request` for the few requests that are no load, such as those for a status or a file."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from typing import IO, Any
from urllib.error import URLError

from loadgen.records import Tls
from loadgen.transport.tls import build_tls_context


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, *, is_enabled: bool) -> None:
        self._is_enabled = is_enabled

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not self._is_enabled:
            return None
        scheme = newurl.partition(":")[0]
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            fp.close()
            raise URLError(f"the server redirects to an address with {scheme or 'no scheme'}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Proxies(urllib.request.ProxyHandler):
    """Handler that finds the proxy of each address, redirects included."""

    def __init__(self, find_proxy: Callable[[str], str | None]) -> None:
        super().__init__({})
        self._find_proxy = find_proxy

    def http_open(self, request: urllib.request.Request) -> Any:
        proxy = self._find_proxy(request.full_url)
        return None if proxy is None else self.proxy_open(request, proxy, request.type)

    https_open = http_open


def build_opener(
    url: str, find_proxy: Callable[[str], str | None], tls: Tls, *, follows_redirects: bool = False
) -> urllib.request.OpenerDirector:
    """Return an opener for the server of a URL, and for addresses to which it redirects. Without redirects, a key is
    sent only to the host that the user named. `find_proxy` returns the proxy for an address, or `None`; the proxy
    of the environment is not used. Raises TlsFileError."""
    needs_tls = follows_redirects or url.casefold().startswith("https:")
    return urllib.request.build_opener(
        _Proxies(find_proxy),
        urllib.request.HTTPSHandler(context=build_tls_context(tls) if needs_tls else None),
        _Redirects(is_enabled=follows_redirects),
    )
