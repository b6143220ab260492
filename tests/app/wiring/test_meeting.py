from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.errors import UnavailableError, UsageError
from app.wiring.meeting import RendezvousAddress, read_address, read_token, resolved


@pytest.mark.parametrize(
    ("text", "host"),
    [("10.0.0.1:5557", "10.0.0.1"), ("master.example:5557", "master.example"), ("[fd00::1]:5557", "fd00::1")],
)
def test_an_address_is_read_and_written(text: str, host: str) -> None:
    address = read_address("--bind", text)
    assert address == RendezvousAddress(host, 5557)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", ":5557", "[]:5557", "fd00::1:5557",
     "[10.0.0.1]:5557", "http://master:5557", "user@master:5557", "a..b:5557", "-a:5557", "a b:5557"],
)  # fmt: skip
def test_what_is_no_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--master") as error:
        read_address("--master", text)
    assert "--master HOST:PORT" in str(error.value.hint)


def test_a_name_is_looked_up() -> None:
    assert resolved("--bind", RendezvousAddress("127.0.0.1", 5)) == RendezvousAddress("127.0.0.1", 5)
    with pytest.raises(UnavailableError, match=r"no-such-host\.invalid of --bind"):
        resolved("--bind", RendezvousAddress("no-such-host.invalid", 5))


def test_the_token_is_where_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "correct horse battery")
    (tmp_path / "token").write_text("staple correct horse\n")
    assert read_token("env:THE_TOKEN") == "correct horse battery"
    assert "THE_TOKEN" not in os.environ, "a server that the run starts would inherit it"
    assert read_token(f"file:{tmp_path / 'token'}") == "staple correct horse"


def test_a_token_is_never_an_argument_nor_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "canary")
    for text, told in (
        ("canary-canary-canary", "where the token is"),
        ("Bearer env:THE_TOKEN", "where the token is"),
        ("env:THE_TOKEN", "at least 16"),
        ("env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
        ("file:gone", "gone cannot be read"),
    ):
        with pytest.raises(UsageError, match=told) as error:
            read_token(text)
        assert "canary" not in f"{error.value} {error.value.hint}"
