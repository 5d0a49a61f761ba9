"""Conflicts as users meet them: three devices, the same list on each, and what `resolve` makes of it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autosync.errors import AutosyncError
from tests.figures import record
from tests.system.fleet import Device, Fleet, entries, until

STORE = ".git/autosync/store.git"
MOMENTS = 30
"""Edits that meet a `resolve`, each a millisecond later after its start."""
NINE = "".join(f"{n}\n" for n in range(1, 10))
OLD: dict[str, bytes] = {
    "text.txt": NINE.encode(),
    "crlf.txt": NINE.replace("\n", "\r\n").encode(),
    "picture.png": b"\x89PNG\r\n\x1a\n\x00five5\x00\xff",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Laptop, desktop and phone, which all tests of this module use, each in folders of its own."""
    with Fleet(tmp_path_factory.mktemp("conflicts") / "fleet") as fleet:
        fleet.clone(fleet.seed({"README": "notes\n"}, hub=False), "laptop", "desktop", "phone")
        fleet.configure(fleet.devices, brakes="none")  # every test begins by deleting what is there
        fleet.start()
        fleet.equal()
        yield fleet


@pytest.fixture
def fleet(shared: Fleet) -> Fleet:
    """The three devices without any conflict."""
    laptop, *_ = shared.devices
    for name in [name for name in entries(laptop.root) if name != b"README"]:
        os.unlink(os.path.join(os.fsencode(laptop.root), name))
    shared.equal()
    return shared


def add(fleet: Fleet, files: dict[str, bytes]) -> None:
    """Let every device have these files."""
    for name, content in files.items():
        fleet.devices[0].write(name, content)
    fleet.equal()


def clash(fleet: Fleet, on_laptop: Callable[[Device], object], on_desktop: Callable[[Device], object]) -> None:
    """Let laptop and desktop edit while neither hears of the other; the phone gets what they make of it."""
    laptop, desktop, phone = fleet.devices
    laptop.ask("pause")
    phone.ask("pause")
    before = desktop.status()["tree"]
    on_laptop(laptop)
    on_desktop(desktop)
    until(lambda: before != desktop.status()["tree"] in {p["tree"] for p in laptop.status()["peers"]})
    laptop.ask("resume")
    fleet.equal(laptop, desktop)
    phone.ask("resume")
    fleet.equal()


def put(files: dict[str, bytes]) -> Callable[[Device], None]:
    """Return an edit in which each device puts its name for the line "5"."""

    def edit(device: Device) -> None:
        for name, content in files.items():
            device.save(name, content.replace(b"5", device.name.encode()))

    return edit


def listed(device: Device) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = device.ask("conflicts")["conflicts"]
    return [{k: v for k, v in row.items() if k != "root"} for row in found]


def tells_truly(fleet: Fleet, files: dict[str, bytes], told: dict[str, int]) -> list[dict[str, Any]]:
    """Look that each device lists each conflict, and has told it once; return the list.

    ``told`` is how many had been told.  What the desktop saves may be recorded in two steps, and
    be merged at once by one device and step by step by another: then one copy takes the place of another.
    """
    laptop, desktop, phone = fleet.devices
    rows = listed(laptop)
    assert [row["file"] for row in rows] == sorted(files)
    assert listed(desktop) == listed(phone) == rows
    for row in rows:
        assert {row["device"], row["stands"]["device"]} == {"laptop", "desktop"}
        for key, maker in (("file", row["stands"]["device"]), ("copy", row["device"])):
            # The very bytes that were saved: no marker, no other line end.
            assert content(phone, row[key]) == files[row["file"]].replace(b"5", maker.encode())
    expected = {row["copy"]: (row["file"], row["device"]) for row in rows}
    for device in fleet.devices:
        standing: dict[str, tuple[str, str]] = {}
        for news in told_since(device, told[device.name], expected.keys()):
            (file,) = news["paths"]
            if news["instead_of"]:
                assert standing.pop(news["instead_of"])[0] == file
            assert file not in [known for known, _ in standing.values()]
            assert news["made_by"] in ("laptop", "desktop")
            standing[news["copy"]] = (file, news["made_by"])
        assert standing == expected
    return rows


