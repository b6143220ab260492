import pytest

from loadgen.transport.address import UrlError, format_grpc_method, parse_grpc_url, parse_url


@pytest.mark.parametrize(
    ("url", "authority", "port", "path"),
    [
        ("http://h", "h", 80, "/"),
        ("https://h/a?b=1", "h", 443, "/a?b=1"),
        ("http://h:8000/a", "h:8000", 8000, "/a"),
        ("http://[::1]:9/", "[::1]:9", 9, "/"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, "/"),
    ],
)
def test_http_url_is_parsed_into_address(url: str, authority: str, port: int, path: str) -> None:
    address = parse_url(url)
    assert (address.authority, address.port, address.path) == (authority, port, path)


@pytest.mark.parametrize("url", ["ftp://h/", "h:80", "http://", "http://h:99999/", "http://me:secret@h/"])
def test_invalid_url_is_rejected_without_repeating_secrets(url: str) -> None:
    with pytest.raises(UrlError) as raised:
        parse_url(url)
    assert "secret" not in str(raised.value)


def test_formatted_url_has_no_query() -> None:
    assert parse_url("http://h:1/a?key=secret").format_url("/a?key=secret") == "http://h:1/a"


@pytest.mark.parametrize(
    ("url", "host", "port", "is_tls", "text"),
    [
        ("grpc://h:8001", "h", 8001, False, "grpc://h:8001/S/M"),
        ("grpcs://h:8001/", "h", 8001, True, "grpcs://h:8001/S/M"),
        ("http://h:8001", "h", 8001, False, "grpc://h:8001/S/M"),
        ("grpcs://h", "h", 443, True, "grpcs://h/S/M"),
        ("grpc://[::1]:1", "::1", 1, False, "grpc://[::1]:1/S/M"),
    ],
)
def test_grpc_url_is_parsed_into_address(url: str, host: str, port: int, is_tls: bool, text: str) -> None:
    address = parse_grpc_url(url)
    assert (address.host, address.port, address.is_tls) == (host, port, is_tls)
    assert format_grpc_method(address, "/S/M") == text


@pytest.mark.parametrize(
    "url",
    [
        "h:8001",
        "ftp://h",
        "grpc://",
        "grpc://h:8001/path",
        "grpc://h?a=b",
        "grpc://h:x",
        "grpc://me:canary@h",
        "grpc://[::1",
    ],
)
def test_invalid_grpc_url_is_rejected_without_repeating_secrets(url: str) -> None:
    with pytest.raises(UrlError) as raised:
        parse_grpc_url(url)
    assert "canary" not in str(raised.value)
