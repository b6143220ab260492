"""The model that comes with the program, and its labelled rows."""

from __future__ import annotations

from pathlib import Path

import profiles

_MODELS = Path(profiles.__file__).parent / "models"
DIGITS_MODEL = _MODELS / "digits.onnx"
DIGITS_ROWS = _MODELS / "digits.npz"
"""450 held-out rows: `image` float32 [450,1,8,8], as the model takes it, and `label` int64 [450]."""
