"""Set, change or remove one value in the text of a profile, without changing the rest of the text
or its comments.

If an edit in place is impossible, the whole text is rewritten: all values are preserved, but
comments are lost.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from app.errors import ProfileError
from app.profiles.document import KeyPath, PlainDumper, read_document

REMOVED: Any = object()
"""Marker used in place of a value to remove a key or an item from a profile."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WIDTH = 120
_INDENT = 2


class EditedText(msgspec.Struct, frozen=True):
    """Edited text of a profile. `is_rewritten` is true if the whole text was rewritten, so that
    comments were lost."""

    text: str
    is_rewritten: bool = False


def edit(text: str, path: KeyPath, value: Any) -> EditedText:
    """Set the value at `path` in a valid document `text`. Raises KeyError if `path` cannot exist in
    the document."""
    tree = read_document(text.encode(), "profile").value
    return rewrite(text, set_value({} if tree is None else tree, path, value))


def rewrite(text: str, new_tree: dict[str, Any]) -> EditedText:
    """Change a valid document `text` to have the values of `new_tree`, without touching values that
    are already equal."""
    edited_text = text
    for path, value in list(_list_changes(_read_tree(text), new_tree, ())):
        changed_text = _apply_change(edited_text, path, value)
        if changed_text is None:
            return EditedText(format_profile(new_tree), is_rewritten=True)
        edited_text = changed_text
    return (
        EditedText(edited_text)
        if _is_equivalent(edited_text, new_tree)
        else EditedText(format_profile(new_tree), is_rewritten=True)
    )


def _apply_change(text: str, path: KeyPath, value: Any) -> str | None:
    expected_tree = set_value(_read_tree(text), path, value)
    for apply_edit in (_edit_in_place, _rewrite_container):
        try:
            edited_text = apply_edit(text, path, value, expected_tree)
        except (yaml.YAMLError, LookupError):
            continue
        if edited_text is not None and _is_equivalent(edited_text, expected_tree):
            return edited_text
    return None


