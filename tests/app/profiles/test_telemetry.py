from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.profiles.telemetry import Scrapes, ScrapeSettings

SCRAPES = TypeAdapter[tuple[ScrapeSettings, ...]](Scrapes)
URL = "http://10.0.0.7:9400/metrics"


def read(*scrapes: dict[str, Any], directory: Path = Path("/")) -> tuple[ScrapeSettings, ...]:
    return SCRAPES.validate_python(list(scrapes), context={"directory": directory, "files_must_exist": True})


def test_a_page_needs_no_more_than_its_url() -> None:
    (page,) = read({"scrape": URL})
    assert (page.name, page.labels, page.interval_s, page.headers, page.permitted) == ("scrape1", {}, 1.0, {}, False)


def test_what_has_no_name_is_called_by_its_place() -> None:
    pages = read({"scrape": URL}, {"scrape": URL, "name": "node"}, {"scrape": URL, "name": None})
    assert [page.name for page in pages] == ["scrape1", "node", "scrape3"]


@pytest.mark.parametrize("name", ["host", "engine", "gpu", "gpu0", "gpu-amd0"])
def test_a_name_of_a_source_of_this_machine_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        read({"scrape": URL, "name": name})


def test_a_name_that_only_begins_like_a_gpu_is_accepted() -> None:
    assert read({"scrape": URL, "name": "gpu-box"})[0].name == "gpu-box"


def test_what_is_printed_is_read_back() -> None:
    pages = read(
        {"scrape": URL, "labels": {"gpu": 0, "pod": "a b"}, "interval": "500ms", "headers": {"X-Key": "env:KEY"}}
    )
    printed = SCRAPES.dump_python(pages, mode="json", by_alias=True)
    assert printed[0]["interval"] == "500ms"
    assert printed[0]["labels"] == {"gpu": "0", "pod": "a b"}
    assert read(*printed) == pages


def test_secrets_are_not_printed() -> None:
    printed = SCRAPES.dump_python(read({"scrape": URL, "headers": {"Authorization": "Bearer word"}}), by_alias=True)
    assert "word" not in str(printed)


def test_a_secrets_file_is_found_beside_the_profile(tmp_path: Path) -> None:
    (page,) = read({"scrape": URL, "headers": {"Authorization": "Bearer file:token"}}, directory=tmp_path)
    assert page.headers == {"Authorization": f"Bearer file:{tmp_path / 'token'}"}


@pytest.mark.parametrize(
    ("wrong", "message"),
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
def test_what_is_wrong_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read({"scrape": URL, **wrong})


def test_two_pages_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two telemetry endpoints are named scrape2"):
        read({"scrape": URL, "name": "scrape2"}, {"scrape": URL})


def test_a_list_is_what_it_takes() -> None:
    with pytest.raises(ValidationError):
        SCRAPES.validate_python({"scrape": URL}, context={})
    with pytest.raises(ValidationError):
        read(*({"scrape": URL} for _ in range(65)))
