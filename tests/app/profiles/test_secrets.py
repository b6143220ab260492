from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.problems import BadValueError
from app.profiles.secrets import check_url_has_no_secret, make_reference_absolute, redact_header, resolve_secret


def test_secret_references_are_resolved_from_environment_and_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from file\n")
    environment = {"API_KEY": "from env"}
    assert resolve_secret("env:API_KEY", environment) == "from env"
    assert resolve_secret("Bearer env:API_KEY", environment) == "Bearer from env"
    assert resolve_secret(f"file:{tmp_path / 'key'}", environment) == "from file"
    assert resolve_secret("plain", environment) == "plain"


@pytest.mark.parametrize("text", ["env:NONE", "env:EMPTY", "env:LINES", "file:/does/not/exist", "<redacted>"])
def test_unresolvable_secret_reference_is_rejected_without_its_value(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_secret(text, {"EMPTY": "", "LINES": "canary\r\nX-Evil: 1"})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "value", "written"),
    [
        ("Authorization", "Bearer abc", "<redacted>"),
        ("Authorization", "Bearer env:KEY", "Bearer env:KEY"),
        ("X-Key", "canary env:KEY", "<redacted>"),
        ("Cookie", "a=b", "<redacted>"),
        ("Content-Type", "text/plain", "text/plain"),
        ("X-Request-Id", "7", "7"),
    ],
)
def test_header_values_are_redacted_unless_harmless_or_references(header: str, value: str, written: str) -> None:
    assert redact_header(header, value) == written


def test_path_of_file_reference_becomes_absolute(tmp_path: Path) -> None:
    assert make_reference_absolute("Bearer file:key", tmp_path) == f"Bearer file:{tmp_path / 'key'}"
    assert make_reference_absolute("env:KEY", tmp_path) == "env:KEY"


@pytest.mark.parametrize(
    "rest",
    [
        "?token=x", "?a=1&api_key=x", "?X-Amz-Signature=x", "?sig=x", "?clientSecret=x", "?key=", "?pass=x", "?pat=x",
        "?dbPass=x", "?user_pass=x", "?PAT=x", "?q=ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "?u=eyJhbGciOiJIUzI1NiJ9.e30e30e30.sig",
    ],
)  # fmt: skip
def test_secret_in_url_query_is_rejected(rest: str) -> None:
    with pytest.raises(BadValueError, match="query"):
        check_url_has_no_secret(f"http://h/{rest}")


def test_user_information_in_url_is_rejected() -> None:
    with pytest.raises(BadValueError, match="user"):
        check_url_has_no_secret("http://user@h/")


def test_harmless_url_queries_are_accepted() -> None:
    check_url_has_no_secret("http://h/?version=2024&model=a&bypass=1&compat=2&pattern=x&api-version=2024-10-21")


def test_unreadable_secret_file_is_reported_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "key.bin").write_bytes(b"\xffcanary")
    for name, reason in (("none.txt", "No such file"), ("key.bin", "the file is not UTF-8 text")):
        with pytest.raises(UsageError, match=f"the secret file .*{name} cannot be read: {reason}") as caught:
            resolve_secret(f"file:{tmp_path / name}")
        assert "canary" not in str(caught.value)


def test_secret_is_not_read_from_devices_pipes_or_large_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path / "large"):
        with pytest.raises(UsageError, match="cannot be read"):
            resolve_secret(f"file:{path}")
