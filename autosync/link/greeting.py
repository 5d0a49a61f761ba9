"""Finds out who is at the other end of a connection, and proves who is at this one."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import OrderedDict
from collections.abc import Iterable

from autosync.core.candidates import CandidateKind
from autosync.link.dialling import Unlinked
from autosync.link.hello import INSTANCE_BYTES, NONCE_BYTES, Hello, HelloRefused, NoHello, open_hello, receive_hello
from autosync.link.workspace import WorkspaceHandle, called
from autosync.trust.identity import Identity

log = logging.getLogger(__name__)

_MAX_NONCES = 4096
"""Hellos that are remembered so that a recorded one is not answered again."""


class Greeting:
    """The hellos of one run of an agent."""

    def __init__(self, identity: Identity) -> None:
        self.instance = os.urandom(INSTANCE_BYTES)
        """What tells this run from others of the same device."""
        self._identity = identity
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._dialled: set[bytes] = set()
        self._met: set[bytes] = set()

    async def identify(
        self, connection: socket.socket, handles: Iterable[WorkspaceHandle]
    ) -> tuple[WorkspaceHandle, Hello]:
        """Return who calls, and for which workspace.  Raises :class:`HelloRefused`; nothing is sent."""
        sealed = await receive_hello(connection)
        for handle in handles:
            if handle.key.fits(sealed):
                hello = open_hello(handle.key, sealed, answers=None)
                self._refuse_replay(hello)
                self._refuse_self(handle, hello)
                return handle, hello
        raise HelloRefused("stranger")

    async def answer(self, connection: socket.socket, handle: WorkspaceHandle, peer: Hello, *, within: float) -> None:
        """Say hello to ``peer``, who has called, within some seconds.  Raises :class:`OSError`."""
        mine = self._hello(handle, peer.number, CandidateKind.LAN)
        async with asyncio.timeout(within):
            await asyncio.get_running_loop().sock_sendall(connection, mine.sealed(handle.key, answers=peer.nonce))

    async def call(
        self, connection: socket.socket, handle: WorkspaceHandle, number: int, kind: CandidateKind, *, within: float
    ) -> Hello:
        """Say hello first and return the answer, within some seconds.

        ``number`` counts the connections that are made, ``kind`` is that of the way.  Raises :class:`Unlinked`
        if nobody is there who could be taken, and :class:`OSError`.
        """
        mine = self._hello(handle, number, kind)
        self._dialled.add(mine.nonce)
        try:
            async with asyncio.timeout(within):
                await asyncio.get_running_loop().sock_sendall(connection, mine.sealed(handle.key, answers=None))
                return open_hello(handle.key, await receive_hello(connection), answers=mine.nonce)
        except NoHello:
            if mine.nonce in self._met:
                raise Unlinked("that is this device itself") from None
            raise Unlinked("it does not know this workspace, or its key is another one") from None
        except HelloRefused as refused:
            raise Unlinked(f"not a peer ({refused.reason})") from None
        finally:
            self._dialled.discard(mine.nonce)
            self._met.discard(mine.nonce)

    def _hello(self, handle: WorkspaceHandle, number: int, kind: CandidateKind) -> Hello:
        return Hello(
            device=handle.device,
            name=handle.name,
            certificate_der=self._identity.certificate_der,
            instance=self.instance,
            number=number,
            nonce=os.urandom(NONCE_BYTES),
            kind=kind,
        )

    def _refuse_replay(self, hello: Hello) -> None:
        # Whoever replays a hello cannot go on without the private key.  He need not even
        # learn that there is somebody who can open it.
        if hello.nonce in self._seen:
            raise HelloRefused("replay")
        self._seen[hello.nonce] = None
        if len(self._seen) > _MAX_NONCES:
            self._seen.popitem(last=False)

    def _refuse_self(self, handle: WorkspaceHandle, hello: Hello) -> None:
        if hello.device != handle.device:
            return
        if hello.nonce in self._dialled:
            self._met.add(hello.nonce)
            raise HelloRefused("")
        log.warning("%s: another device has the id of this one, %s: a copied state-dir?", called(handle), handle.device)
        raise HelloRefused("copied state-dir")
