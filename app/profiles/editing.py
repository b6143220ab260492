"""One value of a profile's text put in, changed or taken out; the rest of the text, comments too, stays as it is.

Where that cannot be done in place, the whole is written anew: what it says stays, its comments go.
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
"""As a value: the key or item is taken out."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WIDTH = 120
_INDENT = 2


class Edited(msgspec.Struct, frozen=True):
    """`is_anew` where comments were lost."""

    text: str
    is_anew: bool = False


def edit(text: str, path: KeyPath, value: Any) -> Edited:
    """`text` is a right document. Raises KeyError where no holder has a place for `path`."""
    tree = read_document(text.encode(), "profile").value
    return rewritten(text, with_value({} if tree is None else tree, path, value))


def rewritten(text: str, wanted: dict[str, Any]) -> Edited:
    """`text`, a right document, made to say `wanted`: what is the same in both is not touched."""
    made = text
    for path, value in list(_changes(_read(text), wanted, ())):
        put = _changed(made, path, value)
        if put is None:
            return Edited(as_text(wanted), is_anew=True)
        made = put
    return Edited(made) if _says(made, wanted) else Edited(as_text(wanted), is_anew=True)


def _changed(text: str, path: KeyPath, value: Any) -> str | None:
    wanted = with_value(_read(text), path, value)
    for attempt in (_in_place, _by_holder):
        try:
            made = attempt(text, path, value, wanted)
        except (yaml.YAMLError, LookupError):
            continue
        if made is not None and _says(made, wanted):
            return made
    return None


def _changes(old: Any, new: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """The fewest values to put in or take out, in an order in which each can be done."""
    if isinstance(old, dict) and isinstance(new, dict) and new:
        for key in [key for key in old if key not in new]:
            yield (*path, key), REMOVED
        for key, value in new.items():
            yield from _changes(old[key], value, (*path, key)) if key in old else [((*path, key), value)]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _changes(one, other, (*path, at))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) + 1:
        yield from _one_less(old, new, path)
    elif isinstance(old, list) and isinstance(new, list) and _begins_so(new, old):
        yield from (((*path, at), new[at]) for at in range(len(old), len(new)))
    elif not _same(old, new):
        yield path, new


def _begins_so(new: list[Any], old: list[Any]) -> bool:
    return 0 < len(old) < len(new) and _same(old, new[: len(old)])


