from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.profiles.bundled import bundled_profiles
from app.profiles.document import KeyPath, read_document
from app.profiles.editing import REMOVED, edit, format_profile, get_value, rewrite, set_value

TEXT = """\
# What this is about.
sizewise: 1
name: a-name            # the name
target: {protocol: http, url: "http://127.0.0.1:1/x"}   # here
limits:
  duration: 10m         # not longer
load:
  # two of them
  stages:
    - {name: one, rate: 10/s, duration: 5s}   # the first
    - name: two
      rate: 20/s
      duration: 5s
slo:
  - latency_ms.p95 < 50   # promised
  - error_rate < 1%
"""


def parse(text: str) -> Any:
    return read_document(text.encode(), "profile").value


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("name",), "other", "name: other            # the name\n"),
        (("target", "url"), "http://h/", 'target: {protocol: http, url: "http://127.0.0.1:1/x"}'.replace(
            '"http://127.0.0.1:1/x"', "http://h/") + "   # here\n"),
        (("target", "wake"), True, ", wake: true}   # here\n"),
        (("limits", "duration"), "1h", "  duration: 1h         # not longer\n"),
        (("limits", "requests"), 7, "  duration: 10m         # not longer\n  requests: 7\nload:\n"),
        (("limits", "duration"), REMOVED, "limits: {}         # not longer\nload:\n"),
        (("load", "stages", 0, "rate"), "99/s", "- {name: one, rate: 99/s, duration: 5s}   # the first\n"),
        (("load", "stages", 1, "rate"), "99/s", "      rate: 99/s\n"),
        (("load", "stages", 0), REMOVED, "  stages:\n    - name: two\n"),
        (("load", "seed"), 3, "      duration: 5s\n  seed: 3\nslo:\n"),
        (("slo", 1), REMOVED, "  - latency_ms.p95 < 50   # promised\n"),
        (("slo", 2), "x < 1", "  - error_rate < 1%\n  - x < 1\n"),
        (("slo", 0), "ttft_ms.p95 < 9", "  - ttft_ms.p95 < 9   # promised\n"),
        (("plan",), {"zones": 3}, "  - error_rate < 1%\nplan: {zones: 3}\n"),
        (("name",), "1", 'name: "1"            # the name\n'),
    ],
)  # fmt: skip
def test_edit_changes_one_value_and_preserves_the_rest(path: KeyPath, value: Any, line: str) -> None:
    edited = edit(TEXT, path, value)
    assert not edited.is_rewritten
    assert line in edited.text
    assert parse(edited.text) == set_value(parse(TEXT), path, value)
    assert edited.text.startswith("# What this is about.\n")


def test_edit_of_a_list_item_preserves_comments_of_other_items() -> None:
    stages = parse(TEXT)["load"]["stages"]
    edited = edit(TEXT, ("load", "stages"), [stages[0], {**stages[1], "rate": "7/s"}])
    assert "# the first" in edited.text
    assert "      rate: 7/s\n" in edited.text


def test_adding_a_list_item_preserves_comments() -> None:
    stages = parse(TEXT)["load"]["stages"]
    edited = edit(TEXT, ("load", "stages"), [*stages, {"name": "three", "concurrency": 2, "duration": "1s"}])
    assert not edited.is_rewritten
    assert "# the first" in edited.text
    assert "- {name: three, concurrency: 2, duration: 1s}\nslo:" in edited.text


def test_value_can_be_set_in_an_empty_document() -> None:
    assert edit("", ("name",), "x").text == "name: x\n"


def test_edit_of_a_missing_list_item_raises_key_error() -> None:
    with pytest.raises(KeyError):
        edit(TEXT, ("slo", 7), "x")


@pytest.mark.parametrize("name", bundled_profiles())
def test_reformatted_bundled_profile_has_the_same_values(name: str) -> None:
    tree = parse(bundled_profiles()[name].read_text())
    assert parse(format_profile(tree)) == tree


TEXTS = ["30s", "1", "true", "no", "~", "a: b", "- x", "#", "{{a}}", "latency_ms.p95 < 50", "", " x ", "a\nb", "%", "@"]
NUMBERS = st.integers(-9, 10**6) | st.floats(-1e6, 1e6)
LEAF = st.none() | st.booleans() | NUMBERS | st.text(max_size=12) | st.sampled_from(TEXTS)
KEYS = st.sampled_from(["name", "load", "seed", "a b", "1", "true", "x"])
TREES = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def paths(tree: Any, path: KeyPath = ()) -> list[KeyPath]:
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [
        *([path] if path else []),
        *(descendant for key, child in children for descendant in paths(child, (*path, key))),
    ]


@functools.cache
def text_and_tree(name: str | None) -> tuple[str, Any]:
    text = TEXT if name is None else bundled_profiles()[name].read_text()
    return text, parse(text)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), value=TREES, name=st.sampled_from(["chat", "local-model", "quickstart", None]))
def test_edited_text_parses_to_the_edited_tree(data: st.DataObject, value: Any, name: str | None) -> None:
    text, tree = text_and_tree(name)
    path = data.draw(st.sampled_from([*paths(tree), ("new",), ("load", "new"), ("target", "new", "deep")]))
    value = data.draw(st.sampled_from([value, REMOVED]))
    changed = parse(edit(text, path, value).text)
    assert changed == set_value(tree, path, value)
    assert value is REMOVED or get_value(changed, path) == value


@settings(max_examples=60, deadline=None)
@given(values=st.dictionaries(KEYS, TREES, max_size=4))
def test_rewritten_text_parses_to_any_requested_tree(values: dict[str, Any]) -> None:
    assert parse(rewrite(TEXT, values).text) == values or not values
