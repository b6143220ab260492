from __future__ import annotations

import datetime
import gzip
import itertools
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from app.errors import UnavailableError, UsageError
from app.wiring.price_download import download_catalog, format_location, is_url
from tests.fakes.certificates import self_signed
from tests.fakes.price_catalogs import azure_item, azure_json, gcp_json


class Reply(NamedTuple):
    body: bytes = b"a,b\n"
    status: int = 200
    headers: Mapping[str, str] = {}


class CatalogServer(ThreadingHTTPServer):
    """Replies to each path, and records the requests."""

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: dict[str, Reply] = {}
        self.requests: list[tuple[str, str]] = []
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors of clients that disconnect, which is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: CatalogServer

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Accept-Encoding"]))
        reply = self.server.replies.get(self.path.partition("?")[0], Reply(b"", 404))
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _serve(server: CatalogServer) -> Iterator[CatalogServer]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server() -> Iterator[CatalogServer]:
    yield from _serve(CatalogServer())


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[CatalogServer]:
    yield from _serve(CatalogServer(self_signed(tmp_path / "cert.pem")))


def get_error(url: str, folder: Path, clock: Callable[[], float] = time.monotonic) -> str:
    with pytest.raises((UnavailableError, UsageError)) as refused:
        download_catalog(url, folder, clock)
    return str(refused.value)


def test_catalog_is_downloaded_with_its_date_and_a_location_without_secrets(
    server: CatalogServer, tmp_path: Path
) -> None:
    server.replies["/v8/vms.csv"] = Reply(headers={"Last-Modified": "Thu, 20 Nov 2026 23:30:00 GMT"})
    (download,) = download_catalog(f"{server.url}/v8/vms.csv?key=AIzaSecret#part", tmp_path)
    assert download.file.path.read_bytes() == b"a,b\n"
    assert download.file.location == f"{server.url}/v8/vms.csv"
    assert download.file.name == "vms.csv"
    assert download.modified_on == datetime.date(2026, 11, 20)
    assert server.requests == [("/v8/vms.csv?key=AIzaSecret", "identity")]


@pytest.mark.parametrize("header", ["", "yesterday"])
def test_download_date_is_none_without_a_valid_last_modified_header(
    server: CatalogServer, tmp_path: Path, header: str
) -> None:
    server.replies["/a"] = Reply(headers={"Last-Modified": header})
    assert download_catalog(f"{server.url}/a", tmp_path)[0].modified_on is None


def test_urls_are_distinguished_from_paths_and_credentials_are_rejected() -> None:
    assert is_url("https://host/a?b")
    assert is_url("HTTP://host")
    assert not is_url("folder/vms.csv")
    assert not is_url(r"C:\vms.csv")
    for url in ("ftp://host/a", "file:///etc/passwd", "https://user:word@host/a"):
        with pytest.raises(UsageError):
            is_url(url)
    with pytest.raises(UsageError) as refused:
        is_url("https://user:word@host/a")
    assert "word@" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://[x", "https://host:port/a", "http://host:99999"])
def test_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(UsageError, match="the URL is not valid"):
        is_url(url)


def test_location_of_a_download_has_no_query_and_an_escaped_plus_sign() -> None:
    assert format_location("https://host:8443/a+b/ü?key=1&$filter=x#y") == "https://host:8443/a%2Bb/%C3%BC"


def test_catalog_pages_follow_the_next_link(server: CatalogServer, tmp_path: Path) -> None:
    server.replies["/1"] = Reply(azure_json(azure_item(), next_page=f"{server.url}/2?$skip=1 000").encode())
    server.replies["/2"] = Reply(azure_json(azure_item()).encode())
    downloads = download_catalog(f"{server.url}/1", tmp_path)
    assert [download.file.location for download in downloads] == [f"{server.url}/1"] * 2
    assert [path for path, _ in server.requests] == ["/1", "/2?$skip=1%20000"]
    assert len({download.file.path for download in downloads}) == 2


