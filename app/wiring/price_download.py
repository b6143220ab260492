"""Download published catalogs of prices.

Only the address that the user names is requested, its redirects, and the further pages of its
response on the same server. Certificates are verified; size, time, pages and redirects are limited.
"""

from __future__ import annotations

import datetime
import email.utils
import http.client
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

from app import __version__
from app.errors import UnavailableError, UsageError
from app.profiles.pricing.published.files import CatalogFile
from app.profiles.pricing.published.reading import find_next_page
from app.wiring.proxy import find_proxy
from loadgen.records import Tls
from loadgen.transport.opener import Opener, limit_time

_MAX_BYTES = 2**30
_MAX_DURATION_S, _MAX_WAIT_S = 600.0, 30.0
_MAX_PAGES = 1_000
_BLOCK_BYTES = 2**16
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADERS = {"User-Agent": f"sizewise/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}


class DownloadedFile(msgspec.Struct, frozen=True):
    """Downloaded file. `modified_on` is the date of its last change according to the server; None
    if not reported."""

    file: CatalogFile
    modified_on: datetime.date | None


class _Budget:
    """Bytes and time that remain for all pages together."""

    def __init__(self, get_time_s: Callable[[], float]) -> None:
        self.get_remaining_s = limit_time(_MAX_DURATION_S, _MAX_WAIT_S, get_time_s)
        self.remaining_bytes = _MAX_BYTES

    def check(self, location: str) -> None:
        if self.remaining_bytes < 0:
            raise UsageError(
                f"{location} is larger than {_MAX_BYTES // 2**20:,} MiB", hint="Use the list of one region."
            )
        try:
            self.get_remaining_s()
        except TimeoutError:
            raise UnavailableError(
                f"{location}: the download took longer than {_MAX_DURATION_S:.0f} s",
                hint="Download the file with another program, and use the file.",
            ) from None


def is_url(source: str) -> bool:
    """Return whether a source is a URL. Raises UsageError for an invalid URL, for another scheme
    than http and https, and for credentials in the URL."""
    scheme, separator, _ = source.partition("://")
    if not separator:
        return False
    if scheme.casefold() not in _DEFAULT_PORTS:
        raise UsageError(f"{scheme:.20}:// is not supported", hint="Use http://, https:// or the path of a file.")
    try:
        url_parts = urlsplit(source)
        _ = url_parts.port  # urlsplit itself does not check the port
    except ValueError:
        raise UsageError("the URL is not valid", hint="Check its host and port.") from None
    if "@" in url_parts.netloc:
        raise UsageError("the URL contains a user or a password", hint="Download the file, and use the file.")
    return True


def format_location(url: str) -> str:
    """Return a URL without its query and fragment, which may contain secrets."""
    url_parts = urlsplit(url)
    path = quote(url_parts.path, safe="/%:@!$&'()*,;=~")
    return urlunsplit((url_parts.scheme, url_parts.netloc, path, "", ""))


def download_catalog(
    url: str, directory: Path, get_time_s: Callable[[], float] = time.monotonic
) -> list[DownloadedFile]:
    """Download a file and, if it is a page of a response, the following pages.

    Raises UnavailableError if the server does not send it, and UsageError if it is too large.
    """
    location, budget = format_location(url), _Budget(get_time_s)
    files: list[DownloadedFile] = []
    page_url: str | None = url
    while page_url is not None:
        if len(files) == _MAX_PAGES:
            raise UsageError(f"{location} has more than {_MAX_PAGES:,} pages", hint="Add a filter to the address.")
        path = directory / f"page-{len(files)}"
        headers = _fetch(page_url, path, location, budget)
        file = CatalogFile(path, location, PurePosixPath(urlsplit(url).path).name)
        files.append(DownloadedFile(file, _parse_modified(headers)))
        page_url = _build_next_url(page_url, file)
    return files


def _fetch(url: str, path: Path, location: str, budget: _Budget) -> Mapping[str, str]:
    budget.check(location)
    try:
        request = urllib.request.Request(url, headers=_HEADERS)
        opener = Opener((url,), Tls(), lambda address: find_proxy((address,)), follows_redirects=True)
        with opener.open(request, budget.get_remaining_s) as response, path.open("wb") as file:
            _copy(response, file, location, budget)
            headers: Message = response.headers
    except HTTPError as error:
        with error:
            raise _build_status_error(location, error.code) from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # not reachable, not trusted, or not HTTP
        budget.check(location)
        raise UnavailableError(f"{location} cannot be downloaded: {_find_cause(error)}") from None
    return dict(headers.items())


def _copy(response: Any, file: IO[bytes], location: str, budget: _Budget) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UnavailableError(f"{location}: the server sends a compressed response although none was accepted")
    received_bytes = 0
    while block := response.read1(_BLOCK_BYTES):
        received_bytes += len(block)
        budget.remaining_bytes -= len(block)
        budget.check(location)
        file.write(block)
    if response.length:
        expected_bytes = received_bytes + response.length
        raise UnavailableError(
            f"{location}: only {received_bytes:,} of {expected_bytes:,} bytes were received", hint="Try again."
        )


def _build_next_url(url: str, file: CatalogFile) -> str | None:
    """Return the URL of the next page of a response; `None` for the last page. Raises
    UnavailableError if the page is on another server."""
    link, token = find_next_page(file)
    if token is not None:
        url_parts = urlsplit(url)
        query = [(name, value) for name, value in parse_qsl(url_parts.query) if name != "pageToken"]
        return urlunsplit(url_parts._replace(query=urlencode([*query, ("pageToken", token)])))
    if link is None:
        return None
    if _find_origin(link) != _find_origin(url):
        raise UnavailableError(f"{file.location}: the next page is on another server")
    return link.replace(" ", "%20")


def _find_origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        url_parts = urlsplit(url)
        return url_parts.scheme, url_parts.hostname, url_parts.port or _DEFAULT_PORTS.get(url_parts.scheme)
    except ValueError:
        return "", None, None


def _parse_modified(headers: Mapping[str, str]) -> datetime.date | None:
    text = next((value for name, value in headers.items() if name.casefold() == "last-modified"), None)
    try:
        return None if text is None else email.utils.parsedate_to_datetime(text).astimezone(datetime.UTC).date()
    except (ValueError, OverflowError):
        return None


def _build_status_error(location: str, status: int) -> UnavailableError:
    hint = "Check the address."
    if 300 <= status < 400:
        return UnavailableError(f"{location}: the server redirects too often, or to an unsupported address", hint=hint)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        hint = "Check the key in the address, or download the file with another program and use the file."
    return UnavailableError(f"{location}: the server responded with status {status}", hint=hint)


def _find_cause(error: Exception) -> str:
    """Return the reason of an error without the URL, which may contain a secret."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return "timeout"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted ({reason.verify_message})"
    if isinstance(reason, str):
        return reason
    return (reason.strerror if isinstance(reason, OSError) else None) or type(reason).__name__
