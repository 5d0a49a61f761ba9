"""Connections through a real sshd: they work, they tell what is wrong, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from autosync.core.candidates import Candidate, CandidateKind
from autosync.link.carriage import Carriage
from autosync.link.ssh import SshAddress, SshConnector, arguments
from tests.edges.linked_devices import QUICK, eventually, running
from tests.edges.listeners import listening
from tests.edges.ssh_server import SshServer
from tests.figures import record
from tests.ports import free_ports

HOSTILE = (
    "-oProxyCommand=touch${IFS}pwned@host/1",
    "you@-oProxyCommand=touch pwned/1",
    "you@-v/1",
    "-l@host/1",
    "you@host -oProxyCommand=x/1",
    "you@host\n/1",
    "you@host/1\n",
    "you@%h/1",
    "%u@host/1",
    "you@host;touch pwned/1",
    "you@$(touch pwned)/1",
    "you@`touch pwned`/1",
    "you@[::1%lo]/1",
    "you@host:0/1",
    "you@host:65536/1",
    "you@host/0",
    "you@host/99999",
    "you@host",
    "you@host/",
    "host/1",
    "@host/1",
    "you@/1",
    "you@host/1/2",
    "you@host:/1",
    "you@a..b/1",
    "you@hóst/1",
    "ssh://you@host/1",
    "you@host/\u0661",
    "",
)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A running sshd."""
    with SshServer(tmp_path_factory.mktemp("sshd") / "server") as server:
        yield server


@contextlib.asynccontextmanager
async def connector(*command: str) -> AsyncIterator[SshConnector]:
    """A connector; nothing that it has started may be left in the end."""
    made = SshConnector(command)
    yield made
    await made.stop()
    assert not children(), "programs were left behind"


