"""Read by a CommonMark reader with tables and clickable addresses, as GitHub and GitLab have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.gfm import bullets, table, text
from tests.reports.hostile import PAYLOADS

_READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_MARKUP = (
    "# a", "- a", "+ a", "1. a", "12) a", "> a", "```\na", "    code", "***", "---", "=== ", "[a](b)", "![a](b)",
    "a | b", "**a**", "_a_", "~~a~~", "$a$", "&lt;b&gt;", "a\n\n# b", "[x]: //y", "<http://a.b>", "\\", "`a`",
)  # fmt: skip


def _told(markdown: str) -> tuple[list[str], str]:
    """The elements a reader sees, and the text in them."""
    tokens = _READER.parse(markdown)
    inline = [child for token in tokens for child in token.children or []]
    elements = [token.type for token in (*tokens, *inline) if token.type not in ("inline", "text", "text_special")]
    return elements, "".join(child.content for child in inline)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
@pytest.mark.parametrize("place", ["paragraph", "item", "cell"])
def test_whatever_the_text_it_reads_as_itself_and_adds_no_element(place: str, raw: str) -> None:
    _assert_reads_as_itself(raw, place)


@pytest.mark.parametrize("place", ["paragraph", "item", "cell"])
@pytest.mark.parametrize("raw", [*PAYLOADS, *_MARKUP])
def test_what_would_be_markup_reads_as_itself(raw: str, place: str) -> None:
    _assert_reads_as_itself(raw.replace("\0", ""), place)


def _assert_reads_as_itself(raw: str, place: str) -> None:
    expected = " ".join(raw.split())
    elements, shown = _told(_at(place, text(raw) or "x"))
    assert shown.removeprefix("head") == (expected or "x")
    assert elements == _told(_at(place, "x"))[0]


def _at(place: str, one: str) -> str:
    if place == "cell":
        return "\n".join(table(["head"], [[one]]))
    return one if place == "paragraph" else bullets([one])[0]


@pytest.mark.parametrize(
    "raw", ["http://example.invalid/x", "https://example.invalid", "www.example.invalid", "a@b.cd"]
)
def test_an_address_is_nothing_to_click(raw: str) -> None:
    """GitHub finds addresses in the source by these signs, which an escape between them keeps it from."""
    assert not any(sign in text(raw) for sign in ("://", "www.", "a@b"))


def test_a_table_without_rows_is_none() -> None:
    assert table(["a"], []) == []
