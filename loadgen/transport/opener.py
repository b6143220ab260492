"""Openers of `urllib.request` for the few requests that are no load: to one server, as the settings of its endpoint
say."""

from __future__ import annotations

import urllib.request

from loadgen.records import Tls
from loadgen.transport.tls import build_tls_context


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def build_opener(url: str, proxy: str | None, tls: Tls) -> urllib.request.OpenerDirector:
    """Return an opener for the server of a URL. It follows no redirect, so that a key is sent only to the host that the
    user named, and uses `proxy`, not the proxy of the environment. Raises TlsFileError."""
    scheme = url.partition(":")[0].lower()
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({} if proxy is None else {scheme: proxy}),
        urllib.request.HTTPSHandler(context=build_tls_context(tls) if scheme == "https" else None),
        _NoRedirects(),
    )
