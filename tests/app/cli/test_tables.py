from app.cli.tables import shown, table


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    assert table(("name", "rate"), [("a", 1.5), ("long", 12345.6)]).splitlines() == [
        "name    rate",
        "----  ------",
        "a        1.5",
        "long  12,346",
    ]


def test_what_is_not_available_is_na() -> None:
    assert shown(None) == "n/a"
    assert table(("x",), [(None,), (2,)]).splitlines()[2:] == ["n/a", "  2"]


def test_no_text_can_steer_the_terminal() -> None:
    assert not {"\x1b", "\n", "\x9b"} & set(shown("\x1b[2Jtwo\nlines\x9b"))


def test_an_empty_table_has_its_header() -> None:
    assert table(("a", "b"), []).splitlines() == ["a  b", "-  -"]
