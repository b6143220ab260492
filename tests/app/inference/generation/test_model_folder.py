import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.inference.generation.decoder_shape import PagedCache
from app.inference.generation.model_folder import read_model_folder
from tests.fakes import decoders


def test_model_folder_of_a_written_decoder_is_read(tmp_path: Path) -> None:
    folder = decoders.contiguous(tmp_path / "contiguous")
    model = read_model_folder(folder)
    assert (model.architecture, model.context, model.vocabulary, model.layers, model.kv_heads) == (
        "llama",
        2048,
        512,
        2,
        2,
    )
    assert model.paged_cache is None
    assert model.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    cache = PagedCache(block_tokens=8, blocks=99, max_batch=3, max_step_tokens=77)
    assert read_model_folder(decoders.paged(tmp_path / "paged", cache=cache)).paged_cache == cache


def edit_configuration(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "genai_config.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return apply


def replace_by_link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere.onnx")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (lambda folder: (folder / "genai_config.json").unlink(), "has no genai_config.json"),
    "no JSON": (lambda folder: (folder / "genai_config.json").write_text("{"), "not a valid configuration"),
    "not UTF-8": (
        lambda folder: (folder / "genai_config.json").write_bytes(b'{"\xff": 1}'),
        "not a valid configuration",
    ),
    "deep": (lambda folder: (folder / "genai_config.json").write_text("[" * 10_000), "not a valid configuration"),
    "huge": (lambda folder: (folder / "genai_config.json").write_text(" " * 2**21), "exceeds the maximum of"),
    "no decoder": (
        edit_configuration(lambda document: document["model"].pop("decoder")),
        "missing required field `decoder`",
    ),
    "zero layers": (
        edit_configuration(lambda document: document["model"]["decoder"].update(num_hidden_layers=0)),
        "num_hidden_layers is 0, but must be at least 1",
    ),
    "no layers": (
        edit_configuration(lambda document: document["model"]["decoder"].pop("num_hidden_layers")),
        r"genai_config\.json: num_hidden_layers is missing",
    ),
    "heads by layer": (
        edit_configuration(lambda document: document["model"]["decoder"].update(num_attention_heads=[4, 4])),
        "num_attention_heads is a list, but must be one number",
    ),
    "no type": (
        edit_configuration(lambda document: document["model"].pop("type")),
        r"genai_config\.json: model\.type is missing",
    ),
    "no file": (
        edit_configuration(lambda document: document["model"]["decoder"].pop("filename")),
        r"model\.decoder\.filename is missing",
    ),
    "negative context": (
        edit_configuration(lambda document: document["model"].update(context_length=-1)),
        "context_length is -1",
    ),
    "huge vocabulary": (
        edit_configuration(lambda document: document["model"].update(vocab_size=2**60)),
        "vocab_size is",
    ),
    "file elsewhere": (
        edit_configuration(lambda document: document["model"]["decoder"].update(filename="../model.onnx")),
        "'../model.onnx', which is not a file of the folder",
    ),
    "file missing": (
        edit_configuration(lambda document: document["model"]["decoder"].update(filename="other.onnx")),
        "'other.onnx', which is not a file of the folder",
    ),
    "custom operators": (
        edit_configuration(
            lambda document: document["model"]["decoder"]["session_options"].update(custom_ops_library="/tmp/x.so")
        ),
        "sets 'custom_ops_library', which could load a library",
    ),
    "provider library": (
        edit_configuration(
            lambda document: document["model"]["decoder"]["session_options"].update(
                provider_options=[{"cpu": {"registration_library": "x.so"}}]
            )
        ),
        "sets 'registration_library'",
    ),
    "writes a profile": (
        edit_configuration(
            lambda document: document["model"]["decoder"]["session_options"].update(enable_profiling="/tmp/p")
        ),
        "sets 'enable_profiling'",
    ),
    "a link": (replace_by_link, "model.onnx is not a regular file"),
    "a pipe": (lambda folder: os.mkfifo(folder / "pipe"), "pipe is not a regular file"),
    "empty model": (lambda folder: (folder / "model.onnx").write_bytes(b""), "model.onnx is empty"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_model_folders_are_rejected(tmp_path: Path, damage: str) -> None:
    folder = decoders.contiguous(tmp_path / "model")
    apply, message = DAMAGES[damage]
    apply(folder)
    with pytest.raises(UsageError, match=message):
        read_model_folder(folder)


def test_paged_cache_without_block_count_is_rejected(tmp_path: Path) -> None:
    folder = decoders.paged(tmp_path / "model")
    edit_configuration(lambda document: document["engine"]["dynamic_batching"].pop("num_blocks"))(folder)
    with pytest.raises(UsageError, match="has no num_blocks, so the size of the KV cache is unknown"):
        read_model_folder(folder)


def test_missing_model_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_model_folder(tmp_path / "nothing")
