from loadgen.plain import plain_text


def test_words_and_lines_stay_as_they_are() -> None:
    assert plain_text("größe: 5 µs\nnext line") == "größe: 5 µs\nnext line"


def test_what_a_terminal_would_obey_is_no_word() -> None:
    assert plain_text("a\x1b[31mb\rc\x07\u202ed") == "a [31mb c  d"


def test_nothing_is_without_end() -> None:
    assert len(plain_text("x" * 10**6)) == 4_000
