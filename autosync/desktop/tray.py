"""The tray icon: says over D-Bus what it looks like, and hands on what is chosen in its menu."""

from __future__ import annotations

import html
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from gi.repository import Gio, GLib

from autosync.desktop.trayinterfaces import ITEM, ITEM_XML, MENU, MENU_XML, WATCHER
from autosync.desktop.traymenu import Choice, Entry, Face, face_of

log = logging.getLogger(__name__)

ICONS = os.path.join(os.path.dirname(__file__), "icons")
_ITEM_PATH, _MENU_PATH = "/StatusNotifierItem", "/MenuBar"
_ROOT = {"children-display": GLib.Variant("s", "submenu")}
"""What is to be known of the menu itself, whose number is 0."""
_REFUSED = "org.freedesktop.DBus.Error.InvalidArgs"


class Tray:
    """An icon in the notification area of whoever shows one, now or later; of GLib's main loop.

    ``chosen`` is told what the user wants, in the main loop's thread: it must return at once.  Raises
    ``GLib.Error`` if there is no session bus.
    """

    def __init__(self, chosen: Callable[[Choice], None]) -> None:
        self._chosen = chosen
        self._face = face_of(None)
        self._revision = 1
        self._bus = Gio.bus_get_sync(Gio.BusType.SESSION, None)
        self._name = f"{ITEM}-{os.getpid()}-1"
        self._objects = [
            self._export(_ITEM_PATH, ITEM_XML, self._item_called, self._item_property),
            self._export(_MENU_PATH, MENU_XML, self._menu_called, self._menu_property),
        ]
        self._owning = Gio.bus_own_name_on_connection(self._bus, self._name, Gio.BusNameOwnerFlags.NONE, None, None)
        # A panel that is started anew wants to be told again.
        self._watching = Gio.bus_watch_name_on_connection(
            self._bus, WATCHER, Gio.BusNameWatcherFlags.NONE, lambda *_: self._register(), None
        )

    def show(self, status: Mapping[str, Any] | None) -> None:
        """Show how an agent is; ``None`` if there is none.  Nothing is sent if that looks as before."""
        before, self._face = self._face, face_of(status)
        now = self._face
        if now.icon != before.icon:
            self._signal(_ITEM_PATH, ITEM, "NewIcon")
            self._signal(_ITEM_PATH, ITEM, "NewTitle")
        if now.needs_attention != before.needs_attention:
            self._signal(_ITEM_PATH, ITEM, "NewStatus", GLib.Variant("(s)", (_status_of(now),)))
        if (now.title, now.words) != (before.title, before.words):
            self._signal(_ITEM_PATH, ITEM, "NewToolTip")
        if now.entries != before.entries:
            self._revision += 1
            self._signal(_MENU_PATH, MENU, "LayoutUpdated", GLib.Variant("(ui)", (self._revision, 0)))

    def stop(self) -> None:
        """Take the icon away."""
        Gio.bus_unwatch_name(self._watching)
        Gio.bus_unown_name(self._owning)
        for registered in self._objects:
            self._bus.unregister_object(registered)

    # -- the bus -----------------------------------------------------------------------------
    def _export(self, path: str, xml: str, called: Callable[..., None], ask: Callable[..., Any]) -> int:
        (interface,) = Gio.DBusNodeInfo.new_for_xml(xml).interfaces
        return int(self._bus.register_object(path, interface, called, ask, None))

    def _register(self) -> None:
        self._bus.call(
            WATCHER,
            "/StatusNotifierWatcher",
            WATCHER,
            "RegisterStatusNotifierItem",
            GLib.Variant("(s)", (self._name,)),
            None,
            Gio.DBusCallFlags.NONE,
            -1,
            None,
            _registered,
        )

    def _signal(self, path: str, interface: str, name: str, arguments: Any = None) -> None:
        self._bus.emit_signal(None, path, interface, name, arguments)

    # -- the icon ------------------------------------------------------------------------------
    def _item_called(self, *call: Any) -> None:
        _, _, _, _, method, _, invocation = call
        if method == "Activate":
            self._chosen(Choice.OPEN)
        invocation.return_value(None)

    def _item_property(self, *asked: Any) -> Any:
        face, name = self._face, asked[4]
        found = {
            "Category": ("s", "ApplicationStatus"),
            "Id": ("s", "autosync"),
            "Title": ("s", face.title),
            "Status": ("s", _status_of(face)),
            "WindowId": ("i", 0),
            "IconThemePath": ("s", ICONS),
            "IconName": ("s", face.icon),
            "AttentionIconName": ("s", face.icon),
            "ToolTip": ("(sa(iiay)ss)", (face.icon, [], face.title, html.escape(face.words, quote=False))),
            "ItemIsMenu": ("b", False),
            "Menu": ("o", _MENU_PATH),
        }
        empty = ("a(iiay)", []) if name.endswith("Pixmap") else ("s", "")
        return GLib.Variant(*found.get(name, empty))

    # -- the menu --------------------------------------------------------------------------------
    def _menu_called(self, *call: Any) -> None:
        _, _, _, _, method, parameters, invocation = call
        answers: dict[str, Callable[..., Any]] = {
            "GetLayout": self._layout,
            "GetGroupProperties": self._group,
            "GetProperty": self._property,
            "Event": self._event,
            "EventGroup": self._events,
            "AboutToShow": lambda _number: GLib.Variant("(b)", (False,)),
            "AboutToShowGroup": lambda _numbers: GLib.Variant("(aiai)", ([], [])),
        }
        try:
            invocation.return_value(answers[method](*parameters.unpack()))
        except KeyError as unknown:
            invocation.return_dbus_error(_REFUSED, f"there is no {unknown} in the menu")

    def _menu_property(self, *asked: Any) -> Any:
        return {
            "Version": GLib.Variant("u", 3),
            "TextDirection": GLib.Variant("s", "ltr"),
            "Status": GLib.Variant("s", "normal"),
            "IconThemePath": GLib.Variant("as", []),
        }[asked[4]]

    def _layout(self, parent: int, depth: int, _names: list[str]) -> Any:
        if parent != 0:
            return self._variant_of_layout(parent, _properties(self._entry(parent)), [])
        entries = [] if depth == 0 else list(self._face.entries)
        children = [GLib.Variant("(ia{sv}av)", (e.number, _properties(e), [])) for e in entries]
        return self._variant_of_layout(0, _ROOT, children)

    def _variant_of_layout(self, number: int, properties: dict[str, Any], children: list[Any]) -> Any:
        return GLib.Variant("(u(ia{sv}av))", (self._revision, (number, properties, children)))

    def _group(self, numbers: list[int], _names: list[str]) -> Any:
        every = {0: _ROOT, **{e.number: _properties(e) for e in self._face.entries}}
        return GLib.Variant("(a(ia{sv}))", ([(n, p) for n, p in every.items() if not numbers or n in numbers],))

    def _property(self, number: int, name: str) -> Any:
        properties = _ROOT if number == 0 else _properties(self._entry(number))
        return GLib.Variant("(v)", (properties[name],))

    def _event(self, number: int, kind: str, _value: Any, _time: int) -> None:
        if kind == "clicked" and (choice := self._entry(number).choice) is not None:
            self._chosen(choice)

    def _events(self, events: list[tuple[int, str, Any, int]]) -> Any:
        known = {e.number for e in self._face.entries} | {0}
        for number, kind, value, time in events:
            if number in known - {0}:
                self._event(number, kind, value, time)
        return GLib.Variant("(ai)", ([number for number, *_ in events if number not in known],))

    def _entry(self, number: int) -> Entry:
        """Return a line of the menu.  Raises :class:`KeyError` for one that there is not, or not any more."""
        return {e.number: e for e in self._face.entries}[number]


def _registered(bus: Any, result: Any) -> None:
    try:
        bus.call_finish(result)
    except GLib.Error as error:  # it may have gone again: then the next one is told
        log.info("the tray icon is not shown: %s", error.message)


def _status_of(face: Face) -> str:
    return "NeedsAttention" if face.needs_attention else "Active"


def _properties(entry: Entry) -> dict[str, Any]:
    if not entry.label:
        return {"type": GLib.Variant("s", "separator")}
    return {
        # An underscore would be what the next letter is chosen by.
        "label": GLib.Variant("s", entry.label.replace("_", "__")),
        "enabled": GLib.Variant("b", entry.choice is not None),
    }
