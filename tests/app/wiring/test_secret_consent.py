from __future__ import annotations

import pytest

from app.errors import UsageError
from app.wiring.endpoint import build_endpoint
from app.wiring.machine import build_sampler
from app.wiring.secret_consent import allow_hosts, require_consent
from tests.app.wiring.conftest import HTTP, Written

TARGET = {"protocol": "http", "url": "http://10.0.0.5/score", "api_key": "env:API_KEY"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "canary")


def test_a_secret_is_sent_to_no_host_that_nobody_allowed(written: Written) -> None:
    profile = written(TARGET)
    with pytest.raises(UsageError, match=r"profile 'test' sends env:API_KEY to 10\.0\.0\.5") as refused:
        build_endpoint(profile)
    assert "--allow-secrets 10.0.0.5" in str(refused.value.hint)
    assert "canary" not in f"{refused.value} {refused.value.hint}"
    allow_hosts([profile], ["10.0.0.5"])
    assert build_endpoint(profile).headers == (("Authorization", "Bearer canary"),)
    with pytest.raises(UsageError, match="env:HOME"):
        build_endpoint(written({**TARGET, "headers": {"X-Other": "env:HOME"}}))


def test_nor_with_what_is_scraped(written: Written) -> None:
    scrape = {"name": "s", "scrape": "http://10.0.0.6/metrics", "headers": {"Authorization": "env:API_KEY"}}
    with pytest.raises(UsageError, match=r"to 10\.0\.0\.6"):
        build_sampler(written(HTTP, telemetry=[scrape]))


def test_a_pipeline_allows_hosts_by_a_variable(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_ALLOW_SECRETS", "other.example, 10.0.0.5")
    require_consent(written(TARGET))


def test_a_host_that_gets_no_secret_cannot_be_allowed(written: Written) -> None:
    with pytest.raises(UsageError, match="sends no secret to this host") as refused:
        allow_hosts([written(TARGET)], ["10.0.0.7"])
    assert refused.value.hint == "The profile sends secrets only to 10.0.0.5."
