from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.profiles.telemetry import Scrapes, ScrapeSettings

SCRAPES = TypeAdapter[tuple[ScrapeSettings, ...]](Scrapes)
URL = "http://10.0.0.7:9400/metrics"


def read_scrapes(*scrapes: dict[str, Any], directory: Path = Path("/")) -> tuple[ScrapeSettings, ...]:
    return SCRAPES.validate_python(list(scrapes), context={"directory": directory, "files_must_exist": True})


def test_telemetry_endpoint_requires_only_its_url() -> None:
    (page,) = read_scrapes({"scrape": URL})
    assert (page.name, page.labels, page.interval_s, page.headers, page.permitted) == ("scrape1", {}, 1.0, {}, False)


def test_unnamed_telemetry_endpoint_is_named_by_its_position() -> None:
    pages = read_scrapes({"scrape": URL}, {"scrape": URL, "name": "node"}, {"scrape": URL, "name": None})
    assert [page.name for page in pages] == ["scrape1", "node", "scrape3"]


@pytest.mark.parametrize("name", ["host", "engine", "gpu", "gpu0", "gpu-amd0"])
def test_telemetry_endpoint_cannot_have_the_name_of_a_local_source(name: str) -> None:
    with pytest.raises(ValidationError):
        read_scrapes({"scrape": URL, "name": name})


def test_telemetry_name_that_starts_like_a_gpu_is_accepted() -> None:
    assert read_scrapes({"scrape": URL, "name": "gpu-box"})[0].name == "gpu-box"


def test_printed_telemetry_settings_survive_a_round_trip() -> None:
    pages = read_scrapes(
        {"scrape": URL, "labels": {"gpu": 0, "pod": "a b"}, "interval": "500ms", "headers": {"X-Key": "env:KEY"}}
    )
    printed = SCRAPES.dump_python(pages, mode="json", by_alias=True)
    assert printed[0]["interval"] == "500ms"
    assert printed[0]["labels"] == {"gpu": "0", "pod": "a b"}
    assert read_scrapes(*printed) == pages


def test_secrets_of_telemetry_headers_are_not_printed() -> None:
    printed = SCRAPES.dump_python(
        read_scrapes({"scrape": URL, "headers": {"Authorization": "Bearer word"}}), by_alias=True
    )
    assert "word" not in str(printed)


def test_secret_file_of_telemetry_is_resolved_relative_to_the_profile(tmp_path: Path) -> None:
    (page,) = read_scrapes({"scrape": URL, "headers": {"Authorization": "Bearer file:token"}}, directory=tmp_path)
    assert page.headers == {"Authorization": f"Bearer file:{tmp_path / 'token'}"}


@pytest.mark.parametrize(
    ("invalid_keys", "message"),
    [
        ({"scrape": "ftp://host/"}, "must start with"),
        ({"scrape": "http://user:word@host/metrics"}, "contains a user or a password"),
        ({"interval": "100ms"}, "below the minimum scrape interval of 200ms"),
        ({"interval": 1}, "has no unit"),
        ({"name": "host"}, "this machine's telemetry"),
        ({"name": "gpu0"}, "this machine's telemetry"),
        ({"name": "a/b"}, "String should match"),
        ({"labels": {"a-b": "1"}}, "not a valid label name"),
        ({"labels": {"gpu": 0.5}}, "must be text"),
        ({"labels": {"gpu": True}}, "must be text"),
        ({"headers": {"X Y": "1"}}, "not a valid header name"),
        ({"url": URL}, "the key 'url' is unknown"),
    ],
)
def test_invalid_telemetry_endpoints_are_rejected(invalid_keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read_scrapes({"scrape": URL, **invalid_keys})


def test_duplicate_telemetry_names_are_rejected() -> None:
    with pytest.raises(ValidationError, match="two telemetry endpoints are named scrape2"):
        read_scrapes({"scrape": URL, "name": "scrape2"}, {"scrape": URL})


def test_telemetry_must_be_a_list_of_at_most_64_endpoints() -> None:
    with pytest.raises(ValidationError):
        SCRAPES.validate_python({"scrape": URL}, context={})
    with pytest.raises(ValidationError):
        read_scrapes(*({"scrape": URL} for _ in range(65)))
