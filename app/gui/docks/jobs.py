"""Jobs dock: the running, waiting and finished jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtWidgets import QCheckBox, QDockWidget, QListView, QProgressBar, QSizePolicy, QVBoxLayout, QWidget

from app.gui.docks.job_queue import Job, JobQueue
from app.gui.docks.job_text import compute_done_percent, format_job, format_job_time, format_phase
from app.gui.docks.scrolling import vertical_scroll_area
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Navigation, Notice
from app.gui.theme import GAP, PANEL_MARGINS
from app.gui.widgets import button, card, hbox, label, tool_tip_text, vbox

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()


class JobModel(QAbstractListModel):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.jobs: tuple[Job, ...] = ()

    def set_jobs(self, jobs: Sequence[Job]) -> None:
        """Set the displayed jobs. If the jobs are unchanged, nothing is updated, so that the
        selection is preserved."""
        if tuple(jobs) != self.jobs:
            self.beginResetModel()
            self.jobs = tuple(jobs)
            self.endResetModel()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self.jobs)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        job = self.jobs[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return format_job(job)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tool_tip_text(f"sizewise {' '.join(job.launch.arguments)}\n{job.launch.directory}")
        return None


_MAX_VISIBLE_ROWS = 6


class _JobList(QListView):
    """List view that is as tall as its rows, up to six rows."""

    def sizeHint(self) -> QSize:
        rows = range(min(_MAX_VISIBLE_ROWS, max(1, self.model().rowCount())))
        heights = (max(self.sizeHintForRow(row), self.fontMetrics().lineSpacing()) for row in rows)
        return QSize(super().sizeHint().width(), sum(heights) + 2 * self.frameWidth() + 4)

    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())


class JobsDock(QDockWidget):
    stop_requested = Signal(object)
    """Signal that is emitted with the directory of the run to stop."""

    def __init__(self, navigation: Navigation, queue: JobQueue, parent: QWidget | None = None) -> None:
        super().__init__("Jobs", parent)
        self.setObjectName("jobs-dock")
        self.setAccessibleName("Jobs")
        self._navigation, self._queue = navigation, queue
        self._restore_removed_job: Callable[[], None] | None = None
        self.offer_strip, self.undo_strip = MessageStrip(), MessageStrip()
        self.offer_strip.action_triggered.connect(queue.queue_offered_launches)
        self.offer_strip.dismissed.connect(queue.discard_offered_launches)
        self.undo_strip.action_triggered.connect(self._undo_removal)
        self._no_jobs_label = label(
            "No job is running. Runs are queued and measured one at a time.", "muted", wrap=True
        )
        self._running_card = self._create_running_card()
        self.waiting_list, self.waiting_model = self._create_list("Queued jobs")
        self.finished_list, self.finished_model = self._create_list("Finished jobs")
        self.finished_list.activated.connect(self._open_index)
        self.waiting_section = self._create_waiting_section()
        self.finished_section = self._create_finished_section()
        self._lay_out()
        queue.changed.connect(self._show)
        self._show()

    def _create_running_card(self) -> QWidget:
        self.running_name = label("", "heading", wrap=True)
        self.phase, self.time = label("", wrap=True), label("", "muted", wrap=True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the running job")
        line = hbox(button("&Watch", self._watch), button("S&top", self._stop), 1)
        frame = card(self.running_name, self.phase, self.bar, self.time)
        layout = frame.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.addLayout(line)
        return frame

    def _create_list(self, name: str) -> tuple[_JobList, JobModel]:
        view = _JobList()
        view.setAccessibleName(name)
        view.setWordWrap(True)
        view.setUniformItemSizes(False)
        view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        model = JobModel(self)
        view.setModel(model)
        view.selectionModel().currentChanged.connect(self._update_buttons)
        return view, model

    def _create_waiting_section(self) -> QWidget:
        self.up_button, self.down_button = button("Move &up", self._move_up), button("Move &down", self._move_down)
        self.remove_button = button("Re&move", self._remove)
        self.pause_box = QCheckBox("&Pause queue")
        self.pause_box.setAccessibleName("Pause queue")
        self.pause_box.toggled.connect(self._queue.set_paused)
        return _section(
            "Queued", self.waiting_list, (self.up_button, self.down_button, self.remove_button), self.pause_box
        )

    def _create_finished_section(self) -> QWidget:
        self.open_button = button("&Open", self._open)
        return _section("Finished", self.finished_list, (self.open_button,))

    def _lay_out(self) -> None:
        content = QWidget()
        vbox(
            self.offer_strip,
            self.undo_strip,
            self._no_jobs_label,
            self._running_card,
            self.waiting_section,
            self.finished_section,
            1,
            within=content,
            margins=PANEL_MARGINS,
            spacing=GAP,
        )
        self.setWidget(vertical_scroll_area(content))

    def _show(self) -> None:
        queue, job = self._queue, self._queue.running_job
        self._no_jobs_label.setVisible(job is None)
        self._running_card.setVisible(job is not None)
        if job is not None:
            self._show_running(job)
        self.waiting_model.set_jobs(queue.waiting_jobs)
        self.finished_model.set_jobs(queue.finished_jobs)
        for view in (self.waiting_list, self.finished_list):
            view.updateGeometry()
        self.waiting_section.setVisible(bool(queue.waiting_jobs) or queue.is_paused)
        self.finished_section.setVisible(bool(queue.finished_jobs))
        self._update_buttons()
        if queue.offered_launches and self.offer_strip.isHidden():
            message = f"The last window closed while jobs were still queued ({len(queue.offered_launches)})."
            names_text = ", ".join(launch.name for launch in queue.offered_launches[:5])
            self.offer_strip.show_notice(Notice("news", message, names_text), "&Queue again")
        elif not queue.offered_launches:
            self.offer_strip.hide()

    def _show_running(self, job: Job) -> None:
        percent = compute_done_percent(job)
        self.running_name.setText(job.launch.name)
        self.phase.setText(format_phase(job))
        self.time.setText(format_job_time(job))
        self.bar.setVisible(percent is not None)
        self.bar.setValue(percent or 0)
        self._running_card.setAccessibleName(f"Running: {job.launch.name}")
        self._running_card.setAccessibleDescription(f"{self.phase.text()}, {self.time.text()}")

    def _update_buttons(self, *_: object) -> None:
        row, count = self.waiting_list.currentIndex().row(), len(self.waiting_model.jobs)
        self.up_button.setEnabled(row > 0)
        self.down_button.setEnabled(0 <= row < count - 1)
        self.remove_button.setEnabled(0 <= row < count)
        self.open_button.setEnabled(self.finished_list.currentIndex().isValid())

    def _watch(self) -> None:
        if (job := self._queue.running_job) is not None:
            if job.measured_directory == job.launch.directory and job.launch.kind == "pairs":
                self._navigation.watch_pairs_requested.emit(job.launch.directory)
            else:
                self._navigation.watch_run_requested.emit(job.measured_directory)

    def _stop(self) -> None:
        if (job := self._queue.running_job) is not None:
            self.stop_requested.emit(job.launch.directory)

    def _move_up(self) -> None:
        self._move(-1)

    def _move_down(self) -> None:
        self._move(1)

    def _move(self, offset: int) -> None:
        row = self.waiting_list.currentIndex().row()
        if 0 <= row < len(self.waiting_model.jobs):
            self._queue.move(self.waiting_model.jobs[row].number, offset)
            self._select_row(row + offset)

    def _select_row(self, row: int) -> None:
        index = self.waiting_model.index(row, 0)
        self.waiting_list.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)

    def _remove(self) -> None:
        row = self.waiting_list.currentIndex().row()
        job = self.waiting_model.jobs[row]
        self._restore_removed_job = self._queue.remove(job.number)
        if self._restore_removed_job is not None:
            self.undo_strip.show_notice(Notice("news", f"{job.launch.name} was removed from the queue."), "&Undo")

    def _undo_removal(self) -> None:
        self.undo_strip.hide()
        restore_removed_job, self._restore_removed_job = self._restore_removed_job, None
        if restore_removed_job is not None:
            restore_removed_job()

    def _open(self) -> None:
        self._open_index(self.finished_list.currentIndex())

    def _open_index(self, index: QModelIndex | QPersistentModelIndex) -> None:
        if index.isValid():
            launch = self.finished_model.jobs[index.row()].launch
            signal = (
                self._navigation.watch_pairs_requested
                if launch.kind == "pairs"
                else self._navigation.open_run_requested
            )
            signal.emit(launch.directory)


def _section(title: str, view: QListView, buttons: tuple[QWidget, ...], footer: QWidget | None = None) -> QWidget:
    section = QWidget()
    layout = vbox(label(title, "heading", buddy=view), view, hbox(*buttons, 1), within=section)
    if footer is not None:
        layout.addWidget(footer, 0, Qt.AlignmentFlag.AlignLeft)
    return section
