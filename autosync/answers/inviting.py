"""Answers what the command line asks about invitations, and tells who came by them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from autosync.activities import Activity
from autosync.backends.kinship import traces_of
from autosync.broadcast import Broadcaster
from autosync.config import Config, Mode, Vcs
from autosync.errors import AutosyncError
from autosync.invitation import Invitation, Invitations, Offer, XmppOffer, text_of
from autosync.invitation.grant import PLACES
from autosync.invitation.inviter import Visitor
from autosync.invitation.remotes import hub_of
from autosync.link import Links
from autosync.relays import Relays
from autosync.trust.sealing import key_text
from autosync.workspace import Workspace

log = logging.getLogger(__name__)

LEAST, MOST = 1.0, 7 * 86400.0
"""Seconds that an invitation may be open."""


class Inviting:
    """The invitations of one agent.

    ``config`` returns the configuration as it is now; ``happened`` is told who came.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        broadcaster: Broadcaster,
        links: Links,
        relays: Relays,
        happened: Callable[[Activity], None],
    ) -> None:
        self._config = config
        self._broadcaster = broadcaster
        self._happened = happened
        self.invitations = Invitations(links, relays, device=broadcaster.device, name=broadcaster.name, tell=self._tell)

    async def invite(self, chosen: Sequence[Workspace], arguments: dict[str, Any]) -> dict[str, Any]:
        """Open an invitation to the one workspace that is chosen, for ``seconds``, for one device if ``once``.

        Raises :class:`AutosyncError`.
        """
        config = self._config()
        if len(chosen) != 1:
            names = ", ".join(w.config.workspace for w in chosen)
            raise AutosyncError(
                "It is not clear which workspace is meant" if names else "There is no workspace to invite to",
                hint=f"Name one of them: {names}" if names else "Add one: `autosync init PATH`",
            )
        if config.listen is None:
            raise AutosyncError(
                "Nobody can come by an invitation here: direct connections are off (`listen: none`)",
                hint="Remove that key and start the agent again, or copy the key file by hand (docs/joining.md).",
            )
        seconds = arguments.get("seconds", 600.0)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not LEAST <= seconds <= MOST:
            raise AutosyncError("An invitation is open for 1 second to 7 days", hint="For example --expires 10m")
        (workspace,) = chosen
        offer = partial(self._offer, workspace)
        await asyncio.get_running_loop().run_in_executor(None, offer)  # asks git or hg; fails here, not at the visitor
        invitation, line = self.invitations.open(
            offer,
            partial(key_text, workspace.config.key_file),
            self._broadcaster.candidates(),
            seconds=math.ceil(seconds),
            once=arguments.get("once") is True,
        )
        return {
            **_shown(invitation),
            "line": str(line),
            "addresses": [text_of(candidate) for candidate in line.candidates],
            "ways": [{"kind": c.kind.value, "address": text_of(c)} for c in line.candidates],
        }

    def listed(self) -> list[dict[str, Any]]:
        """Return the open invitations; never their lines."""
        return [_shown(invitation) for invitation in self.invitations.listed()]

    async def cancel(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Close the invitation ``id``, or all.  Raises :class:`AutosyncError` if there is none such."""
        wanted = arguments.get("id")
        closed = await self.invitations.cancel(lambda invitation: wanted in ("all", invitation.id))
        if not closed and wanted != "all":
            raise AutosyncError(
                f"No invitation {str(wanted)[:20]!r} is open", hint="`autosync invite --list` shows those that are."
            )
        return {"invitations": [_shown(invitation) for invitation in closed]}

    def _offer(self, workspace: Workspace) -> Offer:
        """Return what is granted but for the key; in a thread, for it asks the version control."""
        config, path = self._config(), workspace.config
        xmpp = config.xmpp
        return Offer(
            workspace=path.workspace,
            id=workspace.member.key.id,
            tag=workspace.member.key.tag,
            vcs=workspace.backend.vcs,
            device=self._broadcaster.device,
            device_name=self._broadcaster.name,
            candidates=tuple(self._broadcaster.candidates()),
            hub=hub_of(path, workspace.backend.vcs),
            xmpp=None
            if xmpp is None
            else XmppOffer(
                jid=xmpp.jid,
                host=xmpp.host,
                port=xmpp.port,
                service=xmpp.service,
                node=xmpp.node,
                members=xmpp.members,
            ),
            places={key: place for key in PLACES if (place := getattr(config, key)) is not None},
            **_history(workspace),
        )

    def _tell(self, what: str, invitation: Invitation, visitor: Visitor) -> None:
        if what == "joined":
            log.info("%s: %s (%s) has joined by invitation", invitation.workspace, visitor.name, visitor.address)
            text = "joined by invitation"
        else:
            log.warning(
                "%s: %s (%s) was refused: its invitation was for one device, and another one has joined by it. If you "
                "do not know it, somebody else has seen the line",
                invitation.workspace,
                visitor.name,
                visitor.address,
            )
            text = "refused: the invitation was for one device, and another one has joined by it"
        self._happened(
            Activity(
                kind=what,
                workspace=invitation.workspace,
                device=visitor.name,
                at_ms=time.time() * 1000,
                text=f"{text} ({visitor.address})",
            )
        )


def _history(workspace: Workspace) -> dict[str, Any]:
    """Return by what another repository shows that it has the same history; nothing for what has none checked out."""
    path = workspace.config
    if path.mode is Mode.STORE:
        return {}
    branch = workspace.backend.base().branch or ""
    commits = traces_of(path.path, Vcs(workspace.backend.vcs), path.hg)
    return {"commits": commits, "branch": branch if branch.isprintable() else ""}


def _shown(invitation: Invitation) -> dict[str, Any]:
    def visitors(of: dict[Any, Visitor]) -> list[dict[str, str]]:
        return [{"device": v.device, "name": v.name, "address": v.address} for v in of.values()]

    return {
        "id": invitation.id,
        "workspace": invitation.workspace,
        "seconds": round(invitation.seconds_left),
        "once": invitation.once,
        "joined": visitors(invitation.joined),
        "refused": visitors(invitation.refused),
    }
