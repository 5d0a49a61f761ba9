"""Says which names must never be written because some file system takes them for repository metadata."""

from __future__ import annotations

import re
import unicodedata

# A name is looked at closely only if it could be an alias: every alias starts with a
# dot or is a short name, or holds a byte that needs decoding or splitting.
_SUSPECT = re.compile(rb"\A(?:\.|gi|hg)|[\x00/\\\x80-\xff]", re.IGNORECASE)

# Default_Ignorable_Code_Point of DerivedCoreProperties.txt (Unicode 15), which
# contains the list that HFS+ drops (Apple TN1150, git's utf8.c).  ext4 and f2fs
# directories with casefold drop all of them (Linux fs/unicode, nfdicf).
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

# What NTFS and FAT open as the directory: the name or its 8.3 short name (any number;
# HG8B6C is the hashed form of .hg, see Mercurial's pathutil), then dots and spaces,
# then an alternate stream (git's is_ntfs_dotgit, CVE-2019-1352, CVE-2019-1353).
_METADATA = re.compile(r"(\.git|\.hg|git~[0-9]+|hg~[0-9]+|hg8b6c~[0-9]+)[. ]*(?::.*)?\Z", re.DOTALL)

_OWNER = {"g": "git", "h": "Mercurial"}


def unsafe_component(name: bytes) -> str | None:
    """Return why ``name`` must not be written as one component of a path, ``None`` if it may.

    Refused are names that are no component at all (empty, ``.``, ``..``, with a slash
    or NUL) and every spelling that some file system opens as ``.git`` or ``.hg``: other
    case, code points that HFS+ or a casefolding ext4 ignores, NTFS short names, trailing
    dots and spaces, alternate streams, and each part between backslashes.
    """
    if not name:
        return "an empty name"
    if not _SUSPECT.search(name):
        return None
    if b"\0" in name or b"/" in name:
        return "a name with a slash or a NUL byte in it"
    if name in {b".", b".."}:
        return "a name that leads to another directory"
    for part in name.split(b"\\"):
        if part == b".." and part != name:
            return "a name that leads to another directory where \\ separates directories"
        if owner := metadata_owner(part):
            return f"a name that some file systems take for {owner}'s metadata"
    return None


def metadata_owner(part: bytes) -> str | None:
    """Return whose metadata directory some file system opens for ``part`` (``git``, ``Mercurial``), if any."""
    match = _METADATA.match(folded(part))
    return _OWNER[match[1].removeprefix(".")[0]] if match else None


def folded(name: bytes) -> str:
    """Return ``name`` as a case-insensitive, normalising file system compares it.

    Bytes that are no UTF-8 stand for themselves.
    """
    text = _IGNORABLE.sub("", name.decode("utf-8", "surrogateescape"))
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
