"""Where the agent's log goes: to standard error, or to the journal."""

from __future__ import annotations

import logging
import sys

from autosync.cli.table import plain
from autosync.config import Config
from autosync.logbook import LOGBOOK
from autosync.systemd.journal import Journal, JournalHandler, JournalUnavailable


class PlainFormatter(logging.Formatter):
    """Writes one record, whatever is in its message: names and words of others cannot steer a terminal or make
    up records, for all but the first line are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the record without its traceback."""
        return "\n    ".join(plain(line) for line in super().formatMessage(record).split("\n"))


def log_to(config: Config, workspaces: set[str], *, verbose: bool, journal: bool) -> None:
    """Have everything logged to standard error or, if asked for and if it is there, to the journal.

    ``workspaces`` may get more names later: the journal can be searched for them.
    """
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    unavailable = ""
    if journal:
        try:
            handler = JournalHandler(Journal(), device=config.device, workspaces=workspaces, fallback=handler)
            handler.setFormatter(PlainFormatter("%(message)s"))
        except JournalUnavailable as error:
            unavailable = str(error)
    logging.basicConfig(level=logging.DEBUG if verbose else config.log_level, handlers=[handler, LOGBOOK])
    # An XMPP library's every stanza is not what --verbose asks for, and holds the login; what ends a
    # connection it would tell with a traceback, and the channel tells it in words.
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
    if unavailable:
        logging.getLogger(__name__).debug("no journal: %s", unavailable)
    elif journal and sys.stderr.isatty():
        sys.stderr.write("The log goes to the journal: journalctl -f -t autosync\n")
