"""Makes connections to the agent of another machine through ssh(1)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import select
import signal
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

log = logging.getLogger(__name__)

PORT = 22
MAX_AT_ONCE = 32
"""Programs that run at the same time."""
HOLD = 300.0
"""Seconds until what only a person can mend is tried again: a server may lock out who fails often."""
_HELD = 256
_BY_HAND = ("Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED", "Permission denied")
_CONNECTING = 10
"""Seconds for TCP and the keys of the machines."""
_GRACE = 3.0
"""Seconds that the program has to end by itself after its connection was closed."""
_MOST_WORDS = 8 * 1024
_ADDRESS = re.compile(
    r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})@"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?/(?P<agent>[0-9]{1,5})"
)
_CONNECTED = b"Authenticated to "
"""What OpenSSH tells with ``LogLevel=VERBOSE`` once the user is logged in."""
_OPTIONS = (
    "BatchMode=yes",  # nobody is there to answer
    # Nobody can lead this device to a machine that its user has never logged into.
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    # The other machine gets a connection to its agent, and nothing of this one.
    "ForwardAgent=no",
    "ForwardX11=no",
    "GSSAPIDelegateCredentials=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "Tunnel=no",
    "ControlMaster=no",
    "ControlPath=none",
    "ForkAfterAuthentication=no",
    f"ConnectTimeout={_CONNECTING}",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=2",
    "LogLevel=VERBOSE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """The port ``agent`` of the loopback interface of a machine that ssh logs into."""

    user: str
    host: str
    port: int
    agent: int

    @classmethod
    def parse(cls, text: str) -> SshAddress:
        """Return what ``user@host[:port]/agentport`` says.  Raises :class:`ValueError`.

        The alphabet is that of names and addresses: nothing in it is an option, a token of
        ssh_config(5), or a character that a shell or a terminal would take for more.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None or ".." in match["host"]:
            raise ValueError("must be user@host[:port]/agentport")
        port, agent = int(match["port"] or PORT), int(match["agent"])
        if not (0 < port < 65536 and 0 < agent < 65536):
            raise ValueError("has a port that is none")
        return cls(user=match["user"], host=match["host"].strip("[]"), port=port, agent=agent)

    def login(self) -> str:
        """Return the command with which a person logs in there."""
        port = "" if self.port == PORT else f"-p {self.port} "
        return f"ssh {port}{self.user}@{self.host}"


class Tunnel(socket.socket):
    """A connection that a program carries."""

    problem: str = ""
    """Why the program ended, once it has; set before the connection ends."""
    by_hand: bool = False
    """Whether only a person can mend that."""
    is_silent: bool = False
    """Whether the program itself has not said why: it was the other end."""


