"""The documentation site builds without a warning, loads nothing from the network, and can be searched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs.build import GENERATORS, broken_links, build, nav_pages

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


def test_site_has_no_broken_links(site: Path) -> None:
    assert broken_links(site) == []


def test_generated_parts_are_filled_in(site: Path) -> None:
    texts = [page.read_text("utf-8") for page in site.rglob("*.md")]
    lines = [line for text in texts for line in text.splitlines()]
    assert not [line for line in lines if line.startswith(("<!-- generate:", "<!-- run:"))]
    for name in ("cli", "profile_keys", "metrics", "exit_codes"):
        assert any(GENERATORS[name]() in text for text in texts)


def test_search_index_has_commands_keys_and_metrics(site: Path) -> None:
    index = json.loads((site / "search.json").read_text("utf-8"))
    text = json.dumps(index)
    assert all(word in text for word in ("sizewise simulate", "load.search.repeats", "ttft_service_ms"))


def test_llms_txt_lists_every_page_as_markdown(site: Path) -> None:
    index = (site / "llms.txt").read_text("utf-8")
    for _, title, path in nav_pages():
        assert f"- [{title}]({path}): " in index
        assert (site / path).is_file()
        (line,) = (candidate for candidate in index.splitlines() if f"]({path})" in candidate)
        assert len(line.partition("): ")[2]) > 20, line
