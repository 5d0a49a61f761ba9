"""Resumes a session (XEP-0198) so that nothing that was said is lost, comes out of order or goes to a deaf server."""

from __future__ import annotations

from typing import ClassVar

from slixmpp.plugins.base import register_plugin
from slixmpp.plugins.xep_0198 import XEP_0198
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream.stanzabase import StanzaBase

NAME = "autosync_0198"
"""The name of the plugin for slixmpp."""
DEAF = "session_deaf"
"""The event that a session has been resumed in which the server hears nothing; the next login begins a new one."""
_PROOF = "Proof of resumption"


class Resumption(XEP_0198):
    """Stream management as slixmpp 1.17 has it, but for three things that cost a session.

    - What waits to be sent when the connection breaks is lost: it is neither sent nor noted as
      unacknowledged.  It is kept here for the session that goes on.
    - What was said while there was no connection goes out before that which was said earlier and
      has not arrived.  Here all goes out in the order in which it was said, as RFC 6120, section
      10.1, has it; the numbered blocks of a bytestream need it (XEP-0047, section 2.2).
    - Prosody (0.12.3) feeds what comes in a resumed session to the XML parser of the old connection.
      If that broke after half a stanza had been read, all that is said later becomes part of this
      stanza, and there is never an answer.  So the server is asked what it has received, before
      anything else is said; if it has not answered after ``patience`` seconds the session is given up.
    """

    name = NAME
    default_config: ClassVar[dict[str, object]] = {**XEP_0198.default_config, "patience": 5.0}
    patience: float

    def plugin_init(self) -> None:
        """Begin without a session."""
        self._unproved: StanzaBase | None = None
        super().plugin_init()  # type: ignore[no-untyped-call]  # untyped in slixmpp 1.17

    def disconnected(self, event: object) -> None:
        """Keep what waits to be sent.  The events of slixmpp come here once it holds back what is said."""
        super().disconnected(event)  # type: ignore[no-untyped-call]
        self._settle()
        waiting = self.xmpp.waiting_queue
        kept = []
        while not waiting.empty():
            kept.append(waiting.get_nowait())
            waiting.task_done()
        for stanza, is_new in kept:
            # The rest is noted as unacknowledged, or belongs to the connection that is gone.
            if is_new and isinstance(stanza, RootStanza):
                self.xmpp.send(stanza)

    def session_end(self, event: object) -> None:
        """Forget the session."""
        super().session_end(event)  # type: ignore[no-untyped-call]
        self._settle()

    def _handle_resumed(self, stanza: StanzaBase) -> None:
        self.xmpp.features.add("stream_management")  # type: ignore[union-attr]  # no component resumes
        self.enabled_in = True
        self._unproved = stanza
        self.xmpp.schedule(_PROOF, self.patience, self._give_up)  # type: ignore[arg-type]  # loop.call_later()'s
        self.request_ack()  # type: ignore[no-untyped-call]

    def _handle_ack(self, ack: StanzaBase) -> None:
        super()._handle_ack(ack)  # type: ignore[no-untyped-call]
        resumed = self._settle()
        if resumed is not None:
            for _, unacknowledged in self.unacked_queue:
                # send() would put it behind what was said later.
                self.xmpp.waiting_queue.put_nowait((unacknowledged, False))
            self.xmpp.event("session_resumed", resumed)

    def _give_up(self) -> None:
        self.xmpp.event("session_end")
        self.xmpp.event(DEAF, self.patience)

    def _settle(self) -> StanzaBase | None:
        """Return the answer to the resumption that is not proved yet, which then is proved or over."""
        unproved, self._unproved = self._unproved, None
        if unproved is not None:
            self.xmpp.cancel_schedule(_PROOF)
        return unproved


register_plugin(Resumption)
