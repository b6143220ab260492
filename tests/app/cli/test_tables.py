from app.cli.tables import format_cell, format_table


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    assert format_table(("name", "rate"), [("a", 1.5), ("long", 12345.6)]).splitlines() == [
        "name    rate",
        "----  ------",
        "a        1.5",
        "long  12,346",
    ]


def test_what_is_not_available_is_na() -> None:
    assert format_cell(None) == "n/a"
    assert format_table(("x",), [(None,), (2,)]).splitlines()[2:] == ["n/a", "  2"]


def test_no_text_can_steer_the_terminal() -> None:
    assert not {"\x1b", "\n", "\x9b"} & set(format_cell("\x1b[2Jtwo\nlines\x9b"))


def test_an_empty_table_has_its_header() -> None:
    assert format_table(("a", "b"), []).splitlines() == ["a  b", "-  -"]
