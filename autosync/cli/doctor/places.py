"""Examines where everything lies: room, rights, and what kind of file system it is."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autosync.causes import bytes_in_words
from autosync.cli.finding import Finding, Level
from autosync.config import Config, Mode, PathConfig
from autosync.control import NAME as SOCKET

_LITTLE = 500 * 10**6
_HARDLY_ANY = 50 * 10**6
_FEW_FILES = 10_000
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs", "lustre")
_MOUNTED = ("fuse.sshfs", "fuse.rclone", "fuse.davfs")
_OF_HOST = ("9p", "virtiofs", "vboxsf", "prl_fs", "vmhgfs", "fuse.vmhgfs-fuse", "drvfs")
FOREIGN = frozenset((*_NETWORK, *_MOUNTED, *_OF_HOST))
"""What others may change without this kernel's knowing of it: inotify is silent then (inotify(7), Limitations)."""
BARE = frozenset({"vfat", "msdos", "exfat", "fuseblk", "ntfs", "ntfs3"})
"""What keeps no rights and no symbolic links as they are, and times in steps."""
FLEETING = frozenset({"tmpfs", "ramfs"})
LAYERED = frozenset({"overlay", "aufs"})
"""What containers have; changes in the layers below are not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A line of /proc/self/mountinfo (proc(5)): where it is mounted, and which kind it is."""

    point: str
    kind: str


def check_room(config: Config | None, state_dir: str) -> Iterator[Finding]:
    """Tell for each disk that is used how much room is on it."""
    seen: set[int] = set()
    for place in (*([p.path for p in config.paths] if config else []), state_dir):
        there = _nearest(place)
        if os.stat(there).st_dev not in seen:
            seen.add(os.stat(there).st_dev)
            yield from _check_disk(there)


def _check_disk(place: str) -> Iterator[Finding]:
    found, point = os.statvfs(place), mount_of(place).point
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    what = f"disk {point}"
    if found.f_flag & os.ST_RDONLY:
        hint = (
            f"After an error of the disk check it first (`dmesg`), then: sudo mount -o remount,rw {shlex.quote(point)}"
        )
        yield Finding(Level.FAIL, what, "is mounted read-only", hint)
    level = Level.FAIL if free < _HARDLY_ANY else Level.WARN if free < _LITTLE else Level.OK
    room = f"{bytes_in_words(free)} of {bytes_in_words(whole)} are free"
    hint = f"Make room: du -xh {shlex.quote(point)} | sort -h | tail    tells what takes it"
    yield Finding(level, what, room, "" if level is Level.OK else hint)
    if found.f_files and found.f_favail < _FEW_FILES:
        detail = f"room for {found.f_favail} more files (inodes)"
        yield Finding(Level.WARN, what, detail, f"Delete files that nobody needs: du --inodes -x {shlex.quote(point)}")


def check_rights(config: Config | None, state_dir: str) -> Iterator[Finding]:
    """Tell who else could read the secrets, or change what autosync does."""
    before = 0
    if config is not None:
        for name in dict.fromkeys(path.key_file for path in config.paths):
            for bad in _secret("key file", name):
                before += 1
                yield bad
        for bad in _unwritable("config", config.source):
            before += 1
            yield bad
    for what, name in (("state-dir", state_dir), ("socket", os.path.join(state_dir, SOCKET))):
        for bad in _secret(what, name):
            before += 1
            yield bad
    if not before:
        yield Finding(Level.OK, "rights", "keys and state are this user's alone")


def _secret(what: str, name: str) -> Iterator[Finding]:
    """Tell if others have any right to ``name``, which need not be there."""
    found = _look(name)
    if found is None:
        return
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (os.geteuid(), 0):
        yield Finding(Level.FAIL, what, f"{name} belongs to another user", f"sudo chown {os.geteuid()} {_word(name)}")
    if mode & _OTHERS:
        only = "700" if stat.S_ISDIR(found.st_mode) else "600"
        detail = f"{name} can be opened by other users of this machine (mode {mode:04o})"
        level = Level.WARN if what == "state-dir" and not mode & _OTHERS_WRITE else Level.FAIL
        yield Finding(level, what, detail, f"chmod {only} {_word(name)}")


def _unwritable(what: str, name: str) -> Iterator[Finding]:
    for place in (name, os.path.dirname(name)):
        found = _look(place)
        # What a sticky folder holds only its owner can replace (inode(7)).
        if found is not None and found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
            detail = f"{place} can be written by other users of this machine, who could let you run commands of theirs"
            yield Finding(Level.FAIL, what, detail, f"chmod go-w {_word(place)}")


def check_file_systems(paths: Sequence[PathConfig]) -> Iterator[Finding]:
    """Tell of each working copy what its file system does not do."""
    for path in paths:
        if os.path.isdir(path.path):
            mount = mount_of(path.path)
            remarks = list(_remarks(path, mount))
            yield from remarks
            if not remarks:
                yield Finding(Level.OK, path.workspace, f"lies on {mount.kind}")


def _remarks(path: PathConfig, mount: Mount) -> Iterator[Finding]:
    if mount.kind in FOREIGN and path.mode is not Mode.STORE:
        detail = f"lies on {mount.kind}: what other machines change there is found every {path.rescan:g} s only"
        hint = "Sync it on the machine that has the disk, or set `rescan: 10s` and `pull-lock: conservative` for it."
        yield Finding(Level.WARN, path.workspace, detail, hint)
    if mount.kind in BARE:
        detail = f"lies on {mount.kind}, which keeps no rights to execute and no symbolic links"
        hint = "Keep it on ext4, xfs or btrfs; else changes of these kinds do not arrive here."
        yield Finding(Level.WARN, path.workspace, detail, hint)
    if mount.kind in FLEETING:
        detail = f"lies on {mount.kind}: it is gone when the machine is switched off"
        yield Finding(Level.WARN, path.workspace, detail, "Keep it on a disk.")
    if mount.kind in LAYERED:
        detail = f"lies on {mount.kind}: it goes with the container, and changes in the layers below are not told"
        yield Finding(Level.WARN, path.workspace, detail, "Keep it on a volume of its own.")
    if folds_case(path.path):
        detail = "lies where README and readme are one file: of two such names one cannot be brought here"
        yield Finding(Level.WARN, path.workspace, detail, "Rename one of such a pair on another device, or use ext4.")


def folds_case(root: str) -> bool:
    """Return whether capital and small letters are one in the repository ``root``; nothing is written for it."""
    for mark in (".git", ".hg"):
        there, other = _look(os.path.join(root, mark)), _look(os.path.join(root, mark.upper()))
        if there is not None and other is not None:
            return (there.st_dev, there.st_ino) == (other.st_dev, other.st_ino)
    return False


def mount_of(place: str) -> Mount:
    """Return the mount that ``place`` lies on."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [_parse(line) for line in file]
    real = os.path.realpath(place)
    above = [m for m in mounts if real == m.point or real.startswith(m.point.rstrip("/") + "/")]
    # Of two at one place the later one is on top.
    return max(enumerate(above), key=lambda found: (len(found[1].point), found[0]))[1]


def _parse(line: str) -> Mount:
    front, _, back = line.partition(" - ")
    fields = front.split()
    point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")
    return Mount(point=os.fsdecode(point), kind=back.split()[0])


def _nearest(place: str) -> str:
    """Return the place, or the nearest folder above it that is there."""
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    return place


def _look(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except OSError:
        return None


def _word(name: str) -> str:
    return shlex.quote(name)
