from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.language import is_fragment, sample, words_in
from tests.checks.prose import Kind, Passage, passages

SOURCE = '''"""Of what is measured."""
# so many are told
MOST_TRIES = 3
"""As it is."""


class Wish:
    def heed(self, course: int) -> str:
        """Return the text of the request."""
        told = course
        return f"a deed of {told} is done"
'''


@pytest.fixture
def module_passages(tmp_path: Path) -> list[Passage]:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "module.py").write_text(SOURCE)
    return list(passages(tmp_path, ("app",)))


def test_passages_have_kind_line_and_text(module_passages: list[Passage]) -> None:
    assert {(passage.kind, passage.line, passage.text) for passage in module_passages} == {
        (Kind.DOCSTRING, 1, "Of what is measured."),
        (Kind.COMMENT, 2, "so many are told"),
        (Kind.NAME, 3, "MOST_TRIES"),
        (Kind.DOCSTRING, 4, "As it is."),
        (Kind.NAME, 7, "Wish"),
        (Kind.NAME, 8, "heed"),
        (Kind.NAME, 8, "course"),
        (Kind.DOCSTRING, 9, "Return the text of the request."),
        (Kind.NAME, 10, "told"),
        (Kind.TEXT, 11, "a deed of {told} is done"),
    }
    assert [passage.name for passage in module_passages if passage.kind is Kind.DOCSTRING] == [
        "(module)",
        "MOST_TRIES",
        "heed",
    ]


def test_words_are_found_in_names_and_prose_but_not_inside_other_words(module_passages: list[Passage]) -> None:
    uses = {(passage.text, word) for passage in module_passages for word in words_in(passage)}
    assert {word for _, word in uses} == {"tell", "so many", "most/least", "wish", "heed", "deed"}
    assert words_in(Passage(Kind.NAME, "a.py", 1, "total_crewed")) == []
    assert words_in(Passage(Kind.TEXT, "a.py", 1, "rungless strayness")) == []


@pytest.mark.parametrize(
    ("docstring", "fragment"),
    [
        ("Of the measured part; None until it is known.", True),
        ("As `source`, and it is there.", True),
        ("In ns.", True),
        ("In tests, the clock is an argument.", False),
        ("Start of the measurement window, in ns.", False),
        ("Return the rate.", False),
    ],
)
def test_docstring_without_a_main_clause_is_a_fragment(docstring: str, fragment: bool) -> None:
    assert is_fragment(docstring) is fragment


def test_sample_is_equal_for_equal_commit_and_has_each_kind(module_passages: list[Passage]) -> None:
    first_sample = sample(module_passages, 2, "1b2c3d")
    assert first_sample == sample(module_passages, 2, "1b2c3d")
    assert [passage.kind for passage in first_sample] == [Kind.DOCSTRING] * 2 + [Kind.NAME] * 2 + [Kind.TEXT]
