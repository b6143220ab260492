from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.serving import run_endpoint
from app.serving.settings import ServingSettings


@pytest.mark.parametrize(
    ("name", "problem"),
    [("nothing", "the model .*nothing does not exist"), ("tiny.gguf", "tiny.gguf is a GGUF file, which is measured")],
)
def test_what_is_no_model_to_serve_names_all_kinds(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match=problem) as caught:
        run_endpoint(ServingSettings(model=str(tmp_path / name), name="m"), lambda _: None)
    hint = caught.value.hint or ""
    assert all(kind in hint for kind in ("an .onnx file", "the folder of a language model", "a bundled model"))
