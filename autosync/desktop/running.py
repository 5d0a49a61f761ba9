"""Runs the process of the desktop: follows the agent, shows what it does, ends with it."""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Callable

from autosync.config import Config, Popups
from autosync.desktop.following import Follower
from autosync.desktop.logged import Logged
from autosync.desktop.packages import cannot_show
from autosync.desktop.telling import Telling
from autosync.errors import AutosyncError
from autosync.pidlock import Held, PidLock

log = logging.getLogger(__name__)

_LOCK = "desktop.lock"


def run_desktop(config: Config, *, beside: int | None) -> int:
    """Show on this desktop what the agent of ``config`` does, until SIGTERM or SIGINT.

    ``beside`` is a file that whoever started this process holds the other end of: when that is closed, this ends
    too.  Raises :class:`AutosyncError` if another process does the same already.
    """
    try:
        os.makedirs(config.state_dir, mode=0o700, exist_ok=True)
        lock = PidLock(os.path.join(config.state_dir, _LOCK))
    except Held as held:
        raise AutosyncError(
            f"`autosync desktop` runs already, as process {held.pid}",
            hint="The agent starts it by itself; end that one first if you want to run it by hand.",
        ) from None
    except OSError as error:
        raise AutosyncError(
            f"{config.state_dir} cannot be written: {error.strerror}", hint="Check its rights and free space."
        ) from None
    wishes = config.popups or Popups()
    try:
        finding = cannot_show()
        if finding is None:  # who shows popups may come later: at a login everything starts at once
            return _with_popups(config, wishes, beside)
        log.warning("popups: %s. %s", finding.detail, finding.hint)
        return _with_lines(config, wishes, beside)
    finally:
        lock.release()


def _with_lines(config: Config, wishes: Popups, beside: int | None) -> int:
    """Follow the agent and log what popups would show."""
    logged = Logged(wishes)
    telling = Telling(config.source, config.state_dir, wishes, tell=logged.tell, wish=logged.wish)
    follower = Follower(config.state_dir, [telling], describes=lambda: False)
    asked, ask = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(ask, b"."))
    follower.start()
    select.select([asked, *([] if beside is None else [beside])], [], [])
    follower.stop()
    return 0


def _with_popups(config: Config, wishes: Popups, beside: int | None) -> int:
    """Follow the agent and show popups, in GLib's main loop."""
    from dbus.mainloop.glib import DBusGMainLoop  # noqa: PLC0415  (found by `cannot_show`)
    from gi.repository import GLib  # noqa: PLC0415

    from autosync.desktop.deeds import Deeds  # noqa: PLC0415  (all of these need the above)
    from autosync.desktop.describing import Describing  # noqa: PLC0415
    from autosync.desktop.panel import Panel, on_main_loop  # noqa: PLC0415
    from autosync.desktop.trayed import Trayed  # noqa: PLC0415

    DBusGMainLoop(set_as_default=True)
    loop = GLib.MainLoop()
    telling = Telling(
        config.source,
        config.state_dir,
        wishes,
        tell=lambda told: on_main_loop(lambda: panel.take(told)),
        wish=lambda wished: on_main_loop(lambda: panel.wish(wished)),
    )
    describing = Describing(config.state_dir)
    deeds = Deeds(
        config.source,
        config.state_dir,
        describe=describing.describe,
        resolved=telling.answered,
    )
    panel = Panel(wishes, deeds)
    trayed = Trayed(config.source, config.state_dir)
    follower = Follower(config.state_dir, [telling, trayed], describes=telling.describes)
    for number in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, _quitter(loop.quit))
    if beside is not None:
        GLib.unix_fd_add_full(
            GLib.PRIORITY_HIGH, beside, GLib.IOCondition.IN | GLib.IOCondition.HUP, _quitter(loop.quit)
        )
    follower.start()
    try:
        loop.run()
    finally:
        follower.stop()
        trayed.stop()
        panel.stop()
        describing.stop()
    return 0


def _quitter(leave: Callable[[], None]) -> Callable[..., bool]:
    def leaving(*_: object) -> bool:
        leave()
        return False

    return leaving
