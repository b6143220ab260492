"""Files of language models that attack their reader, none of them large on disk. Each maker writes into an empty folder
and returns the path to inspect.

`REFUSED_LANGUAGE_MODELS` maps each maker to a pattern of the error message."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.genai_folders import genai_folder
from tests.fakes.language_model_files import (
    Tensors,
    gguf_start,
    gguf_tensor,
    gguf_text,
    gguf_value,
    write_folder,
    write_gguf,
    write_header,
    write_safetensors,
)

Maker = Callable[[Path], Path]

_METADATA = {
    "general.architecture": "llama", "llama.block_count": 1, "llama.embedding_length": 64,
    "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.context_length": 128,
}  # fmt: skip
_TENSORS: Tensors = {"a": ("F32", (4, 4)), "b": ("F32", (2,))}
_FIRST, _SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
_CONFIG = {
    "num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 8,
}  # fmt: skip


def _written(folder: Path, content: bytes, name: str = "model.gguf", size: int | None = None) -> Path:
    path = folder / name
    with path.open("wb") as file:
        file.write(content)
        if size is not None:
            file.truncate(size)
    return path


def _gguf(folder: Path, *keys: bytes, tensors: bytes = b"", tensor_count: int = 0, size: int = 4096) -> Path:
    return _written(folder, gguf_start(tensor_count, len(keys)) + b"".join(keys) + tensors, size=size)


def _key(name: str, value: Any) -> bytes:
    return gguf_text(name) + gguf_value(value)


def _array(element_type: int, length: int, content: bytes = b"") -> bytes:
    return struct.pack("<IIQ", 9, element_type, length) + content


def gguf_another_magic(folder: Path) -> Path:
    return _written(folder, gguf_start(0, 0, magic=b"GGML"), size=4096)


def gguf_empty(folder: Path) -> Path:
    return _written(folder, b"")


def gguf_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "model.gguf")
    return folder / "model.gguf"


def gguf_missing(folder: Path) -> Path:
    return folder / "model.gguf"


def gguf_big_endian(folder: Path) -> Path:
    return _written(folder, b"GGUF" + struct.pack(">IQQ", 3, 0, 0), size=64)


def gguf_version_1(folder: Path) -> Path:
    return _written(folder, gguf_start(0, 0, version=1), size=64)


def gguf_cut_short(folder: Path) -> Path:
    path = write_gguf(folder / "model.gguf", _METADATA, {"token_embd.weight": (1, (64, 8))})
    os.truncate(path, 120)
    return path


def gguf_without_its_weights(folder: Path) -> Path:
    path = write_gguf(folder / "model.gguf", _METADATA, {"token_embd.weight": (1, (64, 8))})
    os.truncate(path, path.stat().st_size - 1)
    return path


def gguf_countless_keys(folder: Path) -> Path:
    return _written(folder, gguf_start(0, 2**63), size=4096)


def gguf_countless_tensors(folder: Path) -> Path:
    return _written(folder, gguf_start(2**64 - 1, 0), size=4096)


def gguf_a_name_of_an_exabyte(folder: Path) -> Path:
    return _gguf(folder, struct.pack("<Q", 2**60))


def gguf_a_text_of_an_exabyte(folder: Path) -> Path:
    return _gguf(folder, gguf_text("a") + struct.pack("<IQ", 8, 2**63))


def gguf_texts_that_wrap_around(folder: Path) -> Path:
    return _gguf(folder, gguf_text("a") + _array(8, 3, struct.pack("<QQ", 2**64 - 8, 2**64 - 8)))


def gguf_an_endless_array(folder: Path) -> Path:
    return _gguf(folder, gguf_text("a") + _array(0, 2**62))


def gguf_a_text_in_a_hole(folder: Path) -> Path:
    """A terabyte of zeros, which takes no room on disk."""
    return _gguf(folder, gguf_text("a") + struct.pack("<IQ", 8, 2**39), size=2**40)


def gguf_arrays_in_arrays(folder: Path) -> Path:
    nested = struct.pack("<IQ", 9, 1) * 5_000
    return _gguf(folder, gguf_text("a") + struct.pack("<I", 9) + nested, size=200_000)


def gguf_an_unknown_value(folder: Path) -> Path:
    return _gguf(folder, gguf_text("a") + struct.pack("<I", 99))


def gguf_a_key_twice(folder: Path) -> Path:
    return _gguf(folder, _key("a", 1), _key("a", 2))


def gguf_names_that_are_no_text(folder: Path) -> Path:
    return _gguf(folder, gguf_text(b"\xff\xfe") + gguf_value(1))


def gguf_no_alignment(folder: Path) -> Path:
    return _gguf(folder, _key("general.alignment", 0))


def gguf_an_unknown_type(folder: Path) -> Path:
    return _gguf(folder, tensors=gguf_tensor("\x1b[2Jgone", 4, (32,), 0), tensor_count=1)


def gguf_an_overflowing_tensor(folder: Path) -> Path:
    return _gguf(folder, tensors=gguf_tensor("w", 0, (2**62, 2**62), 0), tensor_count=1)


def gguf_an_overflowing_offset(folder: Path) -> Path:
    return _gguf(folder, tensors=gguf_tensor("w", 0, (4,), 2**64 - 32), tensor_count=1)


def gguf_an_odd_offset(folder: Path) -> Path:
    return _gguf(folder, tensors=gguf_tensor("w", 0, (4,), 8), tensor_count=1)


def gguf_overlapping_tensors(folder: Path) -> Path:
    tensors = gguf_tensor("w", 0, (32,), 0) + gguf_tensor("v", 0, (32,), 32)
    return _gguf(folder, tensors=tensors, tensor_count=2)


def gguf_a_tensor_twice(folder: Path) -> Path:
    tensors = gguf_tensor("w", 0, (8,), 0) + gguf_tensor("w", 0, (8,), 32)
    return _gguf(folder, tensors=tensors, tensor_count=2)


def gguf_half_a_block(folder: Path) -> Path:
    return _gguf(folder, tensors=gguf_tensor("w", 12, (100, 2), 0), tensor_count=1)


def gguf_a_crowd_of_axes(folder: Path) -> Path:
    return _gguf(folder, tensors=gguf_tensor("w", 0, (1,) * 9, 0), tensor_count=1)


def gguf_no_heads(folder: Path) -> Path:
    return write_gguf(folder / "model.gguf", _METADATA | {"llama.attention.head_count": 0}, {})


def gguf_more_kv_heads_than_heads(folder: Path) -> Path:
    return write_gguf(folder / "model.gguf", _METADATA | {"llama.attention.head_count_kv": 64}, {})


def gguf_a_text_for_a_number(folder: Path) -> Path:
    return write_gguf(folder / "model.gguf", _METADATA | {"llama.block_count": "many\x1b[2J"}, {})


def gguf_a_shard_without_the_others(folder: Path) -> Path:
    metadata = _METADATA | {"split.count": 3, "split.no": 0}
    return write_gguf(folder / "model-00001-of-00003.gguf", metadata, {})


def gguf_a_shard_that_is_a_link(folder: Path) -> Path:
    outside = write_gguf(folder.parent / f"{folder.name}-outside.gguf", _METADATA, {})
    (folder / "model-00002-of-00002.gguf").symlink_to(outside)
    return write_gguf(folder / "model-00001-of-00002.gguf", _METADATA | {"split.count": 2, "split.no": 0}, {})


def safetensors_cut_short(folder: Path) -> Path:
    path = write_safetensors(folder / "model.safetensors", _TENSORS)
    os.truncate(path, 40)
    return path


def safetensors_shorter_than_a_length(folder: Path) -> Path:
    return _written(folder, b"\0\0\0", "model.safetensors")


def safetensors_an_endless_header(folder: Path) -> Path:
    return write_header(folder / "model.safetensors", b"{}", 2**40, declared_bytes=2**39)


def safetensors_a_header_of_zeros(folder: Path) -> Path:
    return write_header(folder / "model.safetensors", b"\0" * 64, 64)


def safetensors_a_hole(folder: Path) -> Path:
    return write_header(folder / "model.safetensors", b"", 2**30, declared_bytes=90_000_000)


def safetensors_deep_json(folder: Path) -> Path:
    return write_header(folder / "model.safetensors", b'{"__metadata__":' + b'{"a":' * 100_000, 64)


def safetensors_without_its_weights(folder: Path) -> Path:
    path = write_safetensors(folder / "model.safetensors", _TENSORS)
    os.truncate(path, path.stat().st_size - 1)
    return path


def safetensors_more_than_its_weights(folder: Path) -> Path:
    path = write_safetensors(folder / "model.safetensors", _TENSORS)
    os.truncate(path, path.stat().st_size + 1)
    return path


def _entry(dtype: Any, shape: Any, offsets: Any) -> Maker:
    def make(folder: Path) -> Path:
        entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        return write_header(folder / "model.safetensors", json.dumps({"w": entry}).encode(), 64)

    return make


def safetensors_overlapping_tensors(folder: Path) -> Path:
    entries = {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in ("a", "b")}
    return write_header(folder / "model.safetensors", json.dumps(entries).encode(), 16)


def safetensors_one_shard(folder: Path) -> Path:
    write_folder(folder, _TENSORS, _CONFIG, shards=2)
    return folder / "model-00001-of-00002.safetensors"


def _index(**files: str) -> Maker:
    """An index with the file of each tensor; the tensors are in two files."""

    def make(folder: Path) -> Path:
        write_folder(folder, _TENSORS, _CONFIG, shards=2)
        secret = folder.parent / f"{folder.name}-secret"
        secret.write_text("secret")
        index = {"weight_map": {tensor: name.format(secret=secret) for tensor, name in files.items()}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return make


def folder_with_a_linked_shard(folder: Path) -> Path:
    write_folder(folder, _TENSORS, _CONFIG)
    moved = folder.parent / f"{folder.name}-blob"
    (folder / "model.safetensors").rename(moved)
    (folder / "model.safetensors").symlink_to(moved)
    return folder


def folder_with_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "model.safetensors")
    return folder


def folder_with_a_linked_configuration(folder: Path) -> Path:
    write_folder(folder, _TENSORS, _CONFIG)
    secret = folder.parent / f"{folder.name}-secret"
    secret.write_text("{}")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(secret)
    return folder


def folder_with_deep_json(folder: Path) -> Path:
    write_folder(folder, _TENSORS, _CONFIG)
    (folder / "config.json").write_text('{"rope_scaling":' + "[" * 200_000)
    return folder


def folder_with_a_huge_configuration(folder: Path) -> Path:
    write_folder(folder, _TENSORS, _CONFIG)
    os.truncate(folder / "config.json", 2**40)
    return folder


def _config(**changes: Any) -> Maker:
    return lambda folder: write_folder(folder, _TENSORS, _CONFIG | changes)


def folder_with_a_tensor_in_two_files(folder: Path) -> Path:
    for name in ("a", "b"):
        write_safetensors(folder / f"{name}.safetensors", _TENSORS)
    return folder


def folder_of_nothing(folder: Path) -> Path:
    return folder


def _decoder(**changes: Any) -> Maker:
    def make(folder: Path) -> Path:
        (folder.parent / f"{folder.name}-outside.onnx").write_bytes(b"secret")
        return genai_folder(folder, **changes)

    return make


def genai_outside(folder: Path) -> Path:
    return _decoder(filename=f"../{folder.name}-outside.onnx")(folder)


def genai_by_a_link(folder: Path) -> Path:
    path = _decoder(filename="linked.onnx")(folder)
    (folder / "linked.onnx").symlink_to(folder.parent / f"{folder.name}-outside.onnx")
    return path


def genai_a_folder_as_decoder(folder: Path) -> Path:
    (folder / "decoder").mkdir()
    return _decoder(filename="decoder")(folder)


def genai_no_protobuf(folder: Path) -> Path:
    genai_folder(folder)
    (folder / "model.onnx").write_bytes(b"\xff" * 400)
    return folder


def genai_deep_json(folder: Path) -> Path:
    genai_folder(folder)
    (folder / "genai_config.json").write_text('{"model":' * 100_000)
    return folder


def genai_a_pipe_as_configuration(folder: Path) -> Path:
    os.mkfifo(folder / "genai_config.json")
    return folder


REFUSED_LANGUAGE_MODELS: dict[str, tuple[Maker, str]] = {
    **{
        maker.__name__: (maker, pattern)
        for maker, pattern in {
            gguf_another_magic: "does not begin with GGUF",
            gguf_empty: "shorter than the header",
            gguf_a_pipe: "is not a file",
            gguf_missing: "does not exist",
            gguf_big_endian: "big-endian",
            gguf_version_1: "its version is 1",
            gguf_cut_short: "ends within its header",
            gguf_without_its_weights: "extends beyond the end of the file",
            gguf_countless_keys: "metadata keys",
            gguf_countless_tensors: "declares 18,446,744,073,709,551,615 tensors",
            gguf_a_name_of_an_exabyte: "a name has",
            gguf_a_text_of_an_exabyte: "ends within its header",
            gguf_texts_that_wrap_around: "ends within its header",
            gguf_an_endless_array: "too long",
            gguf_a_text_in_a_hole: "its header is larger than 256 MiB",
            gguf_arrays_in_arrays: "too deeply nested",
            gguf_an_unknown_value: "the unknown type 99",
            gguf_a_key_twice: "occurs twice",
            gguf_names_that_are_no_text: "not valid UTF-8",
            gguf_no_alignment: "its alignment is 0",
            gguf_an_unknown_type: r"'�\[2Jgone' has the unknown type 4",
            gguf_an_overflowing_tensor: "larger than 2\\^63 - 1",
            gguf_an_overflowing_offset: "extends beyond the end",
            gguf_an_odd_offset: "does not begin at a multiple of 32 bytes",
            gguf_overlapping_tensors: "overlaps another tensor",
            gguf_a_tensor_twice: "'w' is stored twice",
            gguf_half_a_block: "not possible for Q4_K",
            gguf_a_crowd_of_axes: "has 9 axes",
            gguf_no_heads: "head_count is 0",
            gguf_more_kv_heads_than_heads: "kv_heads is 64, but heads is 4",
            gguf_a_text_for_a_number: r"block_count is many�\[2J",
            gguf_a_shard_without_the_others: "model-00002-of-00003.gguf, which cannot be read",
            gguf_a_shard_that_is_a_link: "a symbolic link to a file outside",
            safetensors_cut_short: "ends within its header",
            safetensors_shorter_than_a_length: "ends within its header",
            safetensors_an_endless_header: "above the maximum of 100,000,000",
            safetensors_a_header_of_zeros: "not a JSON object",
            safetensors_a_hole: "not a JSON object",
            safetensors_deep_json: "is not valid",
            safetensors_without_its_weights: "extends beyond the end of the file",
            safetensors_more_than_its_weights: "1 bytes at its end belong to no tensor",
            safetensors_overlapping_tensors: "overlaps another tensor",
            safetensors_one_shard: "is one of 2 files of a model",
            folder_with_a_linked_shard: "a symbolic link to a file outside",
            folder_with_a_pipe: "is not a regular file",
            folder_with_a_linked_configuration: "its configuration is in config.json, a symbolic link",
            folder_with_deep_json: "config.json is not valid",
            folder_with_a_huge_configuration: "above the maximum of 4,194,304",
            folder_with_a_tensor_in_two_files: "is also in another file",
            folder_of_nothing: "a folder without a language model",
            genai_outside: "outside the model's folder",
            genai_by_a_link: "a symbolic link to a file outside",
            genai_a_folder_as_decoder: "is not a regular file",
            genai_no_protobuf: "not a valid ONNX model",
            genai_deep_json: "genai_config.json is not valid",
            genai_a_pipe_as_configuration: "is not a regular file",
        }.items()
    },
    "safetensors_a_negative_offset": (_entry("F32", [4], [-16, 0]), "is not valid"),
    "safetensors_an_overflowing_offset": (_entry("F32", [4], [2**64, 2**64 + 16]), "is not valid"),
    "safetensors_a_negative_axis": (_entry("F32", [-4], [0, 16]), "is not valid"),
    "safetensors_another_size": (_entry("F32", [4], [0, 12]), "does not have the 12 bytes"),
    "safetensors_an_overflowing_shape": (_entry("F32", [2**62] * 8, [0, 16]), "does not have the 16 bytes"),
    "safetensors_a_crowd_of_axes": (_entry("F32", [1] * 99, [0, 4]), "is not valid"),
    "safetensors_an_unknown_type": (_entry("F128", [1], [0, 16]), "unknown data type 'F128'"),
    "safetensors_a_gap": (_entry("F32", [4], [16, 32]), "follows a gap"),
    "folder_with_a_path_to_the_parent": (_index(a="../x.safetensors"), "outside the model's folder"),
    "folder_with_an_absolute_path": (_index(a="{secret}"), "an absolute path"),
    "folder_with_a_missing_shard": (_index(a="gone.safetensors"), "cannot be read"),
    "folder_with_a_tensor_in_another_file": (_index(a=_SECOND, b=_FIRST), "'a' is not in the index"),
    "folder_with_an_absent_tensor": (_index(a=_FIRST, b=_SECOND, c=_SECOND), "it lacks the tensor 'c' of the index"),
    "folder_with_no_heads": (_config(num_attention_heads=0), "num_attention_heads is 0"),
    "folder_with_negative_layers": (_config(num_hidden_layers=-1), "config.json is not valid"),
    "folder_with_a_text_for_a_number": (_config(hidden_size="64"), "config.json is not valid"),
    "folder_with_too_many_experts": (
        _config(num_experts=2, num_experts_per_tok=4),
        "experts_per_token is 4, but experts is 2",
    ),
    "genai_at_an_absolute_path": (_decoder(filename="/etc/hosts"), "an absolute path"),
    "genai_at_a_windows_path": (_decoder(filename="C:\\model.onnx"), "an absolute path"),
    "genai_without_a_file": (_decoder(filename="gone.onnx"), "cannot be read"),
    "genai_a_pipeline": (_decoder(pipeline=[]), "is not one ONNX file"),
    "genai_no_layers": (_decoder(num_hidden_layers=0), "num_hidden_layers is 0"),
    "genai_countless_heads": (_decoder(num_attention_heads=2**70), "genai_config.json is not valid"),
}
