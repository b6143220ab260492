from __future__ import annotations

from pathlib import Path

from tests.checks.code_size import code_size

ROOT = Path(__file__).parents[2]

SOURCE = '''"""What this is for."""

# a comment
import os  # and one behind code


def first(value: int) -> str:
    """A docstring
    of two lines."""
    return """text
of two lines""" + os.name + str(value)


limit = 2
"""What a limit is."""
'''


def test_blank_lines_comments_and_docstrings_are_not_code(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "one.py").write_text(SOURCE)
    (tmp_path / "app" / "made_pb2.py").write_text(SOURCE)
    (tmp_path / "sizewise.py").write_text("x = 1  #" + "x" * 100)
    size = code_size(tmp_path)
    assert size[:3] == (2, len(SOURCE.splitlines()) + 1, 1)
    assert size.count_code_lines() == 5 + 1


def test_share_of_long_lines_does_not_grow() -> None:
    size = code_size(ROOT)
    assert size.long_lines <= 0.061 * size.lines
