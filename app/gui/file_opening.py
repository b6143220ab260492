"""Opening of files that the user dropped, selected or passed on the command line. Each file is
opened on the page that handles it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QFileDialog

from app.gui.background import submit
from app.gui.command_palette import PaletteEntry
from app.gui.dropped_files import DroppedFile, classify_path
from app.gui.window import Window

_MAX_RUN_ENTRIES = 100


class FileOpener(QObject):
    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window, self._navigation = window, window.navigation
        window.files_dropped.connect(self.open)

    def choose_files(self) -> None:
        """Let the user select files in the system's file dialog, and open the selected files.
        Folders can only be dropped or passed on the command line."""
        file_names, _ = QFileDialog.getOpenFileNames(
            self._window,
            "Open",
            "",
            "Supported files (*.onnx *.gguf *.yaml *.yml *.zip *.sizewise *.csv *.json);;All files (*)",
        )
        self.open_paths(tuple(Path(name) for name in file_names))

    def open_paths(self, paths: tuple[Path, ...]) -> None:
        for path in paths:
            self.open(classify_path(path.absolute()))

    def list_palette_entries(self) -> list[PaletteEntry]:
        """Return the palette entries that open recent runs and bundled profiles."""
        from app.profiles.bundled import bundled_profiles
        from app.storage.run_directory import list_stored_runs

        directories = [run.directory for run in reversed(list_stored_runs()[-_MAX_RUN_ENTRIES:])]
        return [
            *(self._build_entry("Runs", f"Open run {path.name}", path) for path in directories),
            *(self._build_entry("Profiles", f"Open profile {name}", path) for name, path in bundled_profiles().items()),
        ]

    def _build_entry(self, section: str, text: str, path: Path) -> PaletteEntry:
        return PaletteEntry(text, lambda: self.open(classify_path(path)), section)

    def open(self, file: DroppedFile) -> None:
        match file.kind:
            case "model":
                self._navigation.open_model_requested.emit(file.path)
            case "profile":
                self._navigation.open_profile_requested.emit(file.path)
            case "run":
                self._show_run(file.path if file.path.is_dir() else file.path.parent)
            case "bundle":
                self._import_bundle(file.path)
            case "prices":
                self._navigation.open_prices_requested.emit(file.path)
            case "plan" | "results":
                self._navigation.plan_requested.emit((file.path,))
            case "unknown" if not file.path.exists():
                self._navigation.notify("error", f"{file.path} does not exist.")
            case "unknown":
                self._navigation.notify(
                    "error",
                    f"Sizewise cannot open {file.path}.",
                    None,
                    "Open a model (.onnx), profile, run, bundle (.zip), price list or plan file.",
                )

    def _show_run(self, directory: Path) -> None:
        """Show a run on the Live page if it is in progress, otherwise on the Results page. Only the
        first and the last events of the run are read, because reading all events of a long run
        would block the GUI thread."""
        from app.storage.run_states import find_run_state

        is_running = find_run_state(directory) == "running"
        (self._navigation.watch_run_requested if is_running else self._navigation.open_run_requested).emit(directory)

    def _import_bundle(self, path: Path) -> None:
        from app.wiring.sharing_runs import import_shared_run

        submit(self, lambda: import_shared_run(path), self._on_imported, self._navigation.notify_error)

    def _on_imported(self, result: tuple[Path, bool]) -> None:
        directory, _ = result
        self._navigation.library_changed.emit()
        self._navigation.open_run_requested.emit(directory)
