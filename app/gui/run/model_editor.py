"""A model of this machine: dropped or chosen, looked into, and the variants of it that are to be measured."""

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

from app.gui.navigation import Notice
from app.gui.run.axis_lengths import LONGEST_AXIS, AxisLengths
from app.gui.run.drop_zone import DropZone
from app.gui.run.model_facts import Branch, Inspecting, Looked, branches_of, fit_text, fits_of, open_axes
from app.gui.run.rows import Rows
from app.gui.run.seam import Document, Editor, folder_of, keep_tall, listed
from app.gui.run.ticks import Tick, Ticks
from app.gui.strip import Strip
from app.gui.widgets import card, label, tip, vbox

PROVIDERS = ("cpu", "cuda", "tensorrt", "openvino", "directml", "coreml", "rocm", "migraphx")
PRECISIONS = ("as-is", "fp16", "int8-dynamic", "int8-static")
_TREE_LINES = 18
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class ModelEditor(Editor):
    def __init__(self) -> None:
        super().__init__()
        self._document: Document | None = None
        self.inspecting = Inspecting(self)
        self.inspecting.changed.connect(self._show_looked)
        self.strip = Strip()
        self.strip.acted.connect(self.choose)
        self.drop = DropZone()
        self.drop.dropped.connect(self.take)
        self.drop.bundled_taken.connect(self.take_bundled)
        self.drop.file_wanted.connect(self.choose)
        self.tree = _tree()
        self.state = label("", "muted", wrap=True)
        self.axes = AxisLengths()
        self.axes.changed.connect(self._edit_axes)
        self.providers = Ticks("Providers", is_upright=True)
        self.precision, self.batch, self.threads = Ticks("Precision"), Ticks("Batch"), Ticks("Threads")
        self.providers.ticked.connect(self._edit_providers)
        self.precision.ticked.connect(self._edit_precision)
        self.batch.ticked.connect(self._edit_batch)
        self.threads.ticked.connect(self._edit_threads)
        self.memory = Rows("Memory by batch and precision")
        self._lay_out()

    def is_for(self, protocol: str | None) -> bool:
        return protocol in ("local", None)

    def show_contents(self, document: Document) -> None:
        self._document = document
        self.inspecting.ask(self.model_path(), self._axes_given())
        self._show()

    def model_path(self) -> Path | None:
        """The file of the first model; None where none is named yet."""
        from app.profiles.bundled import bundled_models

        named = listed(self._value("target.model"))
        if not named or not isinstance(named[0], str) or not named[0] or self._document is None:
            return None
        return bundled_models().get(named[0]) or (folder_of(self._document) / named[0]).resolve()

    def choose(self) -> None:
        """With the system's own dialog."""
        folder = str(folder_of(self._document)) if self._document is not None else ""
        kinds = "ONNX models (*.onnx);;All files (*)"
        name = QFileDialog.getOpenFileName(self, "A model", folder, kinds)[0]
        if name:
            self.take(Path(name))

    def take(self, path: Path) -> None:
        """Relative to the profile, where it lies below its folder. Lengths of another model's axes are forgotten."""
        folder = None if self._document is None or self._document.path is None else folder_of(self._document)
        is_below = folder is not None and path.is_relative_to(folder)
        if self._axes_given():
            self.edited.emit("target.runtime.axes", None)
        self.edited.emit("target.model", str(path.relative_to(folder)) if is_below and folder else str(path))

    def take_bundled(self, name: str) -> None:
        if name:
            self.edited.emit("target.model", name)

    # What is shown

    def _show(self) -> None:
        self.drop.show_model(self.model_path(), len(listed(self._value("target.model"))))
        self._show_looked(self.inspecting.looked)

    def _show_looked(self, looked: Looked) -> None:
        self._tell(looked)
        self._fill_tree(() if looked.inspection is None else branches_of(looked.inspection))
        self._show_axes(looked)
        refused, working = looked.refused, looked.working
        options = [
            Tick(name, _PROVIDER_NAMES.get(name, name), _against(name, working, refused), is_known=working is not None)
            for name in self._providers_shown(looked)
        ]
        self.providers.show_ticks(options, self._chosen("providers", ("cpu",)))
        precisions = self._chosen("precision", ("as-is",))
        self.precision.show_ticks([Tick(one, one) for one in PRECISIONS], precisions)
        batches, threads = self._numbers("batch"), self._numbers("threads")
        cores = looked.cores
        known = sorted({*(one for one in (1, 2, 4, 8, 16, 32) if cores is None or one <= cores), *threads})
        self.batch.show_ticks([Tick(str(one), str(one)) for one in sorted({*BATCHES, *batches})], map(str, batches))
        too_many = {one for one in known if cores is not None and one > cores}
        self.threads.show_ticks(
            [Tick(str(one), str(one), _more_than(cores) if one in too_many else None) for one in known],
            map(str, threads),
        )
        self._show_memory(looked, batches, precisions)

    def _tell(self, looked: Looked) -> None:
        self.state.setText("Looking into the file, in a limited process of its own…" if looked.is_busy else "")
        self.state.setVisible(looked.is_busy)
        if looked.refusal is not None:
            what, hint = str(looked.refusal)[:400], getattr(looked.refusal, "hint", None)
            self.strip.say(Notice("error", what, None, hint), "Choose an&other file…")
        elif looked.machine_error is not None:
            self.strip.say(Notice("warning", f"Providers could not be tried: {looked.machine_error[:300]}"))
        elif looked.inspection is not None and (left := open_axes(looked.inspection.model)):
            what = "The model leaves the length of {axes} open.".format(axes=", ".join(left)[:200])
            why = "Without it neither FLOPs nor memory can be told."
            self.strip.say(Notice("warning", what, why, "Give it a length below, as the requests will have."))
        else:
            self.strip.hide()

    def _fill_tree(self, branches: tuple[Branch, ...]) -> None:
        model = self.tree.model()
        assert isinstance(model, QStandardItemModel)
        model.removeRows(0, model.rowCount())
        for one in branches:
            model.appendRow(_row(one))
        self.tree.setVisible(bool(branches))
        for at in range(min(2, model.rowCount())):
            self.tree.expand(model.index(at, 0))

    def _show_axes(self, looked: Looked) -> None:
        facts = None if looked.inspection is None else looked.inspection.model
        names = () if facts is None else tuple(sorted({*open_axes(facts), *facts.axes}))
        self.axes.show_lengths(names, self._axes_given())

    def _show_memory(self, looked: Looked, batches: tuple[int, ...], precisions: tuple[str, ...]) -> None:
        if looked.inspection is None:
            self.memory.show_rows(())
            return
        known = [one for one in precisions if one in PRECISIONS]
        fits = fits_of(looked.inspection, batches[:12], known, looked.free_bytes)
        rows = [(f"{one.precision}, batch {one.batch}", fit_text(one)) for one in fits]
        self.memory.show_rows(rows)

    def _providers_shown(self, looked: Looked) -> list[str]:
        """Those that are here, refused, or asked for; and CUDA, which most look for."""
        wanted = {*self._chosen("providers", ("cpu",)), *(looked.working or ()), *looked.refused, "cpu", "cuda"}
        return [name for name in PROVIDERS if name in wanted] + sorted(wanted - set(PROVIDERS))

    # What is edited

    def _edit_providers(self, chosen: list[str]) -> None:
        self.edited.emit("target.providers", chosen)

    def _edit_precision(self, chosen: list[str]) -> None:
        self.edited.emit("target.precision", chosen)

    def _edit_batch(self, chosen: list[str]) -> None:
        self.edited.emit("target.batch", [int(one) for one in chosen])

    def _edit_threads(self, chosen: list[str]) -> None:
        self.edited.emit("target.threads", [int(one) for one in chosen])

    def _edit_axes(self, lengths: dict[str, int]) -> None:
        self.edited.emit("target.runtime.axes", lengths or None)

    def _value(self, path: str) -> Any:
        return None if self._document is None else self._document.value(path)

    def _chosen(self, key: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple("as-is" if one == "fp32" else str(one) for one in listed(self._value(f"target.{key}")))
        return found or otherwise

    def _numbers(self, key: str) -> tuple[int, ...]:
        found = [one for one in listed(self._value(f"target.{key}")) if isinstance(one, int) and 0 < one <= 65_536]
        return tuple(sorted(set(found))) or (1,)

    def _axes_given(self) -> dict[str, int]:
        axes = self._value("target.runtime.axes")
        if not isinstance(axes, dict):
            return {}
        return {str(name): of for name, of in axes.items() if isinstance(of, int) and 0 < of <= LONGEST_AXIS}

    def _lay_out(self) -> None:
        variants = QGridLayout()
        variants.setHorizontalSpacing(16)
        variants.setColumnStretch(1, 1)
        for at, (text, ticks) in enumerate(
            (
                ("Precision", self.precision),
                ("Batch", self.batch),
                ("Threads", self.threads),
                ("Providers", self.providers),
                ("Memory, estimated", self.memory),
            )
        ):
            variants.addWidget(label(text, "muted"), at, 0, Qt.AlignmentFlag.AlignTop)
            variants.addWidget(ticks, at, 1)
        holder = QWidget()
        holder.setLayout(variants)
        vbox(self.strip, self.drop, self.state, (self.tree, 1), self.axes, card(holder), 0, within=self)
        self.fit_to_font()

    def fit_to_font(self) -> None:
        keep_tall(self.tree, _TREE_LINES)


def _tree() -> QTreeView:
    tree = QTreeView()
    model = QStandardItemModel(0, 2, tree)
    model.setHorizontalHeaderLabels(["What", "Value"])
    tree.setModel(model)
    tree.setAccessibleName("What the model holds")
    tree.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
    tree.setAlternatingRowColors(True)
    tree.setUniformRowHeights(True)
    tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
    tree.header().setStretchLastSection(True)
    return tree


def _row(branch: Branch) -> list[QStandardItem]:
    name, value = QStandardItem(branch.name), QStandardItem(branch.value)
    value.setToolTip(tip(branch.value))
    for one in branch.below:
        name.appendRow(_row(one))
    return [name, value]


def _against(name: str, working: tuple[str, ...] | None, refused: dict[str, str]) -> str | None:
    if working is None or name in working:
        return None
    return refused.get(name) or "not in this build of ONNX Runtime"


def _more_than(cores: int | None) -> str:
    return f"more than this machine's {cores} cores"


_PROVIDER_NAMES = {
    "cpu": "CPU", "cuda": "CUDA", "tensorrt": "TensorRT", "openvino": "OpenVINO", "directml": "DirectML",
    "coreml": "CoreML", "rocm": "ROCm", "migraphx": "MIGraphX",
}  # fmt: skip