def told_since(device: Device, count: int, copies: Collection[str]) -> list[dict[str, Any]]:
    """Return which conflicts a device has told after the first ``count``, those of ``copies`` among them."""
    news: list[dict[str, Any]] = []

    def are_told() -> bool:  # a moment after the files are there
        news[:] = device.activities("conflict")[count:]
        return {each["copy"] for each in news} >= set(copies)

    until(are_told, why=lambda: (device.name, news))
    return news


def only(device: Device, file: str) -> dict[str, Any]:
    """Return the one conflict of ``file``."""
    (row,) = (row for row in listed(device) if row["file"] == file)
    return row


def content(device: Device, name: str) -> bytes:
    return (device.root / name).read_bytes()


def remembered(device: Device, contents: Iterable[bytes], place: Path) -> set[bytes]:
    """Return those of ``contents`` that a file has in some snapshot of the device."""
    place.mkdir(exist_ok=True)
    named = {place / str(number): content for number, content in enumerate(contents)}
    for path, content in named.items():
        path.write_bytes(content)
    blobs = device.git("hash-object", "--no-filters", *map(str, named)).split()
    objects = {line[:40] for line in device.git("rev-list", "--objects", "--all", at=device.root / STORE).splitlines()}
    return {content for content, blob in zip(named.values(), blobs, strict=True) if blob in objects}


def test_every_device_lists_and_tells_the_same_and_can_finish_it(fleet: Fleet, tmp_path: Path) -> None:
    laptop, desktop, phone = fleet.devices
    ways = {"mine": phone, "theirs": phone, "both": phone, "laptop/mine": laptop, "desktop/theirs": desktop}
    files = {f"{way}/{name}": content for way in ways for name, content in OLD.items()}
    told = {d.name: len(d.activities("conflict")) for d in fleet.devices}
    add(fleet, files)
    clash(fleet, put(files), put(files))
    rows = tells_truly(fleet, files, told)

    for way, device in ways.items():
        for name in OLD:
            keep = way.rpartition("/")[2]
            if name == "text.txt":
                done = device.run("resolve", str(device.root / way / name), "--keep", keep)
                assert (done.returncode, done.stderr) == (0, "")
                assert done.stdout.startswith(f"{way}/{name}: kept ")
            else:
                device.ask("resolve", file=f"{way}/{name}", keep=keep)
    fleet.equal()
    assert [listed(d) for d in fleet.devices] == [[], [], []]
    found = entries(desktop.root)
    for row in rows:
        way, _, name = row["file"].rpartition("/")
        versions = {d: files[row["file"]].replace(b"5", d.encode()) for d in ("laptop", "desktop")}
        stood, copied = row["stands"]["device"], row["device"]
        # The phone made none of them: there "mine" is what stood at the path.
        kept = {"theirs": copied, "laptop/mine": "laptop", "desktop/theirs": "laptop"}.get(way, stood)
        assert found.pop(row["file"].encode()) == ("file", versions[kept])
        if way == "both":
            stem, dot, extension = name.partition(".")
            assert found.pop(f"both/{stem} ({copied}){dot}{extension}".encode()) == ("file", versions[copied])
        assert remembered(ways[way], versions.values(), tmp_path / "contents") == set(versions.values())
    assert found.keys() == {b"README"}
    record("conflicts resolved", len(rows))


def test_what_was_recorded_in_two_steps_is_told_as_truly(fleet: Fleet) -> None:
    """A merge that takes part in another one is no device: what it has is by the one that made it."""
    laptop, desktop, phone = fleet.devices
    files = {"first.txt": OLD["text.txt"], "second.txt": OLD["text.txt"]}
    told = {d.name: len(d.activities("conflict")) for d in fleet.devices}
    add(fleet, files)
    laptop.ask("pause")
    phone.ask("pause")
    put(files)(laptop)
    before = desktop.status()["tree"]
    put({"first.txt": files["first.txt"]})(desktop)
    until(lambda: before != desktop.status()["tree"] in {p["tree"] for p in laptop.status()["peers"]})
    desktop.ask("pause")
    put({"second.txt": files["second.txt"]})(desktop)
    laptop.ask("resume")
    until(lambda: [row["file"] for row in listed(laptop)] == ["first.txt"])
    desktop.ask("resume")
    fleet.equal(laptop, desktop)
    phone.ask("resume")
    fleet.equal()
    tells_truly(fleet, files, told)


