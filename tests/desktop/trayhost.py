"""A panel as desktops have one, without a picture: takes tray icons in, and says in JSON what it would show of them.

Each line on standard input is a command, each line on standard output its answer: ``look``, ``activate``,
``click LABEL``, ``signals``, ``call METHOD SIGNATURE ARGUMENTS`` (of the menu), ``leave`` and ``return`` (the panel
goes, and comes back).
"""

from __future__ import annotations

import json
import sys
from typing import Any

from autosync.desktop.packages import borrow

borrow()

from gi.repository import Gio, GLib  # noqa: E402

WATCHER = "org.kde.StatusNotifierWatcher"
ITEM = "org.kde.StatusNotifierItem"
MENU = "com.canonical.dbusmenu"
XML = """
<node><interface name="org.kde.StatusNotifierWatcher">
  <method name="RegisterStatusNotifierItem"><arg type="s" direction="in"/></method>
</interface></node>
"""


class Host:
    def __init__(self) -> None:
        self.bus = Gio.bus_get_sync(Gio.BusType.SESSION, None)
        self.items: list[str] = []
        self.signals: list[str] = []
        (interface,) = Gio.DBusNodeInfo.new_for_xml(XML).interfaces
        self.bus.register_object("/StatusNotifierWatcher", interface, self.called, None, None)
        self.owning = 0
        for interface_name in (ITEM, MENU):
            self.bus.signal_subscribe(None, interface_name, None, None, None, 0, self.heard)

    def called(self, *call: Any) -> None:
        self.items = [*call[5].unpack()]
        call[6].return_value(None)

    def heard(self, *signal: Any) -> None:
        self.signals.append(signal[4])

    def ask(self, path: str, interface: str, method: str, arguments: Any) -> Any:
        answer = self.bus.call_sync(self.items[0], path, interface, method, arguments, None, 0, 10_000, None)
        return answer.unpack()

    def look(self) -> dict[str, Any]:
        if not self.items:
            return {}
        every = {}
        for name in ("Status", "Title", "IconName", "IconThemePath", "ToolTip", "Menu", "Category", "Id", "IconPixmap"):
            (every[name],) = self.ask(
                "/StatusNotifierItem", "org.freedesktop.DBus.Properties", "Get", GLib.Variant("(ss)", (ITEM, name))
            )
        revision, (_, _, children) = self.ask("/MenuBar", MENU, "GetLayout", GLib.Variant("(iias)", (0, -1, [])))
        return {**every, "revision": revision, "menu": [(number, props) for number, props, _ in children]}

    def do(self, words: list[str]) -> Any:
        match words:
            case ["look"]:
                return self.look()
            case ["signals"]:
                heard, self.signals = self.signals, []
                return heard
            case ["activate"]:
                return self.ask("/StatusNotifierItem", ITEM, "Activate", GLib.Variant("(ii)", (1, 1)))
            case ["click", *label]:
                number = next(n for n, p in self.look()["menu"] if p.get("label") == " ".join(label))
                event = GLib.Variant("(isvu)", (number, "clicked", GLib.Variant("i", 0), 0))
                return self.ask("/MenuBar", MENU, "Event", event)
            case ["call", method, signature, *arguments]:
                parsed = GLib.Variant.parse(GLib.VariantType(signature), " ".join(arguments), None, None)
                return self.ask("/MenuBar", MENU, method, parsed)
            case ["leave"]:
                Gio.bus_unown_name(self.owning)
                self.items = []
            case ["return"]:
                self.owning = Gio.bus_own_name_on_connection(self.bus, WATCHER, 0, None, None)
        return None

    def command(self, *_: Any) -> bool:
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        try:
            answer = self.do(line.split())
        except GLib.Error as error:
            answer = {"error": error.message}
        print(json.dumps(answer), flush=True)
        return True


if __name__ == "__main__":
    host = Host()
    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, host.command)
    GLib.MainLoop().run()
