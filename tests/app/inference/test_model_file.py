from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.probe import DIGITS_MODEL
from app.inference.session import open_session
from tests.fakes.hostile_models import OUTSIDE, Maker, weights_at

pytestmark = pytest.mark.process


@pytest.mark.parametrize("maker", OUTSIDE, ids=lambda maker: maker.__name__)
def test_weights_outside_the_model_folder_are_rejected(maker: Maker, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(UsageError, match=OUTSIDE[maker]):
        open_session(maker(folder), "cpu", threads=1)


def test_external_weights_in_the_model_folder_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.full(32, 2, np.float32).tobytes())
    session = open_session(weights_at(tmp_path, "w.bin"), "cpu", threads=1)
    (output,) = session.run({"x": np.ones((1, 32), np.float32)})
    assert output.tolist() == [[3] * 32]


def test_check_of_a_single_file_model_does_not_import_onnx() -> None:
    code = "import sys; from pathlib import Path; from app.inference.model_file import check_external_weights as check"
    code = f"{code}; check(Path(sys.argv[1])); print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, DIGITS_MODEL], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