def test_what_left_no_copy_is_told_too(fleet: Fleet) -> None:
    laptop, desktop, phone = fleet.devices
    add(fleet, {"deleted.txt": b"content\n", "old.txt": b"to be renamed\n"})
    told = {d.name: len(d.activities("conflict")) for d in fleet.devices}

    def on_laptop(device: Device) -> None:
        (device.root / "deleted.txt").unlink()
        (device.root / "old.txt").rename(device.root / "by laptop.txt")

    def on_desktop(device: Device) -> None:
        device.write("deleted.txt", "edited\n")
        (device.root / "old.txt").rename(device.root / "by desktop.txt")

    clash(fleet, on_laptop, on_desktop)
    found = entries(phone.root)
    assert found.pop(b"deleted.txt") == ("file", b"edited\n")
    (renamed,) = found.keys() - {b"README"}
    assert renamed in (b"by laptop.txt", b"by desktop.txt")
    assert listed(laptop) == listed(phone) == []
    until(lambda: any("deleted " in news["text"] for news in laptop.activities("conflict")[told["laptop"] :]))
    texts = [news["text"] for news in laptop.activities("conflict")[told["laptop"] :]]
    assert len([text for text in texts if text.startswith("deleted.txt: deleted ")]) == 1
    assert all("; the changed version stays" in text or text.startswith(renamed.decode()) for text in texts)
    until(lambda: [d for d in (laptop, desktop) if any("renamed" in n["text"] for n in d.activities("conflict"))])


def test_an_edit_at_the_moment_of_resolving_is_not_lost(fleet: Fleet, tmp_path: Path) -> None:
    _, _, phone = fleet.devices
    files = {f"{number}.txt": OLD["text.txt"] for number in range(MOMENTS)}
    add(fleet, files)
    clash(fleet, put(files), put(files))
    rows = {row["file"]: row for row in listed(phone)}
    assert rows.keys() == files.keys()
    versions = {content(phone, row[key]) for row in rows.values() for key in ("file", "copy")}
    saved = set()
    stayed = 0
    for number, row in enumerate(rows.values()):
        edited = phone.root / row["file" if number % 2 else "copy"]
        edit = f"saved at moment {number}\n".encode()
        saving = threading.Timer(number * 0.001, save_at, (edited, edit))
        saving.start()
        try:
            phone.ask("resolve", file=row["file"], keep="theirs")
        except AutosyncError as refused:
            assert "then repeat the command." in refused.hint
        finally:
            saving.join()
        saved.add(edit)
        stayed += edit in {found for _, found in entries(phone.root).values()}
    fleet.equal()
    assert stayed > 0
    standing = {found for _, found in entries(fleet.devices[0].root).values()}
    lost = (saved | versions) - standing - remembered(phone, saved | versions, tmp_path / "contents")
    assert lost == set()
    record("edits while resolving", MOMENTS)


