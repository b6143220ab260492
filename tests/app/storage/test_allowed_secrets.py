from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.errors import UsageError
from app.storage.allowed_secrets import AllowedSecrets, is_allowed, store_permission

PERMISSION = AllowedSecrets("mine", "api.example.com", ("env:A", "env:B"))


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_permission_to_send_secrets_applies_to_its_profile_host_and_secrets() -> None:
    assert not is_allowed(PERMISSION)
    store_permission(PERMISSION)
    store_permission(AllowedSecrets("other", "h", ("env:C",)))
    assert is_allowed(PERMISSION)
    assert is_allowed(msgspec.structs.replace(PERMISSION, references=("env:A",)))
    assert not is_allowed(msgspec.structs.replace(PERMISSION, references=("env:A", "env:AWS_SECRET_ACCESS_KEY")))
    assert not is_allowed(msgspec.structs.replace(PERMISSION, host="evil.example"))
    assert not is_allowed(msgspec.structs.replace(PERMISSION, profile="other"))


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'[{"profile": "a"}]', b"[" * 100_000])
def test_damaged_permission_file_is_rejected(home: Path, content: bytes) -> None:
    home.mkdir()
    (home / "allowed-secrets.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"allowed-secrets\.json cannot be read"):
        is_allowed(PERMISSION)
