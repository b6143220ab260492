import pytest

from loadgen.transport.address import UrlError
from loadgen.transport.proxy import parse_proxy_url


def test_proxy_host_port_and_credentials_are_parsed_from_url() -> None:
    assert (
        parse_proxy_url("http://h").host,
        parse_proxy_url("http://h").port,
        parse_proxy_url("http://h").authorization,
    ) == ("h", 80, None)
    proxy = parse_proxy_url("http://m%40e:p%3Aw@[::1]:3128/")
    assert (proxy.host, proxy.port, proxy.authorization) == ("::1", 3128, "Basic bUBlOnA6dw==")
    assert proxy.host_port == "[::1]:3128"
    assert "bUBl" not in repr(proxy)


@pytest.mark.parametrize(
    "url", ["https://me:secret@h:1", "socks5://me:secret@h", "me:secret@h:1", "http://me:secret@h:port", "http://", ""]
)
def test_invalid_proxy_url_is_rejected_without_repeating_secrets(url: str) -> None:
    with pytest.raises(UrlError) as raised:
        parse_proxy_url(url)
    assert "secret" not in str(raised.value)
