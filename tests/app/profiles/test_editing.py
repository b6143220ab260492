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


def tree_of(text: str) -> Any:
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
def test_one_value_is_changed_and_the_rest_stays(path: KeyPath, value: Any, line: str) -> None:
    edited = edit(TEXT, path, value)
    assert not edited.is_rewritten
    assert line in edited.text
    assert tree_of(edited.text) == set_value(tree_of(TEXT), path, value)
    assert edited.text.startswith("# What this is about.\n")


def test_a_list_that_changes_in_one_item_keeps_the_comments_of_the_others() -> None:
    stages = tree_of(TEXT)["load"]["stages"]
    edited = edit(TEXT, ("load", "stages"), [stages[0], {**stages[1], "rate": "7/s"}])
    assert "# the first" in edited.text
    assert "      rate: 7/s\n" in edited.text


def test_a_list_that_grows_keeps_its_comments() -> None:
    stages = tree_of(TEXT)["load"]["stages"]
    edited = edit(TEXT, ("load", "stages"), [*stages, {"name": "three", "concurrency": 2, "duration": "1s"}])
    assert not edited.is_rewritten
    assert "# the first" in edited.text
    assert "- {name: three, concurrency: 2, duration: 1s}\nslo:" in edited.text


def test_an_empty_document_takes_a_value() -> None:
    assert edit("", ("name",), "x").text == "name: x\n"


def test_a_place_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        edit(TEXT, ("slo", 7), "x")


@pytest.mark.parametrize("name", bundled_profiles())
def test_a_bundled_profile_written_anew_says_the_same(name: str) -> None:
    tree = tree_of(bundled_profiles()[name].read_text())
    assert tree_of(format_profile(tree)) == tree


WORDS = ["30s", "1", "true", "no", "~", "a: b", "- x", "#", "{{a}}", "latency_ms.p95 < 50", "", " x ", "a\nb", "%", "@"]
NUMBERS = st.integers(-9, 10**6) | st.floats(-1e6, 1e6)
LEAF = st.none() | st.booleans() | NUMBERS | st.text(max_size=12) | st.sampled_from(WORDS)
KEYS = st.sampled_from(["name", "load", "seed", "a b", "1", "true", "x"])
TREES = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def paths(tree: Any, path: KeyPath = ()) -> list[KeyPath]:
    held = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [*([path] if path else []), *(below for key, one in held for below in paths(one, (*path, key)))]


@functools.cache
def text_and_tree(name: str | None) -> tuple[str, Any]:
    text = TEXT if name is None else bundled_profiles()[name].read_text()
    return text, tree_of(text)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), value=TREES, name=st.sampled_from(["chat", "local-model", "quickstart", None]))
def test_any_value_at_any_place_is_what_the_text_then_says(data: st.DataObject, value: Any, name: str | None) -> None:
    text, tree = text_and_tree(name)
    path = data.draw(st.sampled_from([*paths(tree), ("new",), ("load", "new"), ("target", "new", "deep")]))
    value = data.draw(st.sampled_from([value, REMOVED]))
    changed = tree_of(edit(text, path, value).text)
    assert changed == set_value(tree, path, value)
    assert value is REMOVED or get_value(changed, path) == value


@settings(max_examples=60, deadline=None)
@given(wanted=st.dictionaries(KEYS, TREES, max_size=4))
def test_a_text_is_made_to_say_anything(wanted: dict[str, Any]) -> None:
    assert tree_of(rewrite(TEXT, wanted).text) == wanted or not wanted