def _list_changes(old_value: Any, new_value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield a minimal list of values to set or remove, in an order in which each change can be
    applied."""
    if isinstance(old_value, dict) and isinstance(new_value, dict) and new_value:
        for key in [key for key in old_value if key not in new_value]:
            yield (*path, key), REMOVED
        for key, value in new_value.items():
            yield from (
                _list_changes(old_value[key], value, (*path, key)) if key in old_value else [((*path, key), value)]
            )
    elif isinstance(old_value, list) and isinstance(new_value, list) and len(old_value) == len(new_value):
        for index, (old_item, new_item) in enumerate(zip(old_value, new_value, strict=True)):
            yield from _list_changes(old_item, new_item, (*path, index))
    elif isinstance(old_value, list) and isinstance(new_value, list) and len(old_value) == len(new_value) + 1:
        yield from _list_removal(old_value, new_value, path)
    elif isinstance(old_value, list) and isinstance(new_value, list) and _starts_with(new_value, old_value):
        yield from (((*path, index), new_value[index]) for index in range(len(old_value), len(new_value)))
    elif not _is_equal(old_value, new_value):
        yield path, new_value


def _starts_with(items: list[Any], prefix: list[Any]) -> bool:
    return 0 < len(prefix) < len(items) and _is_equal(prefix, items[: len(prefix)])


def _list_removal(old_items: list[Any], new_items: list[Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    index = next(
        (index for index in range(len(new_items)) if not _is_equal(old_items[index], new_items[index])), len(new_items)
    )
    if _is_equal(old_items[index + 1 :], new_items[index:]):
        yield (*path, index), REMOVED
    else:
        yield path, new_items


def _read_tree(text: str) -> Any:
    tree = read_document(text.encode(), "profile").value
    return {} if tree is None else tree


def set_value(tree: Any, path: KeyPath, value: Any) -> Any:
    """Return a copy of `tree` with `value` at `path`. Missing mappings and lists along the path are
    created."""
    if not path:
        return copy.deepcopy(value)
    empty_container: Any = [] if isinstance(path[0], int) else {}
    copied_tree = copy.copy(tree) if isinstance(tree, dict | list) else empty_container
    key, *remaining_path = path
    if isinstance(copied_tree, list):
        return _set_item(copied_tree, key, tuple(remaining_path), value)
    if value is REMOVED:
        if key in copied_tree and (not remaining_path or not isinstance(copied_tree[key], dict | list)):
            del copied_tree[key]
        elif key in copied_tree:
            copied_tree[key] = set_value(copied_tree[key], tuple(remaining_path), value)
        return copied_tree
    copied_tree[str(key)] = set_value(copied_tree.get(str(key)), tuple(remaining_path), value)
    return copied_tree


def _set_item(items: list[Any], index: str | int, remaining_path: KeyPath, value: Any) -> list[Any]:
    if not isinstance(index, int) or index > len(items):
        raise KeyError(index)
    if value is REMOVED and not remaining_path:
        return [*items[:index], *items[index + 1 :]]
    item = items[index] if index < len(items) else None
    return [*items[:index], set_value(item, remaining_path, value), *items[index + 1 :]]


def get_value(tree: Any, path: KeyPath) -> Any:
    """Return the value at `path`; REMOVED if there is no such value."""
    for key in path:
        if isinstance(tree, dict) and isinstance(key, str):
            tree = tree.get(key, REMOVED)
        elif isinstance(tree, list) and isinstance(key, int) and key < len(tree):
            tree = tree[key]
        else:
            return REMOVED
    return tree


def format_profile(tree: Any) -> str:
    """Format a whole profile as YAML in the usual style: keys in block style, small values on one
    line."""
    return _format_block(tree, 0)


def format_inline(value: Any) -> str:
    """Format a value as YAML on one line, for use after a key."""
    flow_text = yaml.dump(
        value, Dumper=PlainDumper, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False
    )
    return flow_text.removesuffix("\n").removesuffix("\n...")


def _edit_in_place(text: str, path: KeyPath, value: Any, expected_tree: Any) -> str | None:
    """Replace or remove the value at `path` in the text, or append a new value to its mapping or
    list. Return the new text, or `None` if that is impossible."""
    del expected_tree
    node, key_node, container = _find_nodes(text, path)
    if value is REMOVED:
        return None if node is None else _delete_entry(text, path, container)
    if node is not None:
        return _replace_node(text, node, key_node, value)
    if isinstance(container, yaml.SequenceNode) and container.value:
        return _append_item(text, container, value)
    if isinstance(container, yaml.MappingNode) and isinstance(path[-1], str):
        return _append_key(text, container, path[-1], value)
    return None


def _rewrite_container(text: str, path: KeyPath, value: Any, expected_tree: Any) -> str | None:
    """Rewrite the nearest mapping or list around `path` that exists in the text. Return the new
    text, or `None` if no such container exists."""
    del value
    for length in range(len(path) - 1, 0, -1):
        node, key_node, container = _find_nodes(text, path[:length])
        container_value = get_value(expected_tree, path[:length])
        if node is not None:
            return _replace_node(text, node, key_node, container_value)
        if isinstance(container, yaml.MappingNode) and isinstance(path[length - 1], str):
            return _append_key(text, container, str(path[length - 1]), container_value)
    return None


def _find_nodes(text: str, path: KeyPath) -> tuple[yaml.Node | None, yaml.Node | None, yaml.Node | None]:
    """Return three YAML nodes for `path`: the value, its key and the container of both. Each is
    `None` if it does not exist."""
    node, key_node, container = yaml.compose(text, Loader=_LOADER), None, None
    for key in path:
        container, child_node, key_node = node, None, None
        if isinstance(container, yaml.MappingNode):
            for candidate, value_node in container.value:
                if candidate.value == key:
                    key_node, child_node = candidate, value_node
        elif isinstance(container, yaml.SequenceNode) and isinstance(key, int) and key < len(container.value):
            child_node = container.value[key]
        if child_node is None and key != path[-1]:
            return None, None, None
        node = child_node
        if node is None:
            break
    return node, key_node, container


def _replace_node(text: str, node: yaml.Node, key_node: yaml.Node | None, value: Any) -> str | None:
    """Replace `node`, whose key is `key_node`, by `value`. Return the new text, or `None` if the
    node cannot be replaced in place."""
    start, end = node.start_mark.index, node.end_mark.index
    is_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    if is_block and isinstance(value, dict | list) and value:
        return _replace_block(text, node, value)
    if is_block or (isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")):
        if key_node is None:
            return None
        value_start = text.index(":", key_node.end_mark.index) + 1
        return text[:value_start] + f" {format_inline(value)}" + text[_find_node_end(text, node) :]
    separator = " " if start == end and not text[:start].endswith((" ", "\n")) else ""
    return text[:start] + separator + format_inline(value) + text[end:]


def _replace_block(text: str, node: yaml.Node, value: Any) -> str | None:
    column = node.start_mark.column
    start, end = node.start_mark.index, _find_node_end(text, node)
    return text[:start] + _format_block(value, column).strip(" ").removesuffix("\n") + text[end:]


def _find_node_end(text: str, node: yaml.Node) -> int:
    """Return the position after the last character of the node's last scalar.

    The end mark of a block node cannot be used, because it is the start of the next node.
    """
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last_entry = node.value[-1]
        node = last_entry[1] if isinstance(last_entry, tuple) else last_entry
    end = node.end_mark.index
    return len(text[:end].rstrip()) if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") else end


def _append_key(text: str, container: yaml.MappingNode, key: str, value: Any) -> str:
    if container.flow_style:
        end = container.end_mark.index - 1
        separator = ", " if container.value else ""
        return text[:end].rstrip() + f"{separator}{format_inline(key)}: {format_inline(value)}" + text[end:]
    insert_position = _find_line_end(text, _find_node_end(text, container))
    newline = "" if text[:insert_position].endswith("\n") else "\n"
    return (
        text[:insert_position]
        + newline
        + _format_entry(key, value, container.start_mark.column)
        + text[insert_position:]
    )


def _append_item(text: str, container: yaml.SequenceNode, value: Any) -> str:
    if container.flow_style:
        end = container.end_mark.index - 1
        return text[:end].rstrip() + f", {format_inline(value)}" + text[end:]
    insert_position = _find_line_end(text, _find_node_end(text, container))
    newline = "" if text[:insert_position].endswith("\n") else "\n"
    return text[:insert_position] + newline + _format_item(value, container.start_mark.column) + text[insert_position:]


def _delete_entry(text: str, path: KeyPath, container: yaml.Node | None) -> str | None:
    if not isinstance(container, yaml.CollectionNode) or len(container.value) < 2:
        return None
    entries = [entry if isinstance(entry, tuple) else (entry, entry) for entry in container.value]
    last_key = path[-1]
    index = last_key if isinstance(last_key, int) else [key.value for key, _ in entries].index(last_key)
    if container.flow_style:
        return _delete_flow_entry(text, entries, index)
    start = entries[index][0].start_mark.index
    line_start = text.rfind("\n", 0, start) + 1
    if text[line_start:start].strip() != ("" if isinstance(last_key, str) else "-"):
        return None
    return text[:line_start] + text[_find_line_end(text, _find_node_end(text, entries[index][1])) :]


def _delete_flow_entry(text: str, entries: list[tuple[yaml.Node, yaml.Node]], index: int) -> str:
    if index + 1 < len(entries):
        return text[: entries[index][0].start_mark.index] + text[entries[index + 1][0].start_mark.index :]
    return text[: entries[index - 1][1].end_mark.index] + text[entries[index][1].end_mark.index :]


def _find_line_end(text: str, position: int) -> int:
    """Return the position after the end of the line that contains `position`."""
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _format_entry(key: str, value: Any, column: int) -> str:
    margin, flow_text = " " * column, format_inline(value)
    is_long = len(flow_text) + len(key) + column + 2 > _WIDTH or "\n" in flow_text
    if isinstance(value, dict | list) and value and (is_long or _is_multiline(value)):
        return f"{margin}{format_inline(key)}:\n{_format_block(value, column + _INDENT)}"
    return f"{margin}{format_inline(key)}: {flow_text}\n"


def _is_multiline(value: Any) -> bool:
    """Return whether a value is usually written on several lines: a nested container or a list of
    sentences."""
    if isinstance(value, dict):
        return any(isinstance(item, dict | list) and item for item in value.values()) or len(value) > 4
    return any(isinstance(item, dict) or (isinstance(item, str) and " " in item) for item in value)


def _format_block(value: Any, column: int) -> str:
    if isinstance(value, dict):
        return "".join(_format_entry(key, item, column) for key, item in value.items())
    return "".join(_format_item(item, column) for item in value)


def _format_item(value: Any, column: int) -> str:
    flow_text = format_inline(value)
    if isinstance(value, dict) and value and len(flow_text) + column > _WIDTH:
        return f"{' ' * column}- {_format_block(value, column + _INDENT).lstrip(' ')}"
    return f"{' ' * column}- {flow_text}\n"


def _is_equivalent(text: str, expected_tree: Any) -> bool:
    try:
        return _is_equal(_read_tree(text), expected_tree)
    except ProfileError:
        return False


def _is_equal(first: Any, second: Any) -> bool:
    """Compare two values by value and type, as in YAML: 1 differs from true, and 1 differs from
    1.0."""
    if isinstance(first, dict) and isinstance(second, dict):
        return set(first) == set(second) and all(_is_equal(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(
            _is_equal(first_item, second_item) for first_item, second_item in zip(first, second, strict=True)
        )
    return type(first) is type(second) and first == second