def save_at(path: Path, content: bytes) -> None:
    """Save as most editors do: by renaming over."""
    temporary = path.with_name("editor.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def test_two_devices_that_finish_it_differently_agree_and_lose_nothing(fleet: Fleet, tmp_path: Path) -> None:
    laptop, desktop, phone = fleet.devices
    pairs = [("mine", "mine"), ("theirs", "theirs"), ("mine", "both"), ("both", "theirs"), ("both", "both")]
    files = {f"{mine}-{hers}.txt": OLD["text.txt"] for mine, hers in pairs}
    add(fleet, files)
    clash(fleet, put(files), put(files))
    assert len(listed(laptop)) == len(pairs)
    laptop.ask("pause")
    desktop.ask("pause")
    for first, second in pairs:
        laptop.ask("resolve", file=f"{first}-{second}.txt", keep=first)
        desktop.ask("resolve", file=f"{first}-{second}.txt", keep=second)
    laptop.ask("resume")
    desktop.ask("resume")
    fleet.equal()
    assert listed(laptop) == listed(desktop) == listed(phone)
    found = {content for _, content in entries(laptop.root).values()}
    for maker in (b"laptop", b"desktop"):
        version = OLD["text.txt"].replace(b"5", maker)
        assert version in found
        assert all(remembered(d, [version], tmp_path / "contents") for d in (laptop, desktop))
    for name in files:
        assert content(phone, name) in found


def test_a_restart_forgets_no_conflict_and_tells_none_again(fleet: Fleet) -> None:
    laptop, _, phone = fleet.devices
    files = {"kept/a.txt": OLD["text.txt"]}
    add(fleet, files)
    clash(fleet, put(files), put(files))
    rows = listed(laptop)
    phone.end()
    shown = phone.run("conflicts", "--json")
    answer = json.loads(shown.stdout)
    assert (shown.returncode, answer["agent"]) == (0, False)
    (row,) = answer["conflicts"]
    assert {**row, "stands": None, "root": None} == {**rows[0], "stands": None, "root": None}
    refused = phone.run("resolve", str(phone.root / "kept/a.txt"), "--keep", "mine")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: The agent is not running\n  Start it with `autosync --config ")
    phone.start()
    fleet.equal()
    assert listed(phone) == rows
    assert phone.activities("conflict") == []
    until(lambda: len(phone.status()["conflicts"]) == 1)
    assert "notes has 1 conflict; to see more: autosync" in phone.run("status").stdout
    (phone.root / "kept/a.txt").unlink()
    done = phone.run("resolve", str(phone.root / rows[0]["copy"]), "--keep", "theirs", "--json")
    assert json.loads(done.stdout) == {
        "workspace": "notes",
        "root": str(phone.root),
        "file": "kept/a.txt",
        "keep": "theirs",
        "kept": rows[0]["copy"],
        "device": rows[0]["device"],
        "dropped": [],
        "renamed": {},
    }
    fleet.equal()
    assert [listed(d) for d in fleet.devices] == [[], [], []]
    assert content(laptop, "kept/a.txt") == OLD["text.txt"].replace(b"5", rows[0]["device"].encode())
    assert phone.run("conflicts").stdout == "No conflicts.\n"


def test_the_table_and_what_is_not_clear(fleet: Fleet) -> None:
    laptop, _, _ = fleet.devices
    desktops, phones = (f"it's (conflict, {d}, 2026-11-21 10.15.02).txt" for d in ("desktop", "phone"))
    add(fleet, {"it's.txt": b"stands\n", desktops: b"desktop's\n", phones: b"phone's\n"})
    lines = laptop.run("conflicts", "notes").stdout.splitlines()
    assert lines[0] == f"In {laptop.root}:"
    assert lines[1].split("  ")[0] == "FILE"
    assert [line.split()[:3] for line in lines[2:4]] == [["it's.txt", "a", "file"]] * 2
    command = f"autosync --config {laptop.config} resolve"
    assert lines[-1] == f"""  {command} 'notes/it'"'"'s.txt' --keep mine"""
    before = entries(laptop.root)
    for as_json in ((), ("--json",)):
        asked = laptop.run("resolve", str(laptop.root / "it's.txt"), "--keep", "theirs", *as_json)
        assert asked.returncode == 1
        if as_json:
            assert [v["copy"] for v in json.loads(asked.stdout)["choose"]] == [desktops, phones]
        else:
            shown = [f"  desktop's:\n    {command} ", f"  phone's:\n    {command} "]
            assert asked.stderr.startswith(
                "Error: it's.txt has 2 versions that `--keep theirs` may mean\n  Name the one to keep:\n"
            )
            assert all(line in asked.stderr for line in shown)
    assert entries(laptop.root) == before
    wrong = laptop.run("resolve", "/elsewhere/a.txt", "--keep", "mine")
    assert wrong.stderr == (
        f"Error: /elsewhere/a.txt is not in a working copy of {laptop.config}\n"
        f"  The working copies there: {laptop.root}.\n"
    )
    assert laptop.run("resolve", "/", "--keep", "mine").stderr.startswith("Error: / is no file\n")
    laptop.ask("pause")
    laptop.write("it's.txt", "edited while paused\n")
    paused = laptop.run("resolve", str(laptop.root / "it's.txt"), "--keep", "mine")
    laptop.ask("resume")
    assert paused.stderr == (
        "Error: notes is paused, and the files are not as they were last recorded\n"
        f"  Run `autosync --config {laptop.config} resume notes`, then repeat the command.\n"
    )
    assert laptop.run("resolve", str(laptop.root / "it's.txt"), "--keep", "mine").stdout == (
        f"it's.txt: kept what stands there; gone: {desktops}, {phones}\n"
    )
