import pytest

from loadgen.sanitizing import format_host_port, sanitize_line, sanitize_text


def test_words_and_lines_stay_as_they_are() -> None:
    assert sanitize_text("größe: 5 µs\nnext line") == "größe: 5 µs\nnext line"


def test_what_a_terminal_would_execute_is_no_word() -> None:
    assert sanitize_text("a\x1b[31mb\rc\x07\u202ed") == "a [31mb c  d"


def test_nothing_is_without_end() -> None:
    assert len(sanitize_text("x" * 10**6)) == 4_000


@pytest.mark.parametrize("text", ["x" * 10**5, "x \n" * 33_000, "\x1b" * 10**5])
def test_a_long_line_ends_with_its_length(text: str) -> None:
    line = sanitize_line(text, 300)
    assert len(line) <= 300
    assert line.endswith(f"… ({len(text):,} characters)")
    assert sanitize_line(line, 300) == line


def test_a_short_line_is_only_joined() -> None:
    assert sanitize_line(" one\n two\t", 300) == "one two"


def test_an_address_of_colons_is_set_apart_from_its_port() -> None:
    assert (format_host_port("10.0.0.1", 5557), format_host_port("::1", 5557)) == ("10.0.0.1:5557", "[::1]:5557")
