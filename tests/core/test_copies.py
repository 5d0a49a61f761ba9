"""The names of conflict copies: made, read, and given up."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autosync.core.copies import (
    COMPONENT_LIMIT,
    ConflictName,
    conflict_name,
    ordinary_name,
    original_of,
    parse_conflict_name,
    split_extension,
)
from autosync.core.model import RelPath

TIME = 1795256100  # 2026-11-21 10:15:00 UTC
LAST = 253_402_300_799
NAMES = st.binary(min_size=1, max_size=120).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
ENDED = st.builds(bytes.__add__, NAMES, st.sampled_from([b"", b".txt", b".tar.gz", b".TAR.xz", b".", b".a b", b" 2"]))
COMPONENTS = ENDED.filter(lambda name: name not in (b".", b".."))
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map(lambda parts: RelPath(b"/".join(parts)))
DEVICES = st.text(alphabet=st.characters(exclude_characters="+"), min_size=1, max_size=15) | st.just("desktop+laptop")


def free(_path: RelPath) -> bool:
    return False


def named(copy: bytes) -> ConflictName:
    found = parse_conflict_name(RelPath(copy))
    assert found is not None
    return found


@given(PATHS, DEVICES, st.integers(0, LAST), st.integers(0, 11))
@example(RelPath(b"a (conflict, x, 2026-11-21 10.15.00) 2.tar.gz"), "lap", TIME, 1)
@example(RelPath(b"new\nline\n"), "a) (conflict, b, 2026-11-21 10.15.00", TIME, 10)
def test_what_is_named_is_read_again(path: RelPath, device: str, time: int, number: int) -> None:
    left = iter(range(number))
    copy = conflict_name(path, device=device, time=time, taken=lambda _: next(left, None) is not None)
    found = named(copy)
    assert (found.copy, found.original, found.time, found.shortened) == (copy, path, time, False)
    assert all(found.is_by(part) for part in device.split("+"))
    assert not found.is_by(device + "2")


@given(st.integers(200, 255), st.sampled_from(["x", "é", "☃", "😀"]), st.sampled_from(["", ".txt", ".tar.gz"]), DEVICES)
def test_a_shortened_name_is_read_and_leads_to_what_is_beside_it(
    size: int, letter: str, extension: str, device: str
) -> None:
    name = (letter * 300).encode()[: size - len(extension)] + extension.encode()
    path = RelPath(b"d/" + name)
    copy = conflict_name(path, device=device, time=TIME, taken=free)
    found = named(copy)
    assert len(copy) <= COMPONENT_LIMIT + 2
    assert (found.time, found.copy, found.original.startswith(b"d/")) == (TIME, copy, True)
    others = [b"other" + extension.encode(), copy.removeprefix(b"d/")]
    assert original_of(found, [*others, name]) == path
    if found.shortened:
        assert original_of(found, others) is None
        stem, ending = split_extension(found.original.removeprefix(b"d/"))
        assert original_of(found, [*others, name, stem + b"Z" + ending]) is None
    else:
        assert found.original == path


@pytest.mark.parametrize(
    "name",
    [
        b"a.txt",
        b"a (conflict).txt",
        b"a (conflict, desktop).txt",
        b"a (conflict, desktop, 2026-11-21).txt",
        b"a (conflict, desktop, 2026-13-21 10.15.00).txt",
        b"a (conflict, desktop, 2026-11-31 10.15.00).txt",
        b"a (conflict, desktop, 1969-12-31 23.59.59).txt",
        b"a (conflict, , 2026-11-21 10.15.00).txt",
        b"a (conflict, \xff, 2026-11-21 10.15.00).txt",
        b"a (conflict, (x), 2026-11-21 10.15.00).txt",
        b"a (conflict, desktop, 2026-11-21 10.15.00) 1.txt",
        b"a (conflict, desktop, 2026-11-21 10.15.00) 02.txt",
        b"a (conflict, desktop, 2026-11-21 10.15.00)2.txt",
        b"a (conflict, desktop, 2026-11-21 10.15.00).txt.bak",
        b"a (conflict, desktop, 2026-11-21 10.15.00) (desktop).txt",
        b"a (conflict, desktop, 2026-11-21 10.15.00).averyveryverylongend",
        b" (conflict, desktop, 2026-11-21 10.15.00).txt",
        b"a(conflict, desktop, 2026-11-21 10.15.00).txt",
        b"a (conflict, desktop, 2026-11-21 10.15.00).txt/inside",
        b"",
    ],
)
def test_other_names_are_no_conflicts(name: bytes) -> None:
    assert parse_conflict_name(RelPath(name)) is None


@given(st.binary(max_size=80) | st.from_regex(rb"\A.+ \(conflict, .+, \d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d\).*\Z"))
def test_reading_takes_any_bytes_and_what_it_takes_can_have_been_made(name: bytes) -> None:
    found = parse_conflict_name(RelPath(name))
    if found is not None and found.device.isprintable() and not set(found.device) & set('/\\:*?"<>|'):
        made = conflict_name(
            found.original, device=found.device, time=found.time, taken=lambda copy: len(copy) < len(name)
        )
        assert made == name or len(made) > len(name)


def test_a_copy_is_by_each_device_of_a_merge() -> None:
    copy = named(b"a (conflict, desktop+laptop, 2026-11-21 10.15.00).txt")
    assert [copy.is_by(d) for d in ("desktop", "laptop", "top", "desktop+laptop", "phone")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert named(b"a (conflict, a-b, 2026-11-21 10.15.00)").is_by("a/b")
    assert named(b"a (conflict, saved late, 2026-11-21 10.15.00)").is_by("saved late")


def test_a_device_name_that_was_cut_still_tells_whose_it_is() -> None:
    first, second = "a" * 40, "b" * 40
    copy = conflict_name(RelPath(b"x"), device=f"{first}+{second}", time=TIME, taken=free)
    assert named(copy).is_by(first)
    assert named(copy).is_by(second)
    assert not named(copy).is_by("c" * 40)


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        (b"d/a (conflict, desktop, 2026-11-21 10.15.00).txt", b"d/a (desktop).txt"),
        (b"a (conflict, desktop, 2026-11-21 10.15.00) 3.tar.gz", b"a (desktop).tar.gz"),
        (b".bashrc (conflict, laptop+phone, 2026-11-21 10.15.00)", b".bashrc (laptop+phone)"),
        (b"caf\xe9 (conflict, d, 2026-11-21 10.15.00)", b"caf\xe9 (d)"),
    ],
)
def test_an_ordinary_name_says_whose_version_it_is(copy: bytes, expected: bytes) -> None:
    assert ordinary_name(named(copy), taken=free) == expected
    assert parse_conflict_name(RelPath(expected)) is None


def test_an_ordinary_name_is_free_and_not_too_long() -> None:
    name = named(b"a (conflict, desktop, 2026-11-21 10.15.00).txt")
    taken = {b"a (desktop).txt", b"a (desktop) 2.txt"}
    assert ordinary_name(name, taken=taken.__contains__) == b"a (desktop) 3.txt"
    long = conflict_name(RelPath(b"x" * 251 + b".txt"), device="d" * 60, time=TIME, taken=free)
    assert len(ordinary_name(named(long), taken=free)) < COMPONENT_LIMIT
    whole = ConflictName(copy=long, original=RelPath(b"x" * 251 + b".txt"), device="desktop", time=TIME)
    assert ordinary_name(whole, taken=free) == b"x" * (251 - 10) + b" (desktop).txt"


@pytest.mark.parametrize("original", [b".git", b".GIT", b"git~1", ".g\u200cit".encode(), b".hg", b".."])
def test_a_file_that_others_made_is_no_copy_of_what_must_not_be_written(original: bytes) -> None:
    assert parse_conflict_name(RelPath(original + b" (conflict, desktop, 2026-11-21 10.15.00)")) is None
