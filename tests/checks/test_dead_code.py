from __future__ import annotations

from pathlib import Path

from tests.checks.dead_code import unused_code


def test_unused_function_is_found_and_fields_are_not(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "module.py").write_text(
        "class Row:\n    size: int = 0\n\n    def closeEvent(self): ...\n\n\n"
        "def used(): ...\n\n\ndef unused(): ...\n\n\nused(), Row\n"
    )
    for name in ("loadgen", "reports", "sizewise.py"):
        (tmp_path / name).touch() if name.endswith(".py") else (tmp_path / name).mkdir()
    assert [line.rpartition(": ")[2] for line in unused_code(tmp_path)] == ["unused function unused"]