class SshConnector:
    """Runs a program for each connection, which ends with it.

    ``command`` begins the command line.
    """

    def __init__(self, command: Iterable[str] = ("ssh",)) -> None:
        self._command = tuple(command)
        self._carrying: set[asyncio.Task[None]] = set()
        self._held: dict[str, tuple[float, str]] = {}

    async def connect(self, address: str) -> socket.socket:
        """Return a connection to an agent once ssh has logged in there.

        ``address`` is as :meth:`SshAddress.parse` takes it.  Raises :class:`OSError` with what
        the user can do about it.
        """
        try:
            to = SshAddress.parse(address)
        except ValueError as error:
            raise OSError(f"an address for ssh {error}") from None
        clock = asyncio.get_running_loop().time
        until, problem = self._held.get(address, (0.0, ""))
        if clock() < until:
            raise OSError(problem)
        if len(self._carrying) >= MAX_AT_ONCE:
            raise OSError("too many connections through ssh")
        tunnel, running = self._start(to)
        connected = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(_carry(running, to, tunnel, connected), name=f"ssh {to.user}@{to.host}")
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        try:
            await connected
        except BaseException:
            tunnel.close()
            raise
        if tunnel.problem:
            tunnel.close()
            if tunnel.by_hand:
                self._held.pop(address, None)
                self._held[address] = clock() + HOLD, tunnel.problem
                if len(self._held) > _HELD:
                    del self._held[next(iter(self._held))]
            raise OSError(tunnel.problem)
        return tunnel

    async def stop(self) -> None:
        """End every program."""
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    def _start(self, to: SshAddress) -> tuple[Tunnel, _Running]:
        ours, theirs = socket.socketpair()
        try:
            program = subprocess.Popen(
                [*self._command, *arguments(to)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C at the agent's terminal is for the agent
            )
        except BaseException as error:
            ours.close()
            theirs.close()
            if isinstance(error, FileNotFoundError):
                raise OSError(f"the program {self._command[0]} is not installed") from None
            raise
        ours.setblocking(False)
        return Tunnel(fileno=ours.detach()), _Running(program, theirs)


def arguments(to: SshAddress) -> list[str]:
    """Return the arguments for ssh(1)."""
    options = [word for option in _OPTIONS for word in ("-o", option)]
    return ["-T", *options, "-p", str(to.port), "-l", to.user, "-W", f"127.0.0.1:{to.agent}", "--", to.host]


class _Running:
    """A program, this side's copy of its end of the connection, and when either of them ends."""

    def __init__(self, program: subprocess.Popen[bytes], end: socket.socket) -> None:
        assert program.stderr is not None  # noqa: S101 - it is a pipe
        self.program = program
        self.words = program.stderr
        os.set_blocking(self.words.fileno(), False)
        self._end = end
        self._watch = select.epoll()
        # Only that the other end was closed is told (epoll(7), EPOLLHUP), not what comes in.
        self._watch.register(end, 0)
        self.closed = asyncio.Event()
        self.ended = asyncio.Event()
        self._pid = os.pidfd_open(program.pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._watch.fileno(), self._seen, self._watch.fileno(), self.closed)
        loop.add_reader(self._pid, self._seen, self._pid, self.ended)

    def _seen(self, watched: int, event: asyncio.Event) -> None:
        asyncio.get_running_loop().remove_reader(watched)
        event.set()

    async def end(self) -> None:
        """Give the program a moment to end by itself."""
        if not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await self.ended.wait()

    def release(self) -> None:
        """End the program, and with it the connection."""
        loop = asyncio.get_running_loop()
        for watched in (self._watch.fileno(), self._pid, self.words.fileno()):
            loop.remove_reader(watched)
        # Its group with it: what it started to get there. It was not waited for yet, so the number is its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.program.pid, signal.SIGKILL)
        self.program.wait()
        self.words.close()
        self._watch.close()
        os.close(self._pid)
        self._end.close()


async def _carry(running: _Running, to: SshAddress, tunnel: Tunnel, connected: asyncio.Future[None]) -> None:
    """Watch over a program until it or its connection has ended."""
    words = bytearray()
    loop = asyncio.get_running_loop()

    def hear() -> None:
        try:
            heard = os.read(running.words.fileno(), 4096)
        except BlockingIOError:
            return
        if not heard:
            loop.remove_reader(running.words.fileno())
        words.extend(heard)
        del words[:-_MOST_WORDS]
        if _CONNECTED in words and not connected.done():
            connected.set_result(None)

    loop.add_reader(running.words.fileno(), hear)
    waits = [asyncio.ensure_future(running.closed.wait()), asyncio.ensure_future(running.ended.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await running.end()
        hear()
        if running.ended.is_set():
            tunnel.problem = explain(bytes(words), to)
            tunnel.is_silent = tunnel.problem == _ended(to)
            tunnel.by_hand = any(cause.encode() in words for cause in _BY_HAND)
            log.debug("ssh to %s ended: %s", to.host, tunnel.problem)
    finally:
        for wait in waits:
            wait.cancel()
        running.release()
        if not connected.done():
            connected.set_result(None)


def explain(words: bytes, to: SshAddress) -> str:
    """Return why a connection to ``to`` ended, from what ssh has told on its standard error."""
    lines = [line.strip() for line in words.decode("utf-8", "replace").splitlines()]
    lines = ["".join(c for c in line if c.isprintable()) for line in lines]
    told = [line for line in lines if line and not line.startswith((_CONNECTED.decode(), "Transferred:", "Bytes per"))]
    text = "\n".join(told)
    by_hand = f"run `{to.login()}` once"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text:
        return f"the host key of {to.host} is not the one it was: look into it, then {by_hand}"
    if "Host key verification failed" in text:
        return f"the host key of {to.host} is not known here: {by_hand} and compare it"
    if "Permission denied" in text:
        return f"{to.host} lets {to.user} not in without a password: {by_hand} (a key or an agent is needed)"
    if "open failed" in text:
        refused = "administratively prohibited" in text
        why = "its sshd does not allow forwarding" if refused else f"no agent listens at its port {to.agent}"
        return f"ssh to {to.host} works, but {why}"
    return _ended(to) + (f": {told[-1][:200]}" if told else "")


def _ended(to: SshAddress) -> str:
    return f"ssh to {to.host} ended"
