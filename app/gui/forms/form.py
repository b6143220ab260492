"""Form for a whole profile, generated from the field specifications of the profile settings."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
from PySide6.QtCore import QStringListModel, Qt, Signal
from PySide6.QtWidgets import QCompleter, QFrame, QLineEdit, QWidget

from app.gui.formatting import shorten
from app.gui.forms.arrangement import display_name
from app.gui.forms.collapsible import CollapsibleSection, chain_tab_order
from app.gui.forms.editor import REMOVED, Edits
from app.gui.forms.group import GroupEditor, NestedGroup
from app.gui.forms.row import build_help_text
from app.gui.forms.steps import Step, summarize_step
from app.gui.theme import SCROLL_MARGINS
from app.gui.widgets import card, label, scroll_area, search_field, vbox
from app.profiles.document import KeyPath
from app.profiles.fields import FieldSpec, iter_fields, profile_fields
from app.profiles.profile import PROFILES

View = Literal["local", "endpoint", "max_rate"]
_GENERAL = "general"
_STEPS: tuple[Step, ...] = get_args(Step)
_ADVANCED_SECTIONS = (_GENERAL, "limits", "traffic", "plan", "options", "telemetry")
_SECTION_ORDER = ("target", "load", "workload", "slo", *_ADVANCED_SECTIONS)
_OPEN_SECTIONS: dict[View, tuple[str, ...]] = {
    "local": ("target", "workload"),
    "endpoint": ("target", "workload"),
    "max_rate": ("load", "slo"),
}
_SECTION_KEYS = {_GENERAL: ("name", "description", "sizewise"), "slo": ("slo", "gates"), "telemetry": ("telemetry",)}
_MAX_RESULTS = 30


class Problem(msgspec.Struct, frozen=True):
    """Validation error at `path`. `text` describes the error and suggests a correction."""

    path: KeyPath
    text: str


class ProfileForm(QWidget):
    """Form for a whole profile: the steps Target, Load and SLO, and the sections of the advanced
    settings. The heading of each step states what is set. The signals of `edits` report the user's
    edits; the owner of the document must then call `show_tree`."""

    result_selected = Signal(object)
    """Signal that is emitted with the `KeyPath` of a search result when the user selects the
    result."""

    def __init__(self) -> None:
        super().__init__()
        self.edits = Edits(self)
        self.edits.focused.connect(self._show_help)
        self.protocol: str | None = None
        self.view: View = "endpoint"
        self.sections: dict[str, CollapsibleSection] = {}
        self._advanced: CollapsibleSection | None = None
        self._cards: list[QFrame] = []
        self._special_editors: dict[str, list[QWidget]] = {}
        self._tree: Any = {}
        self._groups: dict[str, GroupEditor] = {}
        self.search = search_field("Find field (Ctrl+F)", "Find field")
        self._results: dict[str, KeyPath] = {}
        self._result_model = QStringListModel(self)
        self._completer = _create_completer(self._result_model, self.search)
        self._completer.activated.connect(self._open_result)
        self.search.textEdited.connect(self._update_results)
        self.search.returnPressed.connect(self._open_first_result)
        self._content = QWidget()
        self._column = vbox(1, within=self._content, margins=SCROLL_MARGINS, spacing=10)
        self.area = scroll_area(self._content)
        self.help = label("", "muted", wrap=True)
        self.help.setMinimumHeight(self.fontMetrics().lineSpacing())
        self.help.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        vbox(self.search, (self.area, 1), self.help, within=self)

    def show_tree(self, tree: dict[str, Any], protocol: str) -> None:
        """Show the values of a profile. The fields are rebuilt if the protocol has changed."""
        self._tree = tree
        if protocol != self.protocol:
            self._build(protocol)
        for name, section in self.sections.items():
            if name in _STEPS or not isinstance(section, NestedGroup):
                section.set_heading(_heading(name), _summary(name, tree))
            if isinstance(section, NestedGroup):
                section.show_value(tree.get(name, REMOVED))
            elif name in self._groups:
                self._groups[name].show_value(tree)

    def set_view(self, view: View) -> None:
        """Set the view, which determines which sections are expanded."""
        self.view = view
        self._arrange()

    def content_min_width(self) -> int:
        """Return the width, in pixels, below which the form scrolls horizontally."""
        return self._content.minimumSizeHint().width()

    def place_editor(self, key: str, widget: QWidget) -> None:
        """Place a special editor above the fields of a section. The fields that the special editor
        replaces are initially collapsed."""
        section = _find_section_name((key.split(".")[0],))
        self.edits.special_paths.add(key)
        self._special_editors.setdefault(section, []).append(widget)
        if section in self.sections:
            self._add_special_editors(section)

    def show_problems(self, problems: tuple[Problem, ...]) -> None:
        if self._advanced is not None:
            self._advanced.set_problem("")
        for name, section in self.sections.items():
            section.set_problem("")
            if isinstance(section, NestedGroup):
                section.clear_problems()
            elif name in self._groups:
                self._groups[name].clear_problems()
        for problem in reversed(problems):
            row = self._locate_part(problem.path, is_opening=False)
            if row is not None:
                row.set_problem(problem.text)
            container = self._find_container(_find_section_name(problem.path)) if problem.path else None
            if container is not None and not container.is_open:
                container.set_problem(problem.text)

    def reveal(self, path: KeyPath) -> bool:
        """Scroll to a field and focus the field. Return `False` if the form does not contain the
        field."""
        row = self._locate_part(path, is_opening=True)
        if row is None:
            return False
        self._column.activate()
        self.area.ensureWidgetVisible(row)
        row.focus()
        return True

    def find_part(self, path: KeyPath) -> Any:
        """Return the innermost row or heading of a field, after expanding the sections that contain
        the field. Return None if the form has no section for the field."""
        return self._locate_part(path, is_opening=True)

    def _locate_part(self, path: KeyPath, *, is_opening: bool) -> Any:
        if not path:
            return None
        name = _find_section_name(path)
        section = self.sections.get(name)
        if section is None:
            return None
        container = self._find_container(name)
        if container is not None and is_opening:
            container.set_open()
        if isinstance(section, NestedGroup):
            return section.find_part(path[1:], is_opening) or section
        if is_opening:
            section.set_open()
        return (self._groups[name].find_part(path, is_opening) if section.is_open else None) or section

    def _build(self, protocol: str) -> None:
        self.protocol = protocol
        for widgets in self._special_editors.values():
            for widget in widgets:
                widget.setParent(None)
        for frame in self._cards:
            self._column.removeWidget(frame)
            frame.hide()
            frame.deleteLater()
        self._groups = {}
        root = _with_protocols(profile_fields(protocol))
        sections = {name: self._create_section(name, root) for name in _SECTION_ORDER}
        self.sections = {name: section for name, section in sections.items() if section is not None}
        self._advanced = CollapsibleSection("Advanced", QWidget, role="heading", is_summary_permanent=True)
        self._cards = [card(self.sections[name]) for name in _STEPS] + [card(self._advanced)]
        for name, section in self.sections.items():
            container = self._find_container(name)
            if container is not None:
                container.add_leading_widget(section)
            self._add_special_editors(name)
        inner_names = (_heading(name) for name in self.sections if self._find_container(name) is self._advanced)
        self._advanced.set_heading("Advanced", ", ".join(inner_names))
        for index, frame in enumerate(self._cards):
            self._column.insertWidget(index, frame)
        self._arrange()

    def _find_container(self, name: str) -> CollapsibleSection | None:
        """Return the section that contains a section, or `None` for a step."""
        if name == "workload":
            return self.sections["load"]
        return self._advanced if name in _ADVANCED_SECTIONS else None

    def _create_section(self, name: str, root: FieldSpec) -> CollapsibleSection | None:
        keys = _SECTION_KEYS.get(name)
        if keys is None:
            spec = root.find_field(name)
            if spec is None:
                return None
            heading = _heading(name) if name in _STEPS else None
            role = "heading" if name in _STEPS else None
            return NestedGroup(spec, (name,), self.edits, -1, indent=0, role=role, heading=heading)
        fields = tuple(field for key in keys if (field := root.find_field(key)) is not None)
        spec = msgspec.structs.replace(root, fields=fields, key=name, one_of={})
        is_step = name in _STEPS
        return CollapsibleSection(
            _heading(name),
            lambda: self._create_group(name, spec),
            role="heading" if is_step else None,
            is_summary_permanent=is_step,
        )

    def _create_group(self, name: str, spec: FieldSpec) -> QWidget:
        group = GroupEditor(spec, (), self.edits)
        self._groups[name] = group
        group.show_value(self._tree)
        return group

    def _add_special_editors(self, section: str) -> None:
        for widget in self._special_editors.get(section, ()):
            if widget.parent() is None:
                self.sections[section].add_leading_widget(widget)

    def _arrange(self) -> None:
        for name, section in self.sections.items():
            is_absent = isinstance(section, NestedGroup) and section.is_absent
            section.set_open(name in _OPEN_SECTIONS[self.view] and not is_absent)
        if self._advanced is not None:
            self._advanced.set_open(False)
        last_widget: QWidget = self.search
        for frame in self._cards:
            last_widget = chain_tab_order(last_widget, frame)

    def _show_help(self, spec: FieldSpec) -> None:
        self.help.setText(f"{display_name(spec.key)}: {build_help_text(spec)}" if spec.help else "")

    def _update_results(self, text: str) -> None:
        terms = text.casefold().split()
        if not terms or self.protocol is None:
            self._results = {}
        else:
            fields = iter_fields(profile_fields(self.protocol))
            names_by_path = {path: " › ".join(display_name(key) for key in path if key != "*") for path, _ in fields}
            self._results = _find_matches(names_by_path, terms, self.protocol)
        self._result_model.setStringList(list(self._results))

    def _open_result(self, name: str) -> None:
        path = self._results.get(name)
        if path is not None:
            self.search.clear()
            self.reveal(path)
            self.result_selected.emit(path)

    def _open_first_result(self) -> None:
        if self._results:
            self._open_result(next(iter(self._results)))


def _find_section_name(path: KeyPath) -> str:
    return next((name for name, keys in _SECTION_KEYS.items() if path[0] in keys), str(path[0]))


def _find_matches(names_by_path: dict[tuple[str, ...], str], terms: list[str], protocol: str) -> dict[str, KeyPath]:
    """Return a mapping from the display names to the paths of the fields that match all search
    terms. Fields with matching names come first, followed by fields with matching help texts."""
    help_texts = {path: field.help.casefold() for path, field in iter_fields(profile_fields(protocol))}
    name_matches = [path for path, name in names_by_path.items() if all(term in name.casefold() for term in terms)]
    help_matches = [
        path for path in names_by_path if path not in name_matches and all(term in help_texts[path] for term in terms)
    ]
    matches = sorted(name_matches, key=lambda path: (terms[0] not in path[-1], len(path))) + help_matches
    results: dict[str, KeyPath] = {}
    for path in matches[:_MAX_RESULTS]:
        if path[-1] != "*":
            results.setdefault(names_by_path[path], tuple(0 if key == "*" else key for key in path))
    return results


def _create_completer(model: QStringListModel, line_edit: QLineEdit) -> QCompleter:
    completer = QCompleter(model, line_edit)
    completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
    line_edit.setCompleter(completer)
    return completer


def _with_protocols(root: FieldSpec) -> FieldSpec:
    """Return the field specifications of a profile with every protocol as a choice, although each
    type of profile allows only its own protocols."""
    target = root.find_field("target")
    assert target is not None
    fields = tuple(
        msgspec.structs.replace(field, choices=tuple(PROFILES), is_required=True) if field.key == "protocol" else field
        for field in target.fields
    )
    target = msgspec.structs.replace(target, fields=fields)
    return msgspec.structs.replace(
        root, fields=tuple(target if field.key == "target" else field for field in root.fields)
    )


def _heading(name: str) -> str:
    return f"{_STEPS.index(name) + 1}   {display_name(name)}" if name in _STEPS else display_name(name)


def _summary(name: str, tree: dict[str, Any]) -> str:
    if name in _STEPS:
        return summarize_step(name, tree)
    if name == _GENERAL:
        return shorten(str(tree.get("name", "")), 80)
    items = [item for key in _SECTION_KEYS[name] if isinstance(tree.get(key), list) for item in tree[key]]
    return shorten(", ".join(str(item) for item in items if isinstance(item, str)), 80) or ("none" if not items else "")
