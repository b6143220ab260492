"""The configuration of a folder for ONNX Runtime GenAI beside a small decoder, inspected without running it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from app.inference.inspection.language_model import read_language_model
from tests.fakes.genai_folders import genai_config, genai_folder
from tests.fuzz.scratch import scratch_folder


def read(data: bytes) -> None:
    with scratch_folder() as folder:
        genai_folder(folder)
        (folder / "genai_config.json").write_bytes(data)
        read_language_model(folder)


def seeds() -> Iterable[bytes]:
    yield json.dumps(genai_config()).encode()
    yield json.dumps(genai_config(sliding_window={"window_size": 64, "layers": [0]})).encode()
