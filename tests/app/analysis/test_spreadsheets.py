from __future__ import annotations

import pytest

from app.analysis.spreadsheets import escape_formula


@pytest.mark.parametrize("first", "=+-@\t\r\n＝＋－＠")
def test_a_text_that_a_spreadsheet_would_execute_gets_an_apostrophe(first: str) -> None:
    assert escape_formula(f"{first}1+1") == f"'{first}1+1"


@pytest.mark.parametrize("text", ["", "a=1", "'=1", " =1", "1-1"])
def test_any_other_text_stays(text: str) -> None:
    assert escape_formula(text) == text
