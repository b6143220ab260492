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


def test_every_link_and_whatever_a_page_loads_is_in_the_site(site: Path) -> None:
    assert broken_links(site) == []


def test_every_page_has_its_generated_parts(site: Path) -> None:
    texts = [page.read_text("utf-8") for page in site.rglob("*.md")]
    lines = [line for text in texts for line in text.splitlines()]
    assert not [line for line in lines if line.startswith(("<!-- generate:", "<!-- run:"))]
    for name in ("cli", "profile_keys", "metrics", "exit_codes"):
        assert any(GENERATORS[name]() in text for text in texts)


def test_the_search_knows_commands_keys_and_metrics(site: Path) -> None:
    index = json.loads((site / "search.json").read_text("utf-8"))
    text = json.dumps(index)
    assert all(word in text for word in ("sizewise simulate", "load.search.repeats", "ttft_service_ms"))


def test_llms_txt_lists_every_page_as_markdown(site: Path) -> None:
    index = (site / "llms.txt").read_text("utf-8")
    for _, title, path in nav_pages():
        assert f"- [{title}]({path}): " in index
        assert (site / path).is_file()
        (line,) = (one for one in index.splitlines() if f"]({path})" in one)
        assert len(line.partition("): ")[2]) > 20, line
