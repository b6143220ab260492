from __future__ import annotations

import sys

import yaml

from app.planning.exports.yaml_text import one_line, yaml_text


def test_no_character_of_a_comment_ends_it() -> None:
    for letter in map(chr, range(0x3000)):
        text = yaml_text([f"a{letter}b: c"], [{"only": 1}])
        assert list(yaml.safe_load_all(text)) == [{"only": 1}], repr(letter)
        assert len(text.splitlines()) == 3, repr(letter)
    for point in (0xD800, 0xFEFF, 0xFFFE, 0x1F600, sys.maxunicode):
        assert yaml.safe_load(yaml_text([chr(point)], [{"only": 1}])) == {"only": 1}


def test_a_line_is_cut_where_it_is_too_long() -> None:
    assert len(one_line("word " * 1000)) == 400
    assert one_line(" two\n  lines\t") == "two lines"


def test_the_order_is_kept_and_nothing_is_an_anchor() -> None:
    shared = {"z": 1, "a": 2}
    text = yaml_text([], [{"second": shared, "first": shared}])
    assert text == "---\nsecond:\n  z: 1\n  a: 2\nfirst:\n  z: 1\n  a: 2\n"
