"""Factory of the special editors of the Run page. A special editor edits more than one field."""

from __future__ import annotations

from app.gui.navigation import Navigation
from app.gui.run.editor_interface import SpecialEditor
from app.gui.theme import ThemeController


def create_special_editors(navigation: Navigation, theme_controller: ThemeController) -> dict[str, SpecialEditor]:  # noqa: ARG001
    """Create the special editors, by profile key. In the form, an editor replaces or accompanies
    the field of its profile key."""
    from app.gui.run.connection_test_panel import ConnectionTestPanel
    from app.gui.run.lengths_editor import LengthsEditor
    from app.gui.run.model_editor import ModelEditor
    from app.gui.run.preview import Preview
    from app.gui.run.search_editor import SearchEditor
    from app.gui.run.stages_editor import StagesEditor

    return {
        "target.model": ModelEditor(),
        "target.url": ConnectionTestPanel(),
        "load.stages": StagesEditor(theme_controller),
        "workload.lengths": LengthsEditor(theme_controller),
        "preview": Preview(),
        "load.search": SearchEditor(theme_controller),
    }
