import pytest

from loadgen.transport.address import UrlError
from loadgen.transport.grpc_address import grpc_address_of, shown


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
def test_where_a_url_leads(url: str, host: str, port: int, is_tls: bool, text: str) -> None:
    address = grpc_address_of(url)
    assert (address.host, address.port, address.is_tls) == (host, port, is_tls)
    assert shown(address, "/S/M") == text


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
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(UrlError) as refused:
        grpc_address_of(url)
    assert "canary" not in str(refused.value)
