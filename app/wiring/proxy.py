"""Find the proxy for a target in the environment variables, by the conventions of command-line
clients."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from app.errors import UsageError
from app.profiles.permission import is_loopback
from loadgen.transport.address import UrlError
from loadgen.transport.proxy import parse_proxy_url

_PROXY_SCHEMES = {"http": "http", "https": "https", "grpc": "http", "grpcs": "https"}
"""Scheme of the proxy environment variable for each URL scheme: `https` for encrypted connections,
otherwise `http`."""


def find_proxy(urls: tuple[str, ...]) -> str | None:
    """Return the URL of the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY; `None` for hosts in
    NO_PROXY and for this machine.

    The proxy URL may contain a password. Raises UsageError for an unsupported proxy, or if only
    some of the replicas use the proxy.
    """
    proxies = {_find_proxy(url) for url in urls}
    if len(proxies) > 1:
        raise UsageError(
            "only some of target.urls use the proxy of the environment",
            hint="Add all or none of the hosts to NO_PROXY.",
        )
    return proxies.pop() if proxies else None


def format_proxy(proxy: str) -> str:
    """Return host and port of the proxy, without credentials."""
    return parse_proxy_url(proxy).host_port


def _find_proxy(url: str) -> str | None:
    url_parts = urlsplit(url)
    host, proxies = url_parts.hostname or "", getproxies_environment()
    scheme = _PROXY_SCHEMES[url_parts.scheme]
    setting = proxies.get(scheme) or proxies.get("all")
    host_and_port = host if url_parts.port is None else f"{host}:{url_parts.port}"
    if not setting or is_loopback(host) or proxy_bypass_environment(host_and_port, proxies):
        return None
    proxy = setting if "://" in setting else f"http://{setting}"
    try:
        parse_proxy_url(proxy)
    except UrlError as error:
        variable = f"{scheme.upper()}_PROXY" if proxies.get(scheme) else "ALL_PROXY"
        raise UsageError(
            f"{variable}: {error}",
            hint="Only plain HTTP proxies are supported. Add the host to NO_PROXY to bypass the proxy.",
        ) from None
    return proxy
