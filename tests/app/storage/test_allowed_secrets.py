from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.errors import UsageError
from app.storage.allowed_secrets import AllowedSecrets, is_allowed, store_permission

ONE = AllowedSecrets("mine", "api.example.com", ("env:A", "env:B"))


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_what_is_allowed_is_remembered_for_its_profile_host_and_secrets() -> None:
    assert not is_allowed(ONE)
    store_permission(ONE)
    store_permission(AllowedSecrets("other", "h", ("env:C",)))
    assert is_allowed(ONE)
    assert is_allowed(msgspec.structs.replace(ONE, references=("env:A",)))
    assert not is_allowed(msgspec.structs.replace(ONE, references=("env:A", "env:AWS_SECRET_ACCESS_KEY")))
    assert not is_allowed(msgspec.structs.replace(ONE, host="evil.example"))
    assert not is_allowed(msgspec.structs.replace(ONE, profile="other"))


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'[{"profile": "a"}]', b"[" * 100_000])
def test_a_damaged_file_is_refused(home: Path, content: bytes) -> None:
    home.mkdir()
    (home / "allowed-secrets.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"allowed-secrets\.json cannot be read"):
        is_allowed(ONE)
