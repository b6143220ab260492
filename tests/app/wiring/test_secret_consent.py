from __future__ import annotations

import pytest

from app.errors import UsageError
from app.wiring.endpoint import build_endpoint
from app.wiring.machine import build_sampler
from app.wiring.secret_consent import allow_hosts, require_consent
from tests.app.wiring.conftest import HTTP, MakeProfile

TARGET = {"protocol": "http", "url": "http://10.0.0.5/score", "api_key": "env:API_KEY"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "canary")


def test_secret_is_sent_only_to_hosts_that_the_user_allowed(make_profile: MakeProfile) -> None:
    profile = make_profile(TARGET)
    with pytest.raises(UsageError, match=r"profile 'test' sends env:API_KEY to 10\.0\.0\.5") as refused:
        build_endpoint(profile)
    assert "--allow-secrets 10.0.0.5" in str(refused.value.hint)
    assert "canary" not in f"{refused.value} {refused.value.hint}"
    allow_hosts([profile], ["10.0.0.5"])
    assert build_endpoint(profile).headers == (("Authorization", "Bearer canary"),)
    with pytest.raises(UsageError, match="env:HOME"):
        build_endpoint(make_profile({**TARGET, "headers": {"X-Other": "env:HOME"}}))


def test_secret_of_a_scraped_endpoint_needs_consent(make_profile: MakeProfile) -> None:
    scrape = {"name": "s", "scrape": "http://10.0.0.6/metrics", "headers": {"Authorization": "env:API_KEY"}}
    with pytest.raises(UsageError, match=r"to 10\.0\.0\.6"):
        build_sampler(make_profile(HTTP, telemetry=[scrape]))


def test_environment_variable_allows_hosts_for_secrets(
    make_profile: MakeProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_ALLOW_SECRETS", "other.example, 10.0.0.5")
    require_consent(make_profile(TARGET))


def test_host_that_receives_no_secret_cannot_be_allowed(make_profile: MakeProfile) -> None:
    with pytest.raises(UsageError, match="sends no secret to this host") as refused:
        allow_hosts([make_profile(TARGET)], ["10.0.0.7"])
    assert refused.value.hint == "The profile sends secrets only to 10.0.0.5."
