from __future__ import annotations

import pytest

from app.errors import UsageError
from app.wiring.proxy import find_proxy, format_proxy

REMOTE_URL, REMOTE_TLS_URL = "http://model.example:8000/score", "https://model.example/v1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_proxy_is_none_without_environment_variables() -> None:
    assert find_proxy((REMOTE_URL,)) is None


def test_http_and_https_urls_have_separate_proxies(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", "http://user:canary@proxy.example:3128")
    environment.setenv("HTTPS_PROXY", "proxy.example:3129")
    assert find_proxy((REMOTE_URL,)) == "http://user:canary@proxy.example:3128"
    assert find_proxy((REMOTE_TLS_URL,)) == find_proxy(("grpcs://model.example:8001",)) == "http://proxy.example:3129"


def test_all_proxy_applies_to_http_and_https(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "http://proxy.example:1")
    assert find_proxy((REMOTE_URL,)) == find_proxy((REMOTE_TLS_URL,)) == "http://proxy.example:1"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/",
        "http://127.0.0.2/",
        "http://localhost/",
        "http://localhost.:8000/",
        "http://model.localhost/",
        "http://[::1]:8000/",
        "http://[::ffff:127.0.0.1]:8000/",
    ],
)
def test_loopback_addresses_are_never_proxied(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert find_proxy((url,)) is None


@pytest.mark.parametrize("listed", ["model.example", ".example", "other, model.example:8000", "*"])
def test_hosts_of_no_proxy_are_not_proxied(environment: pytest.MonkeyPatch, listed: str) -> None:
    environment.setenv("HTTP_PROXY", "http://proxy.example:3128")
    environment.setenv("NO_PROXY", listed)
    assert find_proxy((REMOTE_URL,)) is None


def test_all_replicas_or_none_must_be_proxied(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", "http://proxy.example:3128")
    environment.setenv("NO_PROXY", "near.example")
    assert find_proxy((REMOTE_URL, "http://other.example/score")) == "http://proxy.example:3128"
    with pytest.raises(UsageError, match=r"some of target\.urls"):
        find_proxy((REMOTE_URL, "http://near.example/score"))


@pytest.mark.parametrize("proxy", ["socks5://u:canary@proxy.example:1080", "https://u:canary@proxy.example",
                                   "http://u:canary@proxy.example:port"])  # fmt: skip
def test_unsupported_proxy_is_reported_without_its_password(environment: pytest.MonkeyPatch, proxy: str) -> None:
    environment.setenv("HTTP_PROXY", proxy)
    with pytest.raises(UsageError, match=r"^HTTP_PROXY: ") as caught:
        find_proxy((REMOTE_URL,))
    assert "canary" not in str(caught.value) + (caught.value.hint or "")


def test_formatted_proxy_has_only_host_and_port() -> None:
    assert format_proxy("http://user:canary@proxy.example:3128") == "proxy.example:3128"
