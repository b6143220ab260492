"""A GGUF file, inspected without its weights, as the child process of `models inspect` does."""

from __future__ import annotations

from collections.abc import Iterable

from app.inference.inspection.language_model import read_language_model
from tests.fakes.language_model_files import convert_to_gguf, published_model, write_gguf
from tests.fuzz.scratch import input_file, scratch_folder

_TENSORS = 12


def read(data: bytes) -> None:
    with input_file(b"\0" + data, "model.gguf") as path:
        read_language_model(path)


def seeds() -> Iterable[bytes]:
    keys = {"attention.sliding_window": 64, "expert_count": 8, "expert_used_count": 2}
    for architecture in ("llama", "gemma2", "deepseek2"):
        model = published_model("smollm2-135m")
        model = model._replace(config=model.config | {"hidden_size": 32})
        metadata, tensors = convert_to_gguf(model, architecture, **keys)
        small = {name: (0, tuple(min(axis, 4) for axis in shape)) for name, (_, shape) in tensors.items()}
        with scratch_folder() as folder:
            path = write_gguf(folder / "model.gguf", metadata, dict(list(small.items())[:_TENSORS]))
            yield path.read_bytes()
