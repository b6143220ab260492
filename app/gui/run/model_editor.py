"""Editor of a local model: file selection, inspection, and variants to measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHeaderView,
    QTreeView,
    QWidget,
)

from app.gui.formatting import shorten
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.run.axis_lengths import MAX_AXIS_LENGTH, AxisLengths
from app.gui.run.check_box_group import CheckBoxGroup, CheckBoxOption
from app.gui.run.drop_zone import DropZone
from app.gui.run.editor_interface import (
    EditedProfile,
    SpecialEditor,
    as_list,
    base_directory,
    copy_tree,
    set_min_lines,
)
from app.gui.run.model_inspection import (
    InspectionState,
    ModelInspector,
    TreeNode,
    build_tree,
    estimate_fits,
    find_stored_precision,
    find_unset_axes,
    format_fit,
)
from app.gui.run.rows import Rows
from app.gui.theme import GAP_SECTION
from app.gui.widgets import card, label, tool_tip_text, vbox
from app.profiles.templates import UNUSED_KEYS, list_model_edits, list_usable_precisions
from app.records.language_model import GENAI_CONFIG_NAME, is_language_model

PROVIDERS = ("cpu", "cuda", "tensorrt", "openvino", "directml", "coreml", "rocm", "migraphx")
_TREE_LINES, _TREE_HEADER_LINES = 18, 3
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class ModelEditor(SpecialEditor):
    replaced_paths = frozenset(("target.providers", "target.precision", "target.batch", "target.threads"))

    def __init__(self) -> None:
        super().__init__()
        self._document: EditedProfile | None = None
        self._row_count = _TREE_LINES
        """Number of rows of the tree if all are expanded."""
        self._memory_widgets: tuple[QWidget, ...] = ()
        self.inspector = ModelInspector(self)
        self.inspector.changed.connect(self._show_state)
        self.strip = MessageStrip()
        self.strip.action_triggered.connect(self.choose_model)
        self.drop_zone = DropZone()
        self.drop_zone.dropped.connect(self.set_model)
        self.drop_zone.bundled_model_selected.connect(self.set_bundled_model)
        self.drop_zone.file_requested.connect(self.choose_model)
        self.drop_zone.folder_requested.connect(self.choose_folder)
        self.tree = _create_tree_view()
        self.state = label("", "muted", wrap=True)
        self.axes = AxisLengths()
        self.axes.changed.connect(self._edit_axes)
        self.providers = CheckBoxGroup("Providers", is_vertical=True)
        self.precision, self.batch, self.threads = (
            CheckBoxGroup("Precision"),
            CheckBoxGroup("Batch size"),
            CheckBoxGroup("Threads"),
        )
        self.providers.selection_changed.connect(self._edit_providers)
        self.precision.selection_changed.connect(self._edit_precision)
        self.batch.selection_changed.connect(self._edit_batch)
        self.threads.selection_changed.connect(self._edit_threads)
        self.memory = Rows("Memory by batch size and precision")
        self._build_layout()

    def supports_protocol(self, protocol: str | None) -> bool:
        return protocol in ("local", None)

    def show_contents(self, document: EditedProfile) -> None:
        self._document = document
        self.inspector.inspect(self.model_path(), self._axis_lengths())
        self._show()

    def model_path(self) -> Path | None:
        """Return the file of the first model, or `None` if no model is set."""
        return None if self._document is None else _find_model_path(self._document)

    def find_unused_paths(self, document: EditedProfile) -> frozenset[str]:
        path = _find_model_path(document)
        return frozenset(UNUSED_KEYS[is_language_model(path)]) if path is not None and path.exists() else frozenset()

    def choose_model(self) -> None:
        """Let the user choose a model in a file dialog."""
        directory = str(base_directory(self._document)) if self._document is not None else ""
        file_types = f"Models (*.onnx *.gguf {GENAI_CONFIG_NAME});;All files (*)"
        file_name = QFileDialog.getOpenFileName(self, "Choose model", directory, file_types)[0]
        if file_name:
            self.set_model(Path(file_name))

    def choose_folder(self) -> None:
        """Let the user choose the folder of a language model in a file dialog."""
        directory = str(base_directory(self._document)) if self._document is not None else ""
        folder_name = QFileDialog.getExistingDirectory(self, "Choose the folder of a language model", directory)
        if not folder_name:
            return
        if is_language_model(Path(folder_name)):
            self.set_model(Path(folder_name))
            return
        message = f"{folder_name} is not the folder of a language model: it has no {GENAI_CONFIG_NAME}."
        next_step = "Choose a folder for ONNX Runtime GenAI, or a .gguf or .onnx file."
        self.strip.show_notice(Notice("error", shorten(message, 400), None, next_step), "Choose an&other file…")

    def set_model(self, path: Path) -> None:
        """Set the model file, as a relative path if the file is in the directory of the profile.
        Axis lengths of the previous model are removed, and settings that do not apply to another
        kind of model. The configuration of a language model stands for its folder."""
        path = path.parent if path.name == GENAI_CONFIG_NAME else path
        directory = None if self._document is None or self._document.path is None else base_directory(self._document)
        is_in_directory = directory is not None and path.is_relative_to(directory)
        if self._axis_lengths():
            self.edited.emit("target.runtime.axes", None)
        if self._document is not None:
            for dotted_path, value in list_model_edits(copy_tree(self._document), path).items():
                self.edited.emit(dotted_path, value)
        self.edited.emit(
            "target.model", str(path.relative_to(directory)) if is_in_directory and directory else str(path)
        )

    def set_bundled_model(self, name: str) -> None:
        if name:
            self.edited.emit("target.model", name)

    # Display

    def _show(self) -> None:
        self.drop_zone.show_model(self.model_path(), len(as_list(self._value("target.model"))))
        self._show_state(self.inspector.state)

    def _show_state(self, state: InspectionState) -> None:
        self._show_notices(state)
        self._fill_tree(state.language_model if state.inspection is None else build_tree(state.inspection))
        usable_precisions = list_usable_precisions(state.path or Path())
        self.precision.setEnabled(len(usable_precisions) > 1)
        for widget in self._memory_widgets:
            widget.setVisible(not state.language_model)
        self._show_axes(state)
        failed_providers, working_providers = state.failed_providers, state.working_providers
        options = [
            CheckBoxOption(
                name,
                _PROVIDER_NAMES.get(name, name),
                _get_unavailable_reason(name, working_providers, failed_providers),
                is_availability_known=working_providers is not None,
            )
            for name in self._listed_providers(state)
        ]
        self.providers.set_options(options, self._get_selected_values("providers", ("cpu",)))
        precisions = self._get_selected_values("precision", ("as-is",))
        stored_precision = None if state.inspection is None else find_stored_precision(state.inspection)
        texts = {"as-is": "as-is" if stored_precision is None else f"as-is ({stored_precision})"}
        self.precision.set_options(
            [CheckBoxOption(name, texts.get(name, name)) for name in usable_precisions], precisions
        )
        batches, threads = self._get_numbers("batch"), self._get_numbers("threads")
        core_count = state.cores
        thread_options = sorted(
            {*(number for number in (1, 2, 4, 8, 16, 32) if core_count is None or number <= core_count), *threads}
        )
        self.batch.set_options(
            [CheckBoxOption(str(number), str(number)) for number in sorted({*BATCHES, *batches})], map(str, batches)
        )
        excessive_counts = {number for number in thread_options if core_count is not None and number > core_count}
        self.threads.set_options(
            [
                CheckBoxOption(
                    str(number), str(number), _format_core_limit(core_count) if number in excessive_counts else None
                )
                for number in thread_options
            ],
            map(str, threads),
        )
        self._show_memory(state, batches, precisions)

    def _show_notices(self, state: InspectionState) -> None:
        self.state.setText("Inspecting model (sandboxed)…" if state.is_busy else "")
        self.state.setVisible(state.is_busy)
        if state.model_error is not None:
            message, hint = shorten(str(state.model_error), 400), getattr(state.model_error, "hint", None)
            self.strip.show_notice(Notice("error", message, None, hint), "Choose an&other file…")
        elif state.machine_error is not None:
            self.strip.show_notice(
                Notice("warning", f"The check of the execution providers failed: {shorten(state.machine_error, 300)}")
            )
        elif state.inspection is not None and (unset_axes := find_unset_axes(state.inspection.model)):
            message = "These dynamic axes have no length: {axes}.".format(axes=shorten(", ".join(unset_axes), 200))
            reason = "FLOPs and memory cannot be estimated without these lengths."
            self.strip.show_notice(Notice("warning", message, reason, "Set the length of each axis below."))
        else:
            self.strip.hide()

    def _fill_tree(self, nodes: tuple[TreeNode, ...]) -> None:
        model = self.tree.model()
        assert isinstance(model, QStandardItemModel)
        model.removeRows(0, model.rowCount())
        for node in nodes:
            model.appendRow(_build_row(node))
        self.tree.setVisible(bool(nodes))
        self._row_count = sum(1 + len(node.children) for node in nodes)
        self.update_heights()
        for index in range(min(2, model.rowCount())):
            self.tree.expand(model.index(index, 0))

    def _show_axes(self, state: InspectionState) -> None:
        metadata = None if state.inspection is None else state.inspection.model
        names = () if metadata is None else tuple(sorted({*find_unset_axes(metadata), *metadata.axes}))
        self.axes.show_lengths(names, self._axis_lengths())

    def _show_memory(self, state: InspectionState, batches: tuple[int, ...], precisions: tuple[str, ...]) -> None:
        if state.inspection is None:
            self.memory.show_rows(())
            return
        usable_precisions = list_usable_precisions(state.path or Path())
        supported_precisions = [precision for precision in precisions if precision in usable_precisions]
        fits = estimate_fits(state.inspection, batches[:12], supported_precisions, state.free_bytes)
        rows = [(f"{fit.precision}, batch {fit.batch}", format_fit(fit)) for fit in fits]
        self.memory.show_rows(rows)

    def _listed_providers(self, state: InspectionState) -> list[str]:
        """Return the execution providers to list: those that work, failed the test or are selected,
        and always CPU and CUDA."""
        listed_names = {
            *self._get_selected_values("providers", ("cpu",)),
            *(state.working_providers or ()),
            *state.failed_providers,
            "cpu",
            "cuda",
        }
        return [name for name in PROVIDERS if name in listed_names] + sorted(listed_names - set(PROVIDERS))

    # Edits

    def _edit_providers(self, selected_values: list[str]) -> None:
        self.edited.emit("target.providers", selected_values)

    def _edit_precision(self, selected_values: list[str]) -> None:
        self.edited.emit("target.precision", selected_values)

    def _edit_batch(self, selected_values: list[str]) -> None:
        self.edited.emit("target.batch", [int(text) for text in selected_values])

    def _edit_threads(self, selected_values: list[str]) -> None:
        self.edited.emit("target.threads", [int(text) for text in selected_values])

    def _edit_axes(self, lengths: dict[str, int]) -> None:
        self.edited.emit("target.runtime.axes", lengths or None)

    def _value(self, path: str) -> Any:
        return None if self._document is None else self._document.value(path)

    def _get_selected_values(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        values = tuple("as-is" if value == "fp32" else str(value) for value in as_list(self._value(f"target.{key}")))
        return values or default

    def _get_numbers(self, key: str) -> tuple[int, ...]:
        values = [
            value for value in as_list(self._value(f"target.{key}")) if isinstance(value, int) and 0 < value <= 65_536
        ]
        return tuple(sorted(set(values))) or (1,)

    def _axis_lengths(self) -> dict[str, int]:
        axes = self._value("target.runtime.axes")
        if not isinstance(axes, dict):
            return {}
        return {
            str(name): length
            for name, length in axes.items()
            if isinstance(length, int) and 0 < length <= MAX_AXIS_LENGTH
        }

    def _build_layout(self) -> None:
        variants_grid = QGridLayout()
        variants_grid.setHorizontalSpacing(GAP_SECTION)
        variants_grid.setColumnStretch(1, 1)
        for row, (text, widget) in enumerate(
            (
                ("Precision", self.precision),
                ("Batch size", self.batch),
                ("Threads", self.threads),
                ("Providers", self.providers),
                ("Estimated memory", self.memory),
            )
        ):
            heading = label(text, "muted")
            variants_grid.addWidget(heading, row, 0, Qt.AlignmentFlag.AlignTop)
            variants_grid.addWidget(widget, row, 1)
            self._memory_widgets = (heading, widget)  # those of the last row
        container = QWidget()
        container.setLayout(variants_grid)
        vbox(self.strip, self.drop_zone, self.axes, card(container), self.state, (self.tree, 1), 0, within=self)
        self.update_heights()

    def update_heights(self) -> None:
        set_min_lines(self.tree, min(_TREE_LINES, self._row_count + _TREE_HEADER_LINES))


def _find_model_path(document: EditedProfile) -> Path | None:
    """Return the path of the first model, which may not exist, or None if no model is set or the
    operating system does not accept the path."""
    from app.profiles.bundled import bundled_models

    models = as_list(document.value("target.model"))
    if not models or not isinstance(models[0], str) or not models[0]:
        return None
    try:
        path = bundled_models().get(models[0]) or (base_directory(document) / models[0]).resolve()
        path.exists()
    except (OSError, RuntimeError, ValueError):  # The validation of the profile reports it.
        return None
    return path


def _create_tree_view() -> QTreeView:
    tree = QTreeView()
    model = QStandardItemModel(0, 2, tree)
    model.setHorizontalHeaderLabels(["Property", "Value"])
    tree.setModel(model)
    tree.setAccessibleName("Model details")
    tree.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
    tree.setAlternatingRowColors(True)
    tree.setUniformRowHeights(True)
    tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
    tree.header().setStretchLastSection(True)
    return tree


def _build_row(node: TreeNode) -> list[QStandardItem]:
    name, value = QStandardItem(node.name), QStandardItem(node.value)
    value.setToolTip(tool_tip_text(node.value))
    for child in node.children:
        name.appendRow(_build_row(child))
    return [name, value]


def _get_unavailable_reason(
    name: str, working_providers: tuple[str, ...] | None, failed_providers: dict[str, str]
) -> str | None:
    if working_providers is None or name in working_providers:
        return None
    return failed_providers.get(name) or "not included in this build of ONNX Runtime"


def _format_core_limit(core_count: int | None) -> str:
    return f"more than this machine's {core_count} cores"


_PROVIDER_NAMES = {
    "cpu": "CPU", "cuda": "CUDA", "tensorrt": "TensorRT", "openvino": "OpenVINO", "directml": "DirectML",
    "coreml": "CoreML", "rocm": "ROCm", "migraphx": "MIGraphX",
}  # fmt: skip
