"""Shows popups by the desktop's notification server (Desktop Notifications Specification), through notify2."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import dbus
import dbus.exceptions
import notify2

from autosync.config import Urgency
from autosync.desktop.popup import Deed, Popup
from autosync.desktop.text import LONGEST_TITLE, body, plain

log = logging.getLogger(__name__)

NAME = "org.freedesktop.Notifications"
_PLACE = "/org/freedesktop/Notifications"
_LEVELS = {Urgency.LOW: 0, Urgency.NORMAL: 1, Urgency.CRITICAL: 2}
_ICON = "autosync"
_PATIENCE = 5.0
"""Seconds that the server may take to answer."""
_TO_ANSWER = 60_000
"""Milliseconds that a popup with a question stays, where the server leaves that to us."""
_DISTURBED = ((NAME, _PLACE, NAME, "Inhibited"), (NAME, _PLACE, "org.dunstproject.cmd0", "paused"))
"""Where servers say that the user wants no popups now: KDE's, and dunst's."""


class _Everybody(dict[int, Any]):
    """notify2's popups by number.  Servers tell every program of every popup, and notify2 knows only its own."""

    def __missing__(self, number: int) -> Any:
        self[number] = notify2.Notification("")
        return self[number]


class _Impatient:
    """The notification server, which has to answer soon: everything else of this process waits meanwhile."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def __getattr__(self, method: str) -> Any:
        return partial(getattr(self._server, method), timeout=_PATIENCE)


class Notifications:
    """The popups on the screen, by key; for the thread of the main loop.

    ``pressed`` is called with what a button asks for, ``closed`` with the key of a popup that is gone.
    """

    def __init__(self, pressed: Callable[[Popup, Deed], None], closed: Callable[[str], None]) -> None:
        self._pressed = pressed
        self._closed = closed
        self._shown: dict[str, Any] = {}
        self._ready = False
        self._capabilities: frozenset[str] = frozenset()

    def watch(self) -> None:
        """Take note of when the server comes and goes.  Raises :class:`dbus.DBusException` without a bus."""
        dbus.SessionBus().watch_name_owner(NAME, self._owner_changed)

    def show(self, popup: Popup, urgency: Urgency) -> bool:
        """Show a popup, or change it in place; return whether it could be.  An answer may take seconds."""
        try:
            if not self._ready:
                self._connect()
            self._show(popup, urgency)
        except dbus.exceptions.DBusException as error:
            log.info("no popup can be shown: %s", error.get_dbus_message())
            self._forget()
            return False
        return True

    def take_away(self, key: str) -> None:
        """Close a popup."""
        shown = self._shown.pop(key, None)
        if shown is None:
            return
        try:
            shown.close()
        except dbus.exceptions.DBusException as error:  # it is not there any more
            log.debug("a popup could not be closed: %s", error.get_dbus_message())

    def _connect(self) -> None:
        notify2.notifications_registry = _Everybody()
        notify2.init("autosync")
        notify2.dbus_iface = _Impatient(notify2.dbus_iface)
        self._capabilities = frozenset(notify2.get_server_caps())
        self._ready = True

    def _owner_changed(self, owner: str) -> None:
        if not owner:
            log.info("what shows popups has gone")
        self._forget()

    def _forget(self) -> None:
        """What was shown is gone, and whoever comes may be able to do other things."""
        self._ready = False
        for key in list(self._shown):
            del self._shown[key]
            self._closed(key)

    def _show(self, popup: Popup, urgency: Urgency) -> None:
        lines = popup.lines
        if "actions" not in self._capabilities:
            lines = (*lines, popup.instead)
        text = body(lines, markup="body-markup" in self._capabilities)
        shown = self._shown.get(popup.key)
        if shown is None:
            shown = self._shown[popup.key] = notify2.Notification("", "", _ICON)
        shown.update(plain(popup.title, LONGEST_TITLE), text)
        shown.set_urgency(_LEVELS[Urgency.NORMAL if urgency is Urgency.CRITICAL and self._is_disturbing() else urgency])
        shown.set_category("transfer.complete")
        shown.connect("closed", lambda _: self._went(popup.key, shown))
        shown.timeout = _TO_ANSWER if popup.buttons and popup.lasting else notify2.EXPIRES_DEFAULT
        shown.actions.clear()
        if "actions" in self._capabilities:
            for number, button in enumerate(popup.buttons):
                shown.add_action(str(number), button.label, self._press, (popup, button.deed))
        shown.show()

    def _press(self, shown: Any, _action: str, asked: tuple[Popup, Deed]) -> None:
        popup, deed = asked
        if self._shown.get(popup.key) is shown:
            # Some servers leave it there, and it was answered.
            self.take_away(popup.key)
            self._closed(popup.key)
        self._pressed(popup, deed)

    def _went(self, key: str, shown: Any) -> None:
        if self._shown.get(key) is shown:
            del self._shown[key]
            self._closed(key)

    @staticmethod
    def _is_disturbing() -> bool:
        """Return whether the user asked for no popups for now: then none of ours is to pass through."""
        for name, place, interface, wanted in _DISTURBED:
            try:
                # Nothing is asked about its interfaces, for which there would be no timeout.
                server = dbus.SessionBus().get_object(name, place, introspect=False)
                properties = dbus.Interface(server, dbus.PROPERTIES_IFACE)
                if bool(properties.Get(interface, wanted, timeout=_PATIENCE)):
                    return True
            except dbus.exceptions.DBusException:  # this server has no such thing
                continue
        return False