def children(parent: int | None = None) -> list[int]:
    """Return the process ids of the ssh programs that this process, or ``parent``, has started, the dead ones too."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,comm=", "--ppid", str(parent or os.getpid())],
        capture_output=True,
        text=True,
        check=False,  # without any child it fails
    )
    return [int(pid) for pid, name, *_ in map(str.split, found.stdout.splitlines()) if name == "ssh"]


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A port where everything comes back."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()

    async with listening(answer) as port:
        yield port


async def test_bytes_go_both_ways_and_the_program_ends_with_its_connection(sshd: SshServer) -> None:
    loop = asyncio.get_running_loop()
    content = os.urandom(300_000)
    async with echo() as port, connector(*sshd.command) as ssh:
        connection = await ssh.connect(sshd.address(port))

        async def back() -> bytes:
            received = bytearray()
            while len(received) < len(content):
                received += await loop.sock_recv(connection, 65536)
            return bytes(received)

        _, returned = await asyncio.gather(loop.sock_sendall(connection, content), back())
        assert returned == content
        assert len(children()) == 1
        connection.close()
        await eventually(lambda: not children())


async def test_a_device_is_linked_through_ssh_alone(sshd: SshServer, tmp_path: Path) -> None:
    async with (
        connector(*sshd.command) as ssh,
        running(tmp_path, "laptop") as laptop,
        running(tmp_path, "desktop") as desktop,
    ):
        laptop.links.add_connector(CandidateKind.SSH, ssh.connect, carriage=Carriage(timing=QUICK))
        way = Candidate(kind=CandidateKind.SSH, address=sshd.address(desktop.links.port))
        laptop.links.learn(None, None, [way])
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        laptop.say("through ssh")
        assert await desktop.hears() == ("laptop", "through ssh")
        # The program of an attempt that was not needed may not have ended yet.
        await eventually(lambda: len(children()) == 1)
        (program,) = children()
        os.kill(program, signal.SIGKILL)
        laptop.say("after ssh was killed")
        assert await desktop.hears() == ("laptop", "after ssh was killed")


async def test_what_is_wrong_is_told_with_what_to_do(sshd: SshServer, tmp_path: Path) -> None:
    (sshd.directory / "nobody").write_text("")
    (sshd.directory / "changed").write_text(
        (sshd.directory / "known").read_text().rpartition(" ")[0]
        + " "
        + (sshd.directory / "stranger.pub").read_text().split()[1]
        + "\n"
    )
    by_hand = f"run `ssh -p {sshd.port} {sshd.user}@127.0.0.1` once"
    for key, known, problem in (
        ("user", "nobody", f"the host key of 127.0.0.1 is not known here: {by_hand} and compare it"),
        ("user", "changed", f"the host key of 127.0.0.1 is not the one it was: look into it, then {by_hand}"),
        ("stranger", "known", f"127.0.0.1 lets {sshd.user} not in without a password: {by_hand}"),
    ):
        async with connector(*sshd.client(key, known)) as ssh:
            with pytest.raises(OSError, match="127") as failed:
                await ssh.connect(sshd.address(1))
            assert str(failed.value).startswith(problem), failed.value
    async with connector("no-such-program") as ssh:
        with pytest.raises(OSError, match="the program no-such-program is not installed"):
            await ssh.connect(sshd.address(1))
    (closed,) = free_ports(1)
    async with connector(*sshd.command) as ssh:
        with pytest.raises(OSError, match=r"ssh to 127.0.0.1 ended: .*Connection refused"):
            await ssh.connect(f"you@127.0.0.1:{closed}/1")


async def test_what_only_a_person_can_mend_is_not_tried_all_the_time(sshd: SshServer, tmp_path: Path) -> None:
    count, program = tmp_path / "count", tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\necho >> {count}\nexec {" ".join(sshd.client("stranger", "known"))} "$@"\n')
    program.chmod(0o755)
    async with connector(str(program)) as ssh:
        for _ in range(3):
            with pytest.raises(OSError, match="not in without a password"):
                await ssh.connect(sshd.address(1))
        assert count.read_text() == "\n"
        with pytest.raises(OSError, match="not in without a password"):
            await ssh.connect(sshd.address(2))
        assert count.read_text() == "\n\n"


async def test_no_agent_behind_ssh_is_told_so(sshd: SshServer, tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    async with connector(*sshd.command) as ssh, running(tmp_path, "laptop") as laptop:
        laptop.links.add_connector(CandidateKind.SSH, ssh.connect, carriage=Carriage(timing=QUICK))
        laptop.links.learn(None, None, [Candidate(kind=CandidateKind.SSH, address=sshd.address(closed))])
        wanted = f"{sshd.address(closed)}: ssh to 127.0.0.1 works, but no agent listens at its port {closed}"
        await eventually(lambda: [p.problem for p in laptop.links.peers(laptop.workspace.key.id)] == [wanted])


async def test_a_forbidden_forwarding_is_told(tmp_path: Path) -> None:
    with SshServer(tmp_path / "server", "AllowTcpForwarding no") as strict:
        async with connector(*strict.command) as ssh:
            connection = await ssh.connect(strict.address(1))
            with connection:
                assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""
                assert getattr(connection, "problem", "") == (
                    "ssh to 127.0.0.1 works, but its sshd does not allow forwarding"
                )


async def test_an_attempt_that_is_given_up_leaves_no_program(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port, connector("ssh", "-F", "/dev/null") as ssh:
        attempt = asyncio.create_task(ssh.connect(f"you@127.0.0.1:{port}/1"))
        await eventually(children)
        attempt.cancel()
        await eventually(lambda: not children())
    assert attempt.cancelled()


async def test_the_program_ends_with_a_killed_agent(sshd: SshServer) -> None:
    """In a process of its own, which gets no chance to clean up."""
    script = (
        "import asyncio, sys\n"
        "from autosync.link.ssh import SshConnector\n"
        "async def main():\n"
        "    connection = await SshConnector(sys.argv[2:]).connect(sys.argv[1])\n"
        "    print('connected', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    async with echo() as port:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script, sshd.address(port), *sshd.command), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"connected\n"
        (program,) = children(process.pid)
        status = Path(f"/proc/{program}/status")
        process.kill()
        await process.wait()
        await eventually(lambda: not status.exists() or "zombie" in status.read_text())


async def test_hostile_addresses_start_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    async with connector("touch", str(mark)) as ssh:
        for address in HOSTILE:
            with pytest.raises(OSError, match="an address for ssh"):
                await ssh.connect(address)
            assert Candidate(kind=CandidateKind.SSH, address=address).problem() or ".." in address or "%" in address
    assert not mark.exists()
    record("bad inputs refused", len(HOSTILE))


def test_nothing_of_an_address_can_become_an_option() -> None:
    to = SshAddress.parse("you_1.x@[fe80::1]:2222/4711")
    assert to == SshAddress(user="you_1.x", host="fe80::1", port=2222, agent=4711)
    assert arguments(to)[-8:] == ["-p", "2222", "-l", "you_1.x", "-W", "127.0.0.1:4711", "--", "fe80::1"]
    assert "StrictHostKeyChecking=yes" in arguments(to)
    assert "BatchMode=yes" in arguments(to)
    assert SshAddress.parse("you@host/1").login() == "ssh you@host"
