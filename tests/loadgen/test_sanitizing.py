import pytest

from loadgen.sanitizing import format_host_port, sanitize_line, sanitize_text


def test_printable_text_is_not_changed_by_sanitizing() -> None:
    assert sanitize_text("größe: 5 µs\nnext line") == "größe: 5 µs\nnext line"


def test_terminal_control_characters_are_replaced_by_spaces() -> None:
    assert sanitize_text("a\x1b[31mb\rc\x07\u202ed") == "a [31mb c  d"


def test_long_text_is_truncated_to_4000_characters() -> None:
    assert len(sanitize_text("x" * 10**6)) == 4_000


@pytest.mark.parametrize("text", ["x" * 10**5, "x \n" * 33_000, "\x1b" * 10**5])
def test_long_line_ends_with_its_length(text: str) -> None:
    line = sanitize_line(text, 300)
    assert len(line) <= 300
    assert line.endswith(f"… ({len(text):,} characters)")
    assert sanitize_line(line, 300) == line


def test_short_line_has_single_spaces() -> None:
    assert sanitize_line(" one\n two\t", 300) == "one two"


def test_ipv6_address_is_bracketed_before_port() -> None:
    assert (format_host_port("10.0.0.1", 5557), format_host_port("::1", 5557)) == ("10.0.0.1:5557", "[::1]:5557")
