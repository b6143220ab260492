from __future__ import annotations

import pytest

from app.analysis.spreadsheets import escape_formula


@pytest.mark.parametrize("first", "=+-@\t\r\n＝＋－＠")
def test_formula_text_is_escaped_with_apostrophe(first: str) -> None:
    assert escape_formula(f"{first}1+1") == f"'{first}1+1"


@pytest.mark.parametrize("text", ["", "a=1", "'=1", " =1", "1-1"])
def test_text_that_is_not_formula_is_unchanged(text: str) -> None:
    assert escape_formula(text) == text
