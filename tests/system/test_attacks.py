"""Strangers with a socket, and members with the key: the agents survive, write nothing they should not, and go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from autosync.channels.beacon import as_text
from autosync.core.announcement import encode
from autosync.core.candidates import on_lan
from autosync.core.condensing import condense
from autosync.core.events import Announcement
from autosync.core.model import Base, DeviceId, SnapshotId, Version
from autosync.link.hello import Hello
from autosync.trust.identity import load_or_create_identity
from autosync.trust.sealing import WorkspaceKey, create_key, load_key
from autosync.trust.signing import sign
from tests import figures
from tests.edges.mdns_neighbours import answer, pointer, shout, text_record
from tests.networks import needs_network
from tests.system.fleet import Device, Fleet, entries, pair, until
from tests.system.rogue import DIRECTORY, FILE, LINK, Objects, Rogue, Tree, Voice, below, bomb, rogue
from tests.waiting import PATIENCE

FILES = {"a.txt": "one\n", "b/c.txt": "two\n"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Laptop and desktop, running and equal; both are whole and in sync at the end, whatever the test did."""
    with pair(tmp_path / "fleet", FILES) as fleet:
        yield fleet
        laptop, desktop = fleet.devices
        for writer, reader in ((laptop, desktop), (desktop, laptop)):
            writer.write("proof.txt", f"{writer.name} still works\n")
            until(
                lambda r=reader, w=writer: r.read("proof.txt") == f"{w.name} still works\n", why=lambda r=reader: r.log
            )
        fleet.equal(seconds=90)  # whatever strangers have announced is asked for once more
        for device in fleet.devices:
            assert "Traceback" not in device.log, device.log[max(0, device.log.index("Traceback") - 500) :][:3000]
            assert device.run("status").returncode == 0
            assert device.end() == 0


@pytest.fixture
def key(fleet: Fleet) -> WorkspaceKey:
    return load_key(str(fleet.key))


@pytest.fixture
async def mallory(fleet: Fleet, key: WorkspaceKey) -> AsyncIterator[Rogue]:
    """A member that has turned bad, linked with the laptop."""
    async with rogue(key, port(fleet.devices[0]), fleet.place) as member:
        yield member


def port(device: Device) -> int:
    """Return where an agent listens."""
    line = next(line for line in device.config.read_text().splitlines() if line.startswith("listen: "))
    return int(line.rpartition(":")[2])


def lan_dropped(device: Device) -> dict[str, int]:
    found: dict[str, int] = next(c["dropped"] for c in device.ask("status")["channels"] if c["kind"] == "lan")
    return found


async def eventually(
    condition: Callable[[], object], why: Callable[[], object] = str, seconds: float = PATIENCE
) -> None:
    await asyncio.to_thread(until, condition, seconds, why=why)


# -- strangers ---------------------------------------------------------------------------

CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(501)
GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    CLIENT_HELLO,
    b"\0" * 5000,
    b"\xff" * 5000,
    b"",
    b"SSH-2.0-x\r\n",
    b"\x00",
]


def answer_to(device: Device, said: bytes, *, patience: float = PATIENCE) -> bytes:
    """Return every byte that the agent says to somebody who says this."""
    heard = b""
    address = ("127.0.0.1", port(device))
    with socket.create_connection(address, timeout=patience) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(said)
        with contextlib.suppress(OSError):  # ENOTCONN: the agent has hung up already
            connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(4096):
            heard += part
    return heard


def test_a_stranger_gets_not_one_byte(fleet: Fleet, key: WorkspaceKey) -> None:
    laptop = fleet.devices[0]
    for said in GARBAGE:
        assert answer_to(laptop, said) == b""
    identity = load_or_create_identity(str(fleet.place / "eve"))
    hello = Hello(
        device=identity.device_id("eve"),
        name="eve",
        certificate_der=identity.certificate_der,
        instance=bytes(8),
        number=1,
        nonce=os.urandom(16),
    )
    wrong = WorkspaceKey(bytes(32))
    assert answer_to(laptop, hello.sealed(wrong, answers=None)) == b""
    # The right key, but said as an answer; and then a recorded one again.
    assert answer_to(laptop, hello.sealed(key, answers=b"x" * 16)) == b""
    recorded = hello.sealed(key, answers=None)
    assert answer_to(laptop, recorded) != b""
    assert answer_to(laptop, recorded) == b""
    assert lan_dropped(laptop)["stranger"] >= len(GARBAGE) - 1
    assert lan_dropped(laptop)["replay"] == 1