def test_catalog_pages_follow_the_next_page_token_up_to_the_limit(
    server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.price_download._MAX_PAGES", 3)
    server.replies["/skus"] = Reply(gcp_json(next_page="to/ken").encode())
    message = get_error(f"{server.url}/skus?key=AIzaSecret&pageToken=old", tmp_path)
    assert message == f"{server.url}/skus has more than 3 pages"
    assert [path for path, _ in server.requests[1:]] == ["/skus?key=AIzaSecret&pageToken=to%2Fken"] * 2


@pytest.mark.parametrize("link", ["http://127.0.0.2/2", "https://127.0.0.1/2", "http://[", "file:///etc/passwd"])
def test_next_page_on_another_server_is_not_downloaded(server: CatalogServer, tmp_path: Path, link: str) -> None:
    server.replies["/1"] = Reply(azure_json(next_page=link).encode())
    assert "the next page is on another server" in get_error(f"{server.url}/1", tmp_path)
    assert len(server.requests) == 1


def test_redirect_of_a_catalog_download_is_followed(server: CatalogServer, tmp_path: Path) -> None:
    server.replies["/old"] = Reply(b"", 302, {"Location": "/new"})
    server.replies["/new"] = Reply(b"new\n")
    (download,) = download_catalog(f"{server.url}/old", tmp_path)
    assert download.file.path.read_bytes() == b"new\n"


def test_proxy_of_the_environment_is_used_except_for_this_machine(
    server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is also the proxy, and redirects from another host to itself."""
    for name in ("http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ALL_PROXY", server.url.removeprefix("http://"))
    server.replies["http://prices.example/a"] = Reply(b"", 302, {"Location": f"{server.url}/b"})
    server.replies["/b"] = Reply(b"b\n")
    (download,) = download_catalog("http://prices.example/a", tmp_path)
    assert download.file.path.read_bytes() == b"b\n"
    assert [path for path, _ in server.requests] == ["http://prices.example/a", "/b"]


def test_unsupported_proxy_of_a_download_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    assert get_error("http://prices.example/a", tmp_path).startswith("HTTP_PROXY: ")


@pytest.mark.parametrize(
    ("target", "expected_message"),
    [
        ("file:///etc/passwd", "redirects too often, or to an unsupported address"),
        ("ftp://127.0.0.1/a", "redirects to an address with ftp"),
        ("/loop", "redirects too often, or to an unsupported address"),
    ],
)
def test_redirects_of_a_catalog_download_are_limited_in_number_and_scheme(
    server: CatalogServer, tmp_path: Path, target: str, expected_message: str
) -> None:
    server.replies["/loop"] = Reply(b"", 302, {"Location": target})
    message = get_error(f"{server.url}/loop?key=secret", tmp_path)
    assert message.startswith(f"{server.url}/loop")
    assert expected_message in message
    assert len(server.requests) <= 6


def test_redirect_from_https_to_http_is_rejected(
    tls_server: CatalogServer, server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    tls_server.replies["/ok"] = Reply(b"ok\n")
    assert download_catalog(f"{tls_server.url}/ok", tmp_path)[0].file.path.read_bytes() == b"ok\n"
    tls_server.replies["/old"] = Reply(b"", 302, {"Location": f"{server.url}/new"})
    assert "redirects to an address with http" in get_error(f"{tls_server.url}/old", tmp_path)
    assert server.requests == []


def test_untrusted_certificate_of_a_catalog_server_is_rejected(tls_server: CatalogServer, tmp_path: Path) -> None:
    assert "the certificate is not trusted" in get_error(f"{tls_server.url}/a", tmp_path)
    assert tls_server.requests == []


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_error_status_of_a_download_is_reported_without_the_query(
    server: CatalogServer, tmp_path: Path, status: int
) -> None:
    server.replies["/a"] = Reply(b"no", status)
    message = get_error(f"{server.url}/a?key=AIzaSecret", tmp_path)
    assert message == f"{server.url}/a: the server responded with status {status}"


def test_refused_connection_of_a_download_is_reported(tmp_path: Path) -> None:
    unused = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    unused.server_close()
    message = get_error(f"http://127.0.0.1:{unused.server_address[1]}/a?key=AIzaSecret", tmp_path)
    assert message.endswith("/a cannot be downloaded: Connection refused")


def test_truncated_catalog_download_is_rejected(server: CatalogServer, tmp_path: Path) -> None:
    server.replies["/a"] = Reply(b"a" * 50, headers={"Content-Length": "100", "Connection": "close"})
    assert "only 50 of 100 bytes were received" in get_error(f"{server.url}/a", tmp_path)


def test_compressed_catalog_download_is_rejected(server: CatalogServer, tmp_path: Path) -> None:
    server.replies["/a"] = Reply(gzip.compress(b"a" * 10**6), headers={"Content-Encoding": "gzip"})
    assert "compressed response" in get_error(f"{server.url}/a", tmp_path)


def test_total_download_size_of_all_pages_is_limited(
    server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.price_download._MAX_BYTES", 2**20)
    server.replies["/a"] = Reply(b"a" * (2**20 + 1))
    assert get_error(f"{server.url}/a", tmp_path) == f"{server.url}/a is larger than 1 MiB"
    page = azure_json(azure_item(productName="x" * 2**19), next_page=f"{server.url}/b")
    server.replies["/b"] = Reply(page.encode())
    assert get_error(f"{server.url}/b", tmp_path) == f"{server.url}/b is larger than 1 MiB"


def test_download_duration_is_limited(server: CatalogServer, tmp_path: Path) -> None:
    server.replies["/a"] = Reply()
    for seconds_per_query in (125, 200, 400, 700):  # the limit ends the copy, the headers, the request or its start
        clock = itertools.count(0.0, seconds_per_query).__next__
        assert "took longer than 600 s" in get_error(f"{server.url}/a", tmp_path, clock)