def _one_less(old: list[Any], new: list[Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    at = next((at for at in range(len(new)) if not _same(old[at], new[at])), len(new))
    if _same(old[at + 1 :], new[at:]):
        yield (*path, at), REMOVED
    else:
        yield path, new


def _read(text: str) -> Any:
    tree = read_document(text.encode(), "profile").value
    return {} if tree is None else tree


def with_value(tree: Any, path: KeyPath, value: Any) -> Any:
    """A copy in which `path` has `value`; what lacks on the way is made."""
    if not path:
        return copy.deepcopy(value)
    nothing: Any = [] if isinstance(path[0], int) else {}
    made = copy.copy(tree) if isinstance(tree, dict | list) else nothing
    first, *rest = path
    if isinstance(made, list):
        return _with_item(made, first, tuple(rest), value)
    if value is REMOVED:
        if first in made and (not rest or not isinstance(made[first], dict | list)):
            del made[first]
        elif first in made:
            made[first] = with_value(made[first], tuple(rest), value)
        return made
    made[str(first)] = with_value(made.get(str(first)), tuple(rest), value)
    return made


def _with_item(items: list[Any], at: str | int, rest: KeyPath, value: Any) -> list[Any]:
    if not isinstance(at, int) or at > len(items):
        raise KeyError(at)
    if value is REMOVED and not rest:
        return [*items[:at], *items[at + 1 :]]
    held = items[at] if at < len(items) else None
    return [*items[:at], with_value(held, rest, value), *items[at + 1 :]]


def value_at(tree: Any, path: KeyPath) -> Any:
    """REMOVED where there is none."""
    for key in path:
        if isinstance(tree, dict) and isinstance(key, str):
            tree = tree.get(key, REMOVED)
        elif isinstance(tree, list) and isinstance(key, int) and key < len(tree):
            tree = tree[key]
        else:
            return REMOVED
    return tree


def as_text(tree: Any) -> str:
    """The whole as a profile is written: a block of keys, small things in one line."""
    return _block(tree, 0)


def in_line(value: Any) -> str:
    """As it stands behind a colon."""
    flow = yaml.dump(
        value, Dumper=PlainDumper, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False
    )
    return flow.removesuffix("\n").removesuffix("\n...")


def _in_place(text: str, path: KeyPath, value: Any, wanted: Any) -> str | None:
    """Where the value stands now, or at the end of the mapping that lacks it."""
    del wanted
    node, key_node, holder = _find(text, path)
    if value is REMOVED:
        return None if node is None else _without(text, path, holder)
    if node is not None:
        return _put(text, node, key_node, value)
    if isinstance(holder, yaml.SequenceNode) and holder.value:
        return _appended(text, holder, value)
    if isinstance(holder, yaml.MappingNode) and isinstance(path[-1], str):
        return _added(text, holder, path[-1], value)
    return None


def _by_holder(text: str, path: KeyPath, value: Any, wanted: Any) -> str | None:
    """The nearest holder that stands in the text is written anew."""
    del value
    for length in range(len(path) - 1, 0, -1):
        node, key_node, holder = _find(text, path[:length])
        whole = value_at(wanted, path[:length])
        if node is not None:
            return _put(text, node, key_node, whole)
        if isinstance(holder, yaml.MappingNode) and isinstance(path[length - 1], str):
            return _added(text, holder, str(path[length - 1]), whole)
    return None


def _find(text: str, path: KeyPath) -> tuple[yaml.Node | None, yaml.Node | None, yaml.Node | None]:
    """The value's node, its key's, and what holds it; None where the text has none."""
    node, key_node, holder = yaml.compose(text, Loader=_LOADER), None, None
    for key in path:
        holder, node_here, key_node = node, None, None
        if isinstance(holder, yaml.MappingNode):
            for one, held in holder.value:
                if one.value == key:
                    key_node, node_here = one, held
        elif isinstance(holder, yaml.SequenceNode) and isinstance(key, int) and key < len(holder.value):
            node_here = holder.value[key]
        if node_here is None and key != path[-1]:
            return None, None, None
        node = node_here
        if node is None:
            break
    return node, key_node, holder


def _put(text: str, node: yaml.Node, key_node: yaml.Node | None, value: Any) -> str | None:
    """In place of `node`, whose key is `key_node`."""
    start, end = node.start_mark.index, node.end_mark.index
    is_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    if is_block and isinstance(value, dict | list) and value:
        return _put_block(text, node, value)
    if is_block or (isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")):
        if key_node is None:
            return None
        colon = text.index(":", key_node.end_mark.index) + 1
        return text[:colon] + f" {in_line(value)}" + text[_end_of(text, node) :]
    gap = " " if start == end and not text[:start].endswith((" ", "\n")) else ""
    return text[:start] + gap + in_line(value) + text[end:]


def _put_block(text: str, node: yaml.Node, value: Any) -> str | None:
    column = node.start_mark.column
    start, end = node.start_mark.index, _end_of(text, node)
    return text[:start] + _block(value, column).strip(" ").removesuffix("\n") + text[end:]


def _end_of(text: str, node: yaml.Node) -> int:
    """Behind the last letter of its last scalar: a block's own end is where the next thing begins."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end = node.end_mark.index
    return len(text[:end].rstrip()) if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") else end


def _added(text: str, holder: yaml.MappingNode, key: str, value: Any) -> str:
    if holder.flow_style:
        end = holder.end_mark.index - 1
        comma = ", " if holder.value else ""
        return text[:end].rstrip() + f"{comma}{in_line(key)}: {in_line(value)}" + text[end:]
    after = _line_end(text, _end_of(text, holder))
    newline = "" if text[:after].endswith("\n") else "\n"
    return text[:after] + newline + _entry(key, value, holder.start_mark.column) + text[after:]


def _appended(text: str, holder: yaml.SequenceNode, value: Any) -> str:
    if holder.flow_style:
        end = holder.end_mark.index - 1
        return text[:end].rstrip() + f", {in_line(value)}" + text[end:]
    after = _line_end(text, _end_of(text, holder))
    newline = "" if text[:after].endswith("\n") else "\n"
    return text[:after] + newline + _item(value, holder.start_mark.column) + text[after:]


def _without(text: str, path: KeyPath, holder: yaml.Node | None) -> str | None:
    if not isinstance(holder, yaml.CollectionNode) or len(holder.value) < 2:
        return None
    parts = [one if isinstance(one, tuple) else (one, one) for one in holder.value]
    last = path[-1]
    at = last if isinstance(last, int) else [key.value for key, _ in parts].index(last)
    if holder.flow_style:
        return _without_flow(text, parts, at)
    start = parts[at][0].start_mark.index
    begin = text.rfind("\n", 0, start) + 1
    if text[begin:start].strip() != ("" if isinstance(last, str) else "-"):
        return None
    return text[:begin] + text[_line_end(text, _end_of(text, parts[at][1])) :]


def _without_flow(text: str, parts: list[tuple[yaml.Node, yaml.Node]], at: int) -> str:
    if at + 1 < len(parts):
        return text[: parts[at][0].start_mark.index] + text[parts[at + 1][0].start_mark.index :]
    return text[: parts[at - 1][1].end_mark.index] + text[parts[at][1].end_mark.index :]


def _line_end(text: str, at: int) -> int:
    """Behind the end of the line that `at` is in."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _entry(key: str, value: Any, column: int) -> str:
    margin, flow = " " * column, in_line(value)
    is_long = len(flow) + len(key) + column + 2 > _WIDTH or "\n" in flow
    if isinstance(value, dict | list) and value and (is_long or _is_roomy(value)):
        return f"{margin}{in_line(key)}:\n{_block(value, column + _INDENT)}"
    return f"{margin}{in_line(key)}: {flow}\n"


def _is_roomy(value: Any) -> bool:
    """What people write over several lines: what holds holders, and lists of sentences."""
    if isinstance(value, dict):
        return any(isinstance(one, dict | list) and one for one in value.values()) or len(value) > 4
    return any(isinstance(one, dict) or (isinstance(one, str) and " " in one) for one in value)


def _block(value: Any, column: int) -> str:
    if isinstance(value, dict):
        return "".join(_entry(key, held, column) for key, held in value.items())
    return "".join(_item(one, column) for one in value)


def _item(value: Any, column: int) -> str:
    flow = in_line(value)
    if isinstance(value, dict) and value and len(flow) + column > _WIDTH:
        return f"{' ' * column}- {_block(value, column + _INDENT).lstrip(' ')}"
    return f"{' ' * column}- {flow}\n"


def _says(text: str, wanted: Any) -> bool:
    try:
        return _same(_read(text), wanted)
    except ProfileError:
        return False


def _same(one: Any, other: Any) -> bool:
    """As YAML tells them: 1 is not true, and 1 not 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    return type(one) is type(other) and one == other
