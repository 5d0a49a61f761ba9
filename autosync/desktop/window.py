"""Shows one small window that takes a text: a process of its own, asked by its input, answering by its output."""

from __future__ import annotations

import json
import sys
from typing import Any

from autosync.desktop.packages import borrow
from autosync.desktop.text import plain

CANCELLED, NO_WINDOW, NO_DISPLAY = 10, 11, 12
"""Exit codes, none of which a crash has: the user did not want to; GTK is not there; nowhere to show a window."""
_SPACE = 12


def main() -> int:
    """Show the window that JSON on standard input asks for; write the text as JSON to standard output."""
    asked = json.load(sys.stdin)
    borrow()
    try:
        import gi  # noqa: PLC0415  (found by `borrow`)

        gi.require_version("Gdk", "3.0")  # else it is the newest one that is installed, with which Gtk 3 cannot be
        gi.require_version("Gtk", "3.0")
        from gi.repository import Gdk, Gtk  # noqa: PLC0415
    except (ImportError, ValueError):
        return NO_WINDOW
    if not Gtk.init_check([])[0]:
        return NO_DISPLAY
    text = _Window(Gtk, Gdk, asked["title"], asked["text"], asked["problem"]).ask()
    if text is None:
        return CANCELLED
    json.dump({"text": text}, sys.stdout)
    return 0


class _Window:
    """The window; ``gtk`` and ``gdk`` are the modules, which there need not be on every machine."""

    def __init__(self, gtk: Any, gdk: Any, title: str, text: str, problem: str) -> None:
        self._gtk, self._gdk = gtk, gdk
        self._answer: str | None = None
        self._window = gtk.Window(title=plain(title), default_width=560, default_height=300, icon_name="autosync")
        self._window.set_position(gtk.WindowPosition.CENTER)
        self._window.connect("destroy", gtk.main_quit)
        self._window.connect("key-press-event", self._key)
        self._view = gtk.TextView(monospace=True, wrap_mode=gtk.WrapMode.WORD_CHAR, accepts_tab=False)
        for side in ("left", "right", "top", "bottom"):
            getattr(self._view, f"set_{side}_margin")(_SPACE // 2)
        self._view.get_buffer().set_text(text)
        self._view.get_accessible().set_name("Message of the commit")
        box = gtk.Box(orientation=gtk.Orientation.VERTICAL, spacing=_SPACE, border_width=_SPACE)
        if problem:
            told = gtk.Label(label=problem, wrap=True, xalign=0, selectable=True)
            box.pack_start(told, False, False, 0)
        scrolled = gtk.ScrolledWindow(shadow_type=gtk.ShadowType.IN)
        scrolled.add(self._view)
        box.pack_start(scrolled, True, True, 0)
        box.pack_start(self._buttons(), False, False, 0)
        self._window.add(box)

    def ask(self) -> str | None:
        """Return what the user wrote, ``None`` if he closed the window."""
        self._window.show_all()
        self._window.present()
        self._view.grab_focus()
        self._gtk.main()
        return self._answer

    def _buttons(self) -> Any:
        row = self._gtk.Box(spacing=_SPACE)
        hint = self._gtk.Label(label="Ctrl+Enter: done     Escape: leave it as it is")
        row.pack_start(hint, False, False, 0)
        done = self._gtk.Button(label="Describe")
        done.get_style_context().add_class("suggested-action")
        done.connect("clicked", self._done)
        leave = self._gtk.Button(label="Cancel")
        leave.connect("clicked", lambda _: self._window.destroy())
        row.pack_end(done, False, False, 0)
        row.pack_end(leave, False, False, 0)
        return row

    def _key(self, _window: Any, event: Any) -> bool:
        if event.keyval == self._gdk.KEY_Escape:
            self._window.destroy()
            return True
        enters = (self._gdk.KEY_Return, self._gdk.KEY_KP_Enter)
        if event.keyval in enters and event.state & self._gdk.ModifierType.CONTROL_MASK:
            self._done()
            return True
        return False

    def _done(self, *_: Any) -> None:
        buffer = self._view.get_buffer()
        self._answer = buffer.get_text(buffer.get_start_iter(), buffer.get_end_iter(), False)
        self._window.destroy()


if __name__ == "__main__":
    sys.exit(main())
