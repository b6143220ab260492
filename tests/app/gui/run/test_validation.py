from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.run.validation import apply_suggestion, display_protocol, validate_profile
from app.profiles.document import read_document
from app.profiles.loading import load_profile_text
from app.profiles.templates import ENDPOINT_TEMPLATE
from app.storage.allowed_secrets import store_permission

VALID_PROFILE = ENDPOINT_TEMPLATE.format(name="mine")


def test_valid_profile_has_no_issues() -> None:
    validation = validate_profile(VALID_PROFILE, Path("x.yaml"))
    assert (validation.name, validation.issues) == ("mine", ())


def test_every_issue_has_its_path_hint_and_line() -> None:
    text = VALID_PROFILE.replace("duration: 30s", "duration: 30").replace("method: POST", "method: PST")
    issues = validate_profile(text, Path("x.yaml")).issues
    assert [issue.path for issue in issues] == [("workload", "method"), ("load", "stages", 0, "duration")]
    assert issues[1].hint == "Use a value such as 30s, 500ms or 10m."
    assert issues[1].line == text.splitlines().index(next(line for line in text.splitlines() if "duration" in line)) + 1


@pytest.mark.parametrize(
    ("valid_text", "typo", "suggestion"),
    [("method: POST", "method: PST", "POST"), ("url:", "ulr:", "url"), ("protocol: http", "protocol: htpp", "http")],
)
def test_suggestion_of_an_issue_corrects_the_profile(valid_text: str, typo: str, suggestion: str) -> None:
    text = VALID_PROFILE.replace(valid_text, typo)
    issue = validate_profile(text, Path("x.yaml")).issues[0]
    assert issue.suggestion == suggestion
    assert (
        apply_suggestion(read_document(text.encode(), "x").value, issue)
        == read_document(VALID_PROFILE.encode(), "x").value
    )


def test_public_address_needs_permission() -> None:
    text = VALID_PROFILE.replace("127.0.0.1", "8.8.8.8")
    load_profile_text(text.encode(), Path("x.yaml"))
    (issue,) = validate_profile(text, Path("x.yaml")).issues
    assert issue.path == ("target", "permitted")
    assert validate_profile(text.replace("  url:", "  permitted: true\n  url:"), Path("x.yaml")).issues == ()


def test_profile_without_protocol_is_displayed_as_http_or_local() -> None:
    assert (display_protocol({}), display_protocol({"target": {"model": "x"}})) == ("http", "local")


def test_secrets_for_a_host_without_permission_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    text = VALID_PROFILE.replace("127.0.0.1", "10.0.0.5").replace("target:\n", "target:\n  api_key: env:KEY\n")
    (secrets,) = validate_profile(text, Path("x.yaml")).unapproved_secrets
    assert (secrets.profile, secrets.host, secrets.references) == ("mine", "10.0.0.5", ("env:KEY",))
    store_permission(secrets)
    assert validate_profile(text, Path("x.yaml")).unapproved_secrets == ()
