"""Every alias of repository metadata is refused, every ordinary name is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.safety import unsafe_component

GIT = "a name that some file systems take for git's metadata"
HG = "a name that some file systems take for Mercurial's metadata"
ELSEWHERE = "a name that leads to another directory"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"", "an empty name"),
        (b".", ELSEWHERE),
        (b"..", ELSEWHERE),
        (b"a\\..\\b", ELSEWHERE + " where \\ separates directories"),
        (b"a/b", "a name with a slash or a NUL byte in it"),
        (b"a\0b", "a name with a slash or a NUL byte in it"),
        (b".git", GIT),
        (b".GiT", GIT),
        (b".git.", GIT),
        (b".git ", GIT),
        (b".git . .", GIT),
        (b".git:stream", GIT),
        (b".git::$INDEX_ALLOCATION", GIT),
        (b".git ::$INDEX_ALLOCATION", GIT),
        (b".git:two\nlines", GIT),
        (b"git~1", GIT),
        (b"GIT~1", GIT),
        (b"git~12", GIT),
        (b"git~1.", GIT),
        (b".git\\config", GIT),
        (b"sub\\.git", GIT),
        (b"sub\\GIT~1\\hooks", GIT),
        (".g\u200cit".encode(), GIT),  # HFS+ ignorable
        ("\ufeff.git".encode(), GIT),
        (".git\u206f".encode(), GIT),
        (".gi\u00adt".encode(), GIT),  # ignorable for ext4 with casefold only
        ("\U000e0001.git".encode(), GIT),
        ("git\u200b~1".encode(), GIT),
        (b".hg", HG),
        (b".Hg", HG),
        (b".hg. ", HG),
        (b".hg:stream", HG),
        (b"hg~1", HG),
        (b"HG~2", HG),
        (b"hg8b6c~1", HG),
        (b"HG8B6C~3", HG),
        (".h\u200dg".encode(), HG),
        (b"x\\.hg\\hgrc", HG),
    ],
)
def test_refused(name: bytes, reason: str) -> None:
    assert unsafe_component(name) == reason


@pytest.mark.parametrize(
    "name",
    [
        b".gitignore",
        b".gitattributes",
        b".hgignore",
        b".github",
        b"git",
        b"hg",
        b"git~",
        b"git~one",
        b"hg~",
        b"hgrc",
        b"...",
        b"..a",
        b"file.git",
        b".git-blame-ignore-revs",
        b".git.keep",
        b".gitx:stream",
        b"dev-disk-by\\x2duuid.swap",
        b" .git",
        b"\xff\xfe\x80",
        b".\xffgit",
        "größe.txt".encode(),
        "日本語".encode(),
        b"new\nline",
        b"con",
    ],
)
def test_ordinary(name: bytes) -> None:
    assert unsafe_component(name) is None


@given(st.binary(max_size=12))
def test_total_and_never_allows_what_is_no_component(name: bytes) -> None:
    allowed = unsafe_component(name) is None
    assert not (allowed and (not name or b"/" in name or b"\0" in name or name in {b".", b".."}))


@given(
    st.sampled_from([".git", ".hg", "git~1", "hg~1", "hg8b6c~1"]),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("\u200b\u200c\u2060\ufeff\u00ad\ufe0f")), max_size=4),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sampled_from(["", ".", " ", " . ", ":x", ". :$DATA", "\\x"]),
)
def test_every_mix_of_tricks_is_seen(stem: str, inserts: list[tuple[int, str]], upper: list[bool], tail: str) -> None:
    text = "".join(c.upper() if up else c for c, up in zip(stem, upper, strict=False))
    for at, ignorable in inserts:
        text = text[:at] + ignorable + text[at:]
    assert unsafe_component((text + tail).encode()) in {GIT, HG}