def test_a_flood_of_connections_does_not_stop_the_exchange(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    silent = [socket.create_connection(("127.0.0.1", port(laptop))) for _ in range(500)]
    try:
        laptop.write("a.txt", "during the flood\n")
        until(lambda: desktop.read("a.txt") == "during the flood\n", why=lambda: laptop.log)
        desktop.kill()
        desktop.start()  # has to be let in past all of them
        desktop.write("b/c.txt", "after a restart in the flood\n")
        until(lambda: laptop.read("b/c.txt") == "after a restart in the flood\n", why=lambda: laptop.log)
        assert lan_dropped(laptop)["flood"] >= 400
    finally:
        for connection in silent:
            connection.close()


def test_a_device_with_another_key_stays_outside(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    before = laptop.view()
    (guest,) = fleet.clone(fleet.place / "seed", "guest")
    other = fleet.place / "other.key"
    create_key(str(other))
    guest.config.write_text(
        f"device: guest\nstate-dir: state\nlisten: 127.0.0.1:0\ndiscovery: false\n"
        f"peers: ['127.0.0.1:{port(laptop)}']\n"
        f"paths:\n- {{path: {guest.root}, workspace: notes, key-file: {other}}}\n"
    )
    guest.start()
    guest.write("a.txt", "let me in\n")
    until(lambda: lan_dropped(laptop).get("stranger", 0) > 0, why=lambda: guest.log)
    until(lambda: "its key is another one" in guest.log, why=lambda: guest.log)
    assert laptop.view() == before
    assert [p["device"] for p in laptop.status()["peers"]] == ["desktop"]
    guest.kill()
    fleet.devices.remove(guest)


@needs_network
def test_forged_beacons_are_dropped_and_counted(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        laptop, desktop = fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop")
        fleet.configure(fleet.devices, peers=False)
        for device in fleet.devices:
            device.config.write_text(device.config.read_text().replace("discovery: false", "discovery: true"))
        fleet.start()
        fleet.equal()  # they have found each other by their beacons alone
        key = load_key(str(fleet.key))
        forged = bytearray(as_text(key, "forged", b"{}"))
        forged[-1] ^= 1
        texts = {"empty": b"", "garbage": b"garbage" * 100, "forged": bytes(forged)}
        texts |= {f"m{n}": as_text(key, f"m{n}", content) for n, content in enumerate(MALFORMED_BEACONS)}
        shout([answer(pointer(label), text_record(label, text)) for label, text in texts.items()])
        until(lambda: lan_dropped(laptop).get("malformed beacon", 0) >= len(MALFORMED_BEACONS))
        until(lambda: lan_dropped(laptop).get("stranger", 0) >= 3)
        flood = [answer(text_record(f"{n:x}", os.urandom(200))) for n in range(3000)]
        until(lambda: shout(flood) or lan_dropped(laptop).get("flood", 0) > 0)
        laptop.write("a.txt", "as if nothing had been\n")
        until(lambda: desktop.read("a.txt") == "as if nothing had been\n", why=lambda: laptop.log)
        assert "Traceback" not in laptop.log


MALFORMED_BEACONS = (
    b"{}",
    b"[]",
    b"\xff",
    b"[" * 1000,
    b'{"device": "../x", "instance": "00", "addresses": [], "local": [], "port": 0}',
    b'{"device": "x-00000000", "instance": "zz", "addresses": [], "local": [], "port": 0}',
    b'{"device": "x-00000000", "instance": "00", "addresses": 7, "local": [], "port": 0}',
    b'{"device": "x-00000000", "instance": "00", "addresses": [], "local": [], "port": "x"}',
)


# -- announcements ---------------------------------------------------------------------------


async def test_what_is_no_announcement_is_counted(fleet: Fleet, mallory: Rogue) -> None:
    laptop = fleet.devices[0]
    before = dropped_by(laptop)
    genuine = mallory.sealed()
    forged = bytearray(genuine)
    forged[-1] ^= 1
    old = mallory.sealed()
    for sealed in (
        bytes(forged),
        WorkspaceKey(bytes(32)).seal(b"x", context=b"announcement"),
        mallory.sealed_bytes(b""),
        mallory.sealed_bytes(b"\0\0\0\2[]"),
        mallory.sealed_bytes(b"\xff" * 100),
        mallory.sealed_bytes((60_000).to_bytes(4, "big") + b"[" * 59_000),
        mallory.sealed(),
        old,
        genuine,
    ):
        await mallory.send(sealed)
    await eventually(
        lambda: dropped_by(laptop) - before == Counter(forged=2, malformed=4, repeated=2),
        why=lambda: laptop.status()["dropped"],
    )


def dropped_by(device: Device) -> Counter[str]:
    """Return how many words a device did not take; two devices that call each other at once repeat some of theirs."""
    return Counter(device.status()["dropped"])


async def test_huge_versions_do_not_stop_anybody_from_counting_on(fleet: Fleet, mallory: Rogue) -> None:
    laptop, desktop = fleet.devices
    own = {p["device"]: p["id"] for d in fleet.devices for p in d.status()["peers"]}
    most = 2**63 - 1
    many = {DeviceId(f"ghost-{n:08x}"): most for n in range(510)}
    await mallory.say(snapshot=SnapshotId("f" * 40), version=Version.of(many))
    await mallory.say(
        snapshot=SnapshotId("e" * 40),
        version=Version.of({DeviceId(own["laptop"]): most, DeviceId(own["desktop"]): most, mallory.device: most}),
    )
    await eventually(lambda: any(p["device"] == "mallory" for p in laptop.status()["peers"]))
    for number in range(3):
        laptop.write("a.txt", f"edit {number}\n")
        await eventually(lambda n=number: desktop.read("a.txt") == f"edit {n}\n", why=lambda: laptop.log[-3000:])
    await asyncio.to_thread(laptop.end)
    await asyncio.to_thread(laptop.start)  # reads back what it has recorded


async def test_nobody_speaks_in_the_name_of_another_device(fleet: Fleet, mallory: Rogue) -> None:
    """With the highest number there is, a device that was believed to have said it could never speak again."""
    laptop, desktop = fleet.devices
    before, most = dropped_by(laptop), 2**63 - 1
    own = {p["device"]: DeviceId(p["id"]) for d in fleet.devices for p in d.status()["peers"]}
    encoded = encode(
        Announcement(
            device=own["desktop"],
            name="desktop",
            seq=most,
            state="stopped",
            snapshot=None,
            tree=None,
            base=Base(commit=None, branch=None),
            version=Version(),
            candidates=(),
            certificate=mallory.voice.certificate_der,
        )
    )
    header = int.from_bytes(encoded[:4], "big")
    first_format = encoded[:4] + encoded[4 : 4 + header].replace(b'"v":2', b'"v":1') + encoded[4 + header :]
    forgeries = [
        mallory.sealed(device=own["desktop"], name="desktop", seq=most),
        mallory.sealed(device=own["laptop"], name="laptop", seq=most),
        mallory.sealed(device=own["desktop"], certificate=b"", seq=most),
        mallory.sealed(device=own["desktop"], certificate=b"\x30\x82nonsense", seq=most),
        mallory.sealed_bytes(condense(encoded) + bytes(64)),  # signed by nobody
        mallory.sealed(device=own["desktop"], certificate=certificate_of(desktop), seq=most),
        mallory.sealed(seq=most, certificate=certificate_of(desktop)),
    ]
    downgrades = [
        mallory.sealed_bytes(condense(first_format)),
        mallory.signed_and_sealed(first_format),
        mallory.sealed_bytes(condense(encoded)),
    ]
    await mallory.send(*forgeries, *downgrades)
    expected = Counter(forged=len(forgeries), malformed=len(downgrades))
    await eventually(lambda: dropped_by(laptop) - before == expected, why=lambda: laptop.status()["dropped"])
    figures.record("bad inputs refused", len(forgeries) + len(downgrades))
    # A word of the desktop's from another workspace that it shares with mallory.
    elsewhere = sign(mallory.voice.key, encoded, purpose=b"announcement in " + bytes(16))
    await mallory.send(mallory.sealed_bytes(condense(encoded) + elsewhere))
    desktop.write("a.txt", "said by the desktop itself\n")
    await eventually(lambda: laptop.read("a.txt") == "said by the desktop itself\n", why=lambda: laptop.log[-3000:])
    laptop.write("a.txt", "and by the laptop\n")
    await eventually(lambda: desktop.read("a.txt") == "and by the laptop\n", why=lambda: laptop.log[-3000:])


def certificate_of(device: Device) -> bytes:
    """Return what a device shows to everybody who links with it."""
    return load_or_create_identity(str(device.state)).certificate_der


def test_a_hello_in_the_name_of_another_device_is_refused(fleet: Fleet, key: WorkspaceKey) -> None:
    laptop = fleet.devices[0]
    desktop = next(DeviceId(p["id"]) for p in laptop.status()["peers"])
    eve = load_or_create_identity(str(fleet.place / "eve"))
    for certificate in (eve.certificate_der, b"", b"\x30\x82nonsense"):
        hello = Hello(
            device=desktop,
            name="desktop",
            certificate_der=certificate,
            instance=bytes(8),
            number=1,
            nonce=os.urandom(16),
        )
        assert answer_to(laptop, hello.sealed(key, answers=None)) == b""
    assert lan_dropped(laptop)["impostor"] == 3


async def test_addresses_of_strangers_are_dialled_now_and_then_only(fleet: Fleet, mallory: Rogue) -> None:
    """Nobody can make the agents attack a third machine."""
    met = 0

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        target = server.sockets[0].getsockname()[1]
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < 4:
            number += 1
            same = [mallory.sealed(candidates=on_lan([f"127.0.0.1:{target}"]))]
            turned = [mallory.sealed(candidates=on_lan([f"127.0.{number % 250}.1:{target}", f"127.0.0.1:{target}"]))]
            others = [mallory.sealed(by=Voice.of_ghost(), candidates=on_lan([f"127.0.0.1:{target}"])) for _ in range(8)]
            await mallory.send(*same, *turned, *others)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
    assert number > 20
    assert met <= 100, f"{met} connections for {10 * number} announcements"


async def test_ten_thousand_announcements_a_second_cost_neither_memory_nor_the_others(
    fleet: Fleet, mallory: Rogue
) -> None:
    laptop, desktop = fleet.devices
    before = laptop.ask("status")["agent"]["rss"]
    stop = asyncio.Event()
    ghost = Voice.of_ghost()

    async def flood() -> int:
        said = 0
        while not stop.is_set():
            await mallory.send(
                *(
                    mallory.sealed(
                        by=ghost.called(f"ghost-{said + n:08x}"),
                        snapshot=SnapshotId(f"{said + n:040x}"),
                        inline=os.urandom(2000),
                    )
                    for n in range(100)
                )
            )
            said += 100
            await asyncio.sleep(0)
        return said

    flooding = asyncio.create_task(flood())
    try:
        for number in range(5):
            laptop.write("a.txt", f"edit {number}\n")
            await eventually(lambda n=number: desktop.read("a.txt") == f"edit {n}\n", why=lambda: laptop.log[-3000:])
            desktop.write("b/c.txt", f"edit {number}\n")
            await eventually(lambda n=number: laptop.read("b/c.txt") == f"edit {n}\n", why=lambda: laptop.log[-3000:])
    finally:
        stop.set()
        said = await flooding
    status = await asyncio.to_thread(laptop.ask, "status")
    grown = (status["agent"]["rss"] - before) / 2**20
    assert said > 1000
    assert grown < 40, f"{grown:.0f} MB for {said} announcements"
    assert len(status["workspaces"][0]["peers"]) <= 600
    assert all(len(file.read_bytes()) < 200_000 for file in laptop.state.rglob("*") if file.is_file())


def problem(device: Device, wanted: SnapshotId) -> str:
    """Return why the snapshot that mallory offers is not to be had, empty if that is not known (yet)."""
    peer = next((p for p in device.status()["peers"] if p["device"] == "mallory"), {})
    return (peer["problem"] or "") if peer.get("snapshot") == wanted else ""


# -- snapshots ------------------------------------------------------------------------------


HOSTILE: dict[str, Callable[[Objects], Tree]] = {
    "dot-dot": lambda o: below(o, b"..", b"x"),
    "slash": lambda o: below(o, b"../x"),
    "absolute": lambda o: below(o, b"/tmp/x"),
    "hook": lambda o: below(o, b".git", b"hooks", b"post-checkout"),
    "upper": lambda o: below(o, b".GIT", b"config"),
    "nested": lambda o: below(o, b"a", b".git", b"x"),
    "short name": lambda o: below(o, b"GIT~1", b"config"),
    "ignorable": lambda o: below(o, ".g\u200cit".encode(), b"config"),
    "empty name": lambda o: below(o, b""),
    "link and directory": lambda o: [
        (LINK, b"a", o.blob(b"../outside")),
        (DIRECTORY, b"a", o.tree([(FILE, b"x", o.blob(b"pwned\n"))])),
    ],
    "order": lambda o: [(FILE, b"z", o.blob(b"pwned\n")), (FILE, b"a", o.blob(b"pwned\n"))],
    "mode": lambda o: [(b"100000", b"a", o.blob(b"pwned\n"))],
    "device": lambda o: [(b"20644", b"a", o.blob(b"pwned\n"))],
    "gitmodules link": lambda o: [(LINK, b".gitmodules", o.blob(b"/etc/passwd"))],
    "absent file": lambda _: [(FILE, b"a", b"\x11" * 20)],
    "long name": lambda o: below(o, b"x" * 300),
    "long path": lambda o: below(o, *[b"d" * 50] * 90),
    "bomb": bomb,
}


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "direct"])
async def test_hostile_trees_are_refused_whole(fleet: Fleet, mallory: Rogue, *, inline: bool) -> None:
    laptop = fleet.devices[0]
    before = entries(laptop.root), laptop.fingerprint(), sorted(os.listdir(laptop.home))
    names = list(HOSTILE)
    for number, name in enumerate(names, 1):
        objects = Objects()
        version = {mallory.device: number}
        wanted = objects.snapshot(objects.tree(HOSTILE[name](objects)), base=laptop.head(), version=version)
        await mallory.offer(wanted, objects, inline=inline, version=Version.of(version))
        await eventually(lambda w=wanted: problem(laptop, w), lambda n=name: f"{n} was taken: {laptop.log[-3000:]}")
    assert (entries(laptop.root), laptop.fingerprint(), sorted(os.listdir(laptop.home))) == before


async def test_hostile_headers_are_refused_whole(fleet: Fleet, mallory: Rogue) -> None:
    laptop = fleet.devices[0]
    before = entries(laptop.root), laptop.fingerprint()
    headers: list[dict[str, object]] = [
        {"branch": "refs/heads/../../x"},
        {"branch": "--upload-pack=touch pwned"},
        {"branch": "refs/heads/-x"},
        {"branch": "refs/heads/HEAD"},
        {"branch": "refs/remotes/origin/main"},
        {"branch": "HEAD"},
        {"branch": "refs/heads/" + "x" * 3000},
        {"base": "d" * 40},
        {"time": 10**12},
        {"version": {"../../x": 1}},
        {"version": {"mallory-" + 26 * "6": 2**53}},
        {"version": {f"ghost-{n:08x}": 1 for n in range(1000)}},
        {"device": "x" * 5000},
        {"device": "\x1b]0;pwned\x07"},
    ]
    for number, header in enumerate(headers, 1):
        objects = Objects()
        fields = {"base": laptop.head(), "version": {mallory.device: number}, **header}
        wanted = objects.snapshot(objects.tree([(FILE, b"pwned", objects.blob(b"pwned\n"))]), **fields)  # type: ignore[arg-type]
        await mallory.offer(wanted, objects, inline=number % 2 == 0, version=Version.of({mallory.device: number}))
        await eventually(
            lambda w=wanted: problem(laptop, w), lambda h=header: f"{str(h)[:200]} was taken: {laptop.log[-3000:]}"
        )
    assert (entries(laptop.root), laptop.fingerprint()) == before


async def test_versions_that_grow_by_merging_end_at_what_can_be_announced(fleet: Fleet, mallory: Rogue) -> None:
    laptop = fleet.devices[0]
    for number in range(3):
        objects = Objects()
        version = {f"ghost-{number}{n:07x}": 1 for n in range(250)} | {mallory.device: number + 1}
        wanted = objects.snapshot(
            objects.tree([(FILE, b"a.txt", objects.blob(b"%d\n" % number))]), base=laptop.head(), version=version
        )
        mallory.packs[wanted] = objects.pack()
        await mallory.say(snapshot=wanted, version=Version.of({mallory.device: number + 1}))
        await eventually(lambda w=wanted: w in mallory.asked, why=lambda: laptop.log[-3000:])
        await eventually(lambda: laptop.status()["phase"] in ("watching", "halted"), why=lambda: laptop.log[-3000:])
    await eventually(lambda: "speaks of 251 devices" in str(laptop.status()["halt"]), why=lambda: laptop.log[-3000:])
    await asyncio.to_thread(laptop.end)
    await asyncio.to_thread(laptop.start)  # reads back what it has merged


async def test_packs_that_explode_cost_little(fleet: Fleet, mallory: Rogue) -> None:
    laptop = fleet.devices[0]
    before = laptop.ask("status")["agent"]["rss"]
    objects = Objects()
    tree = objects.tree(
        [(FILE, b"zeros", objects.blob(bytes(40 << 20))), (FILE, b"zeros2", objects.blob(bytes(30 << 20)))]
    )
    wanted = objects.snapshot(tree, base=laptop.head())
    pack = objects.pack()
    for snapshot, content in ((wanted, pack[: 48 * 1024]), (SnapshotId("a" * 40), os.urandom(48 * 1024))):
        failed = laptop.status()["dropped"].get("failed fetches", 0)
        await mallory.say(snapshot=snapshot, inline=content)
        await eventually(lambda f=failed: laptop.status()["dropped"].get("failed fetches", 0) > f)
    assert (laptop.ask("status")["agent"]["rss"] - before) / 2**20 < 100
    assert not (laptop.root / "zeros").exists()


def version_of(device: Device) -> dict[str, int]:
    """Return how many states of each device the present one contains."""
    store = ("--git-dir", str(device.root / ".git/autosync/store.git"))
    raw = device.git(*store, "cat-file", "commit", "refs/autosync/pins/main/current")
    (counters,) = re.findall(r"^Autosync-Version: (.*)$", raw, re.MULTILINE)
    return {name: int(number) for name, _, number in (one.rpartition("=") for one in counters.split())}


async def test_a_directory_where_a_link_was_is_not_written_through_it(fleet: Fleet, mallory: Rogue) -> None:
    laptop, desktop = fleet.devices
    outside = fleet.place / "outside"
    outside.mkdir()
    fleet.equal()
    await eventually(lambda: laptop.status()["snapshot"] == desktop.status()["snapshot"])  # nothing is left to merge
    known = version_of(laptop)
    for number, build in enumerate(
        (
            lambda o: [(LINK, b"a", o.blob(bytes(outside)))],
            lambda o: [(DIRECTORY, b"a", o.tree([(FILE, b"x", o.blob(b"pwned\n"))]))],
        ),
        1,
    ):
        objects = Objects()
        version = {**known, mallory.device: number}
        wanted = objects.snapshot(objects.tree(build(objects)), base=laptop.head(), version=version)
        await mallory.offer(
            wanted, objects, inline=True, version=Version.of({DeviceId(d): n for d, n in version.items()})
        )
        await eventually(lambda: os.path.lexists(desktop.root / "a"), why=lambda: laptop.log[-3000:])
        await eventually(
            lambda n=number: os.path.islink(desktop.root / "a") == (n == 1), why=lambda: laptop.log[-3000:]
        )
    await eventually(lambda: desktop.read("a/x") == "pwned\n")
    assert os.listdir(outside) == []


# -- the control socket ------------------------------------------------------------------------


def test_the_control_socket_survives_garbage(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    path = laptop.state / "agent.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    held = []
    for said in [
        b"\n", b"\0" * 1000 + b"\n", b"[]\n", b"{}\n", b'{"command": 1}\n', b'{"command": "die"}\n', b"x" * 200_000,
        b'{"command": "status", "arguments": []}\n', b'{"command": "pause", "arguments": {"path": {}}}\n',
        b'{"command": "sync", "arguments": {"path": ["x"], "wait": true}}\n',
        b"[" * 60_000 + b"\n", b'{"command": "stat',
    ]:  # fmt: skip
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(path))
            with contextlib.suppress(ConnectionError):
                connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").readline()
            assert b'"error"' in answer, (said[:100], answer[:300])
    for _ in range(200):  # who connects and says nothing
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        held.append(connection)
    until(lambda: laptop.status()["phase"] == "watching", why=laptop.status)
    for connection in held:
        connection.close()


def test_other_users_cannot_reach_the_control_socket(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    path = laptop.state / "agent.sock"
    for part in (laptop.home, *fleet.place.parents, fleet.place):  # so that only the socket's own rights count
        part.chmod(part.stat().st_mode | 0o011)
    laptop.state.chmod(0o711)
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
            code = 1
        except PermissionError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
