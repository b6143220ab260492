from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.run.validation import apply_suggestion, display_protocol, validate_profile
from app.profiles.document import read_document
from app.profiles.loading import load_profile_text
from app.profiles.templates import ENDPOINT_TEMPLATE
from app.storage.allowed_secrets import store_permission

RIGHT = ENDPOINT_TEMPLATE.format(name="mine")


def test_a_right_profile_is_right() -> None:
    checked = validate_profile(RIGHT, Path("x.yaml"))
    assert (checked.name, checked.issues) == ("mine", ())


def test_all_that_is_wrong_is_reported_where_it_is() -> None:
    text = RIGHT.replace("duration: 30s", "duration: 30").replace("method: POST", "method: PST")
    wrong = validate_profile(text, Path("x.yaml")).issues
    assert [one.path for one in wrong] == [("workload", "method"), ("load", "stages", 0, "duration")]
    assert wrong[1].hint == "Use a value such as 30s, 500ms or 10m."
    assert wrong[1].line == text.splitlines().index(next(line for line in text.splitlines() if "duration" in line)) + 1


@pytest.mark.parametrize(
    ("right", "typo", "instead"),
    [("method: POST", "method: PST", "POST"), ("url:", "ulr:", "url"), ("protocol: http", "protocol: htpp", "http")],
)
def test_the_nearest_right_name_mends_it(right: str, typo: str, instead: str) -> None:
    text = RIGHT.replace(right, typo)
    wrong = validate_profile(text, Path("x.yaml")).issues[0]
    assert wrong.suggestion == instead
    assert apply_suggestion(read_document(text.encode(), "x").value, wrong) == read_document(RIGHT.encode(), "x").value


def test_a_public_address_needs_its_tick() -> None:
    text = RIGHT.replace("127.0.0.1", "8.8.8.8")
    load_profile_text(text.encode(), Path("x.yaml"))
    (wrong,) = validate_profile(text, Path("x.yaml")).issues
    assert wrong.path == ("target", "permitted")
    assert validate_profile(text.replace("  url:", "  permitted: true\n  url:"), Path("x.yaml")).issues == ()


def test_an_unfinished_profile_has_the_form_of_plain_http() -> None:
    assert (display_protocol({}), display_protocol({"target": {"model": "x"}})) == ("http", "local")


def test_secrets_for_a_host_that_nobody_allowed_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    text = RIGHT.replace("127.0.0.1", "10.0.0.5").replace("target:\n", "target:\n  api_key: env:KEY\n")
    (wanted,) = validate_profile(text, Path("x.yaml")).unapproved_secrets
    assert (wanted.profile, wanted.host, wanted.references) == ("mine", "10.0.0.5", ("env:KEY",))
    store_permission(wanted)
    assert validate_profile(text, Path("x.yaml")).unapproved_secrets == ()
