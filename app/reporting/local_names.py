"""What variants of one run are called: what tells them from one another, and what they share."""

from __future__ import annotations

from collections.abc import Sequence

from app.records.estimate import Variant


def common_of(variants: Sequence[Variant]) -> str:
    """As in `digits on cpu, 1 stream, 1 thread`."""
    first = variants[0]
    parts = [
        (f"{first.model} on {first.provider}", {(one.model, one.provider) for one in variants}),
        (first.model, {one.model for one in variants}),
        (f"on {first.provider}", {one.provider for one in variants}),
    ]
    head = [words for words, found in parts if len(found) == 1][:1]
    return ", ".join([*head, *(words for words, found in _settings(first, variants) if len(found) == 1)])


def names_of(variants: Sequence[Variant]) -> dict[Variant, str]:
    """As in `int8-static, batch 8`; the variant's own label where there is but one."""
    if len(set(variants)) == 1:
        return {variants[0]: variants[0].label}
    return {one: _name(one, variants) for one in variants}


def families_of(variants: Sequence[Variant]) -> dict[Variant, str]:
    """Names without the batch, for lines that run over it."""
    bare = [_without_batch(one) for one in variants]
    names = names_of(bare)
    return {one: names[without] for one, without in zip(variants, bare, strict=True)}


def _without_batch(variant: Variant) -> Variant:
    return Variant(
        variant.model, variant.provider, variant.precision, 0, variant.threads, variant.streams, variant.devices
    )


def _name(one: Variant, variants: Sequence[Variant]) -> str:
    heads = [
        (one.model, {other.model for other in variants}),
        (one.provider, {other.provider for other in variants}),
    ]
    return ", ".join(
        [" ".join([words for words, found in heads if len(found) > 1])]
        * (len(heads[0][1]) > 1 or len(heads[1][1]) > 1)
        + [words for words, found in _settings(one, variants) if len(found) > 1]
    )


def _settings(one: Variant, variants: Sequence[Variant]) -> list[tuple[str, set[object]]]:
    """Each setting in words, and its values among all variants."""
    return [
        (one.precision, {other.precision for other in variants}),
        (f"batch {one.batch}", {other.batch for other in variants}),
        (_counted(one.streams, "stream"), {other.streams for other in variants}),
        (_threads(one), {other.threads for other in variants}),
        (_devices(one), {other.devices for other in variants}),
    ]


def _threads(one: Variant) -> str:
    return _counted(one.threads, "thread") if one.threads else "threads by the runtime's choice"


def _devices(one: Variant) -> str:
    return f"devices {' + '.join(one.devices)}" if one.devices else "no device named"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
