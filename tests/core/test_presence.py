"""Who works on which file, and what is worth a word."""

from __future__ import annotations

import fnmatch

import pytest

from autosync.core.brakes import BrakeLimits, Brakes
from autosync.core.model import DeviceId, RelPath
from autosync.core.presence import BY_HAND, EXPIRES, MOST_TOLD, ONCE_IN, SAVED, Presence, Sight, edited_by
from autosync.core.temporary import DEFAULT_IGNORES


def id_of(device: str) -> DeviceId:
    return DeviceId(f"{device}-00000001")


def sight(path: str, *, device: str = "desktop", is_open: bool = True, since: float = 0.0) -> Sight:
    return Sight(id=id_of(device), device=device, path=path, open=is_open, since=since)


@pytest.mark.parametrize(
    ("lock", "files"),
    [
        (b"src/.a.py.swp", [b"src/a.py", b"src/.a.py"]),
        (b".a.py.swn", [b"a.py", b".a.py"]),
        (b".#a.py", [b"a.py"]),
        (b"#a.py#", [b"a.py"]),
        (b"x/.~lock.doc.odt#", [b"x/doc.odt"]),
    ],
)
def test_a_lock_tells_which_file_may_be_open(lock: bytes, files: list[bytes]) -> None:
    assert list(edited_by(RelPath(lock))) == files
    name = lock.decode().rpartition("/")[2]
    assert any(fnmatch.fnmatchcase(name, pattern.replace("\\", "")) for pattern in DEFAULT_IGNORES)


@pytest.mark.parametrize(
    "name", [b"a.py", b".gitignore", b".#", b"##", b".a.swz", b".swp", b"a.swp", b"dir/", b".~lock.#"]
)
def test_other_names_are_files_of_the_user(name: bytes) -> None:
    assert b"a.py" not in edited_by(RelPath(name))
    assert edited_by(RelPath(name)) in ((), (b".swp",))


def test_what_is_open_elsewhere_is_shown_until_it_is_closed() -> None:
    presence = Presence()
    assert presence.opened_there(id_of("desktop"), "desktop", ["a.py", "b.py"], 10.0) == []
    presence.opened_there(id_of("desktop"), "desktop", ["b.py", "c.py"], 20.0)
    assert presence.sights(21.0) == [sight("b.py", since=10.0), sight("c.py", since=20.0)]
    presence.opened_there(id_of("desktop"), "desktop", [], 30.0)
    assert presence.sights(31.0) == []


def test_two_devices_of_one_name_are_two() -> None:
    presence, other = Presence(), DeviceId("desktop-00000002")
    presence.opened_here(["a.py", "b.py"], 0.0)
    presence.opened_there(id_of("desktop"), "desktop", ["a.py"], 0.0)
    assert presence.opened_there(other, "desktop", [], 1.0) == []
    assert presence.sights(2.0) == [sight("a.py")]
    [told] = presence.saved_there(other, "desktop", ["a.py"], 1, 3.0)
    assert (told.id, told.text) == (other, "desktop has just saved a.py")
    presence.opened_there(other, "desk", ["b.py"], 4.0)  # it has another name now
    assert next((s.id, s.text) for s in presence.sights(5.0)) == (other, "desk is editing b.py")


def test_what_is_not_said_again_ends_by_itself() -> None:
    presence = Presence()
    presence.opened_there(id_of("desktop"), "desktop", ["a.py"], 0.0)
    assert presence.sights(EXPIRES - 1) == [sight("a.py")]
    assert presence.sights(EXPIRES) == []


def test_who_saved_a_moment_ago_works_on_it() -> None:
    presence = Presence()
    presence.saved_there(id_of("desktop"), "desktop", ["a.py"], 1, 5.0)
    assert [s.text for s in presence.sights(6.0)] == ["desktop has just saved a.py"]
    presence.opened_there(id_of("desktop"), "desktop", ["a.py"], 7.0)
    assert [s.text for s in presence.sights(8.0)] == ["desktop is editing a.py"]
    presence.opened_there(id_of("desktop"), "desktop", [], 9.0)
    assert presence.sights(5.0 + SAVED) == []


def test_many_files_at_once_are_not_saved_by_hand() -> None:
    presence = Presence()
    many = [f"{n}.o" for n in range(BY_HAND + 1)]
    presence.saved_there(id_of("desktop"), "desktop", many, len(many), 0.0)
    presence.saved_here(many, len(many), 0.0)
    assert presence.sights(1.0) == []
    assert presence.opened_there(id_of("desktop"), "desktop", many, 1.0) == []


def test_it_is_told_when_you_open_what_another_has_open() -> None:
    presence = Presence()
    presence.opened_there(id_of("desktop"), "desktop", ["a.py"], 0.0)
    assert presence.opened_here(["b.py"], 1.0) == []
    assert presence.opened_here(["a.py", "b.py"], 2.0) == [sight("a.py")]
    assert presence.opened_here(["a.py"], 3.0) == []


def test_it_is_told_when_you_save_what_another_has_open() -> None:
    presence = Presence()
    presence.opened_there(id_of("desktop"), "desktop", ["a.py"], 0.0)
    assert presence.saved_here(["a.py"], 1, 1.0) == [sight("a.py")]
    assert presence.saved_here(["a.py"], 1, 2.0) == []


def test_it_is_told_when_another_begins_on_what_you_have_open() -> None:
    presence = Presence()
    presence.opened_here(["a.py"], 0.0)
    assert presence.opened_there(id_of("desktop"), "desktop", ["a.py", "b.py"], 1.0) == [sight("a.py", since=1.0)]
    assert presence.opened_there(id_of("server"), "server", ["a.py"], 2.0) == [
        sight("a.py", device="server", since=2.0)
    ]
    assert presence.saved_there(id_of("nas"), "nas", ["a.py"], 1, 3.0) == [
        sight("a.py", device="nas", is_open=False, since=3.0)
    ]


def test_your_save_of_long_ago_is_forgotten() -> None:
    presence = Presence()
    presence.saved_here(["a.py"], 1, 0.0)
    assert presence.opened_there(id_of("desktop"), "desktop", ["a.py"], SAVED) == []


def test_the_same_is_told_again_after_a_while_only() -> None:
    presence = Presence()
    presence.opened_here(["a.py"], 0.0)
    for moment, told in ((0.0, 1), (100.0, 0), (ONCE_IN - 1, 0), (ONCE_IN, 1)):
        assert len(presence.opened_there(id_of("desktop"), "desktop", ["a.py"], moment)) == told


def test_what_was_told_is_remembered_within_bounds() -> None:
    presence = Presence()
    paths = [f"{n:03}" for n in range(MOST_TOLD + 1)]
    presence.opened_here(paths, 0.0)
    assert len(presence.opened_there(id_of("desktop"), "desktop", paths, 1.0)) == MOST_TOLD + 1
    assert presence.opened_there(id_of("desktop"), "desktop", paths, 2.0) == [sight("000", since=1.0)]


def test_the_name_of_a_secret_is_for_nobody() -> None:
    brakes = Brakes(BrakeLimits(), released=[RelPath(b"known.key")])
    brakes.begin(None, 0.0)
    assert brakes.hold(RelPath(b"huge"), 1 << 40)
    names = [b"huge", b"x/.env", b"known.key", b"a.py"]
    assert [brakes.withholds(RelPath(name)) for name in names] == [True, True, False, False]
