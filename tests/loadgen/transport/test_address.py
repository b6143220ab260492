import pytest

from loadgen.transport.address import UrlError, address_of


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
def test_a_url_leads_to_an_address(url: str, authority: str, port: int, path: str) -> None:
    address = address_of(url)
    assert (address.authority, address.port, address.path) == (authority, port, path)


@pytest.mark.parametrize("url", ["ftp://h/", "h:80", "http://", "http://h:99999/", "http://me:secret@h/"])
def test_other_urls_are_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(UrlError) as refused:
        address_of(url)
    assert "secret" not in str(refused.value)


def test_what_is_shown_has_no_query() -> None:
    assert address_of("http://h:1/a?key=secret").shown("/a?key=secret") == "http://h:1/a"
