"""What variants of one run are called: what tells them from one another, and what they share."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.records.estimate import Variant

_HEAD = 3
"""Model, provider and precision are one word each, and need no comma between them."""


def common_of(variants: Sequence[Variant]) -> str:
    """What all of them share, as in `digits cpu, 1 stream, 1 thread`."""
    return _joined(variants[0], variants, shared=True) if variants else ""


def names_of(variants: Sequence[Variant]) -> dict[Variant, str]:
    """As in `int8-static, batch 8`; the variant's own label where there is but one."""
    if len(set(variants)) == 1:
        return {variants[0]: variants[0].label}
    return {one: _joined(one, variants, shared=False) for one in variants}


def families_of(variants: Sequence[Variant]) -> dict[Variant, str]:
    """Names without the batch, for lines that run over it; the model's where nothing else differs."""
    bare = [msgspec.structs.replace(one, batch=0) for one in variants]
    names = names_of(bare) if len(set(bare)) > 1 else {one: one.model for one in bare}
    return {one: names[without] for one, without in zip(variants, bare, strict=True)}


def _joined(one: Variant, variants: Sequence[Variant], *, shared: bool) -> str:
    others = [_settings(other) for other in variants]
    kept = [
        (words, place < _HEAD)
        for place, words in enumerate(_settings(one))
        if words and (len({other[place] for other in others}) == 1) is shared
    ]
    head = " ".join(words for words, is_head in kept if is_head)
    return ", ".join([*([head] if head else []), *(words for words, is_head in kept if not is_head)])


def _settings(one: Variant) -> tuple[str, ...]:
    return (
        one.model,
        one.provider,
        one.precision,
        f"batch {one.batch}",
        _counted(one.streams, "stream"),
        _counted(one.threads, "thread"),
        f"devices {' + '.join(one.devices)}" if one.devices else "",
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
