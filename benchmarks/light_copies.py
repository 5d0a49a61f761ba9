"""What light-weight copies save in Mercurial repositories, and what they cost, beside the same without them.

``python -m benchmarks.light_copies`` commits three releases of pip from PyPI, which moved all its files once, and
a file of 20 MB that is renamed.  ``--git DIRECTORY`` converts the history of a git repository instead.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

EXTENSION = Path(__file__).parents[1] / "autosync" / "hgext" / "lwcopy"
HG = (sys.executable, "-P", "-c", "from mercurial import dispatch; dispatch.run()")
_CONFIG = f"""[ui]
username = bench <bench@example.org>
large-file-limit = 0
[extensions]
lwcopy = {EXTENSION}
convert =
[convert]
git.similarity = 50
git.renamelimit = 0
"""
ROUNDS = 3
"""How often things are done; the median is printed."""
VARIANTS = {"full": (), "light": ("--config", "format.lwcopy=yes")}
"""How a repository is made: Mercurial's usual way, and with light-weight copies."""
RELEASES = {
    "8.1.2": "4d24b03ffa67638a3fa931c09fd9e0273ffa904e95ebebe7d4b1a54c93d7b732",
    "9.0.3": "7bf48f9a693be1d58f49f7af7e0ae9fe29fd671cde8a55e6edca3581c4ef5796",
    "10.0.1": "f2bd08e0cd1b06e10218feaf6fef299f473ba706582eb3bd9d52203fdbd7ee68",
}
"""Source distributions of pip and their sha256; from 9 to 10 everything went below src/."""
BIG = 20_000_000
"""Bytes of the one large file."""


def hg(root: Path, *arguments: str | Path) -> bytes:
    """Return what hg printed."""
    return subprocess.run([*HG, *arguments], cwd=root, check=True, stdout=subprocess.PIPE).stdout


def spent(work: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of processor time that the programs which ``work`` runs take, all in all."""
    took = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        work()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(took)


def size(repository: Path) -> int:
    """Return the bytes of what a repository's store holds of files' contents."""
    return sum(place.stat().st_size for place in (repository / ".hg/store/data").rglob("*") if place.is_file())


def fetch(version: str, directory: Path) -> Path:
    """Return the directory with a release of pip."""
    wanted = directory / "wanted.txt"
    wanted.write_text(f"pip=={version} --hash=sha256:{RELEASES[version]}\n")
    quiet = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    subprocess.run([*quiet, "--no-deps", "--no-binary", "pip", "--dest", directory, "-r", wanted], check=True)
    with tarfile.open(directory / f"pip-{version}.tar.gz") as tar:
        tar.extractall(directory, filter="data")
    place = directory / f"pip-{version}"
    for file in place.rglob("*"):  # those of 10.0.1 end in CR LF, which would hide the moves
        if file.is_file():
            file.write_bytes(file.read_bytes().replace(b"\r\n", b"\n"))
    return place


def commit_trees(trees: Sequence[Path], repository: Path, options: Sequence[str]) -> float:
    """Make a repository of directories, one after the other; return what the costliest commit of renames takes."""
    hg(repository.parent, "init", *options, repository)
    took = []
    for tree in trees:
        for place in repository.iterdir():
            if place.name != ".hg":
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        shutil.copytree(tree, repository, dirs_exist_ok=True, symlinks=True)
        hg(repository, "addremove", "--quiet", "--similarity", "90")
        took.append(spent(lambda: hg(repository, "commit", "--message", tree.name), 1))  # noqa: B023  # called at once
    return max(took[1:])


def big_trees(directory: Path) -> list[Path]:
    """Return directories with the large file, under one name and then under another."""
    content = random.Random(1).randbytes(BIG)
    trees = [directory / "before", directory / "after"]
    for tree, name in zip(trees, ("footage.raw", "2026-11-footage.raw"), strict=True):
        tree.mkdir()
        (tree / name).write_bytes(content)
    return trees


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Bytes of the store, and the seconds of processor time of what is done with it; ``commit``: of the largest."""

    store: int
    commit: float | None
    clone: float
    verify: float
    cat: float


def measure(repository: Path, options: Sequence[str], commit: float | None, files: Sequence[str]) -> Costs:
    """Return the costs of a repository; ``files``, which were renamed, are read in its last revision."""
    copy = repository.with_name(f"{repository.name}-copy")

    def clone() -> None:
        shutil.rmtree(copy, ignore_errors=True)
        hg(repository.parent, "clone", "--quiet", "--pull", "--noupdate", *options, repository, copy)

    took = spent(clone, ROUNDS)
    assert size(copy) <= 1.1 * size(repository), "a clone takes more than its source"
    return Costs(
        store=size(repository),
        commit=commit,
        clone=took,
        verify=spent(lambda: hg(repository, "verify", "--quiet"), ROUNDS),
        cat=spent(lambda: hg(repository, "cat", "--rev", "tip", "--", *files), ROUNDS),
    )


def renamed(repository: Path) -> list[str]:
    """Return the paths of the last revision that were copied or renamed to when they came, 300 at most."""
    told = hg(repository, "log", "--rev", "::tip", "--template", "{file_copies % '{name}\\n'}").decode().splitlines()
    there = set(hg(repository, "files", "--rev", "tip").decode().splitlines())
    return sorted(there.intersection(told))[:300]


def compare(name: str, directory: Path, make: Callable[[Path, Sequence[str]], float | None]) -> None:
    """Make a history in both ways, and print what each costs."""
    found = {}
    for variant, options in VARIANTS.items():
        repository = directory / f"{name}-{variant}"
        commit = make(repository, options)
        files = renamed(repository)
        found[variant] = measure(repository, options, commit, files)
    full, light = found["full"], found["light"]
    print(f"{name}: {len(files)} files of the last revision were renamed once")
    print(f"  {'':30} {'full':>12} {'light':>12} {'ratio':>7}")
    print(f"  {'contents in the store':30} {full.store:12,} {light.store:12,} {light.store / full.store:6.2f}x")
    for words, slow, fast in (
        ("the costliest commit", full.commit, light.commit),
        ("clone --pull", full.clone, light.clone),
        ("verify", full.verify, light.verify),
        ("cat of what was renamed", full.cat, light.cat),
    ):
        if slow and fast:
            print(f"  {words:30} {slow * 1000:9.0f} ms {fast * 1000:9.0f} ms {fast / slow:6.2f}x")
    switch(directory / f"{name}-full", full, light)


def switch(repository: Path, full: Costs, light: Costs) -> None:
    """Print what it takes to make an existing repository light and to undo it."""
    on = spent(lambda: hg(repository, "lwcopy", "--on", "--quiet"), 1)
    now = size(repository)
    off = spent(lambda: hg(repository, "lwcopy", "--off", "--quiet"), 1)
    print(f"  hg lwcopy --on: {on:.1f} s, then {now / light.store:.2f}x of one that was light from the start;")
    print(f"  hg lwcopy --off: {off:.1f} s, then {size(repository) / full.store:.2f}x of one that never was")


def convert(source: Path, repository: Path, options: Sequence[str]) -> None:
    """Make a repository of a git history."""
    whole = repository.parent / "converted"
    if not whole.exists():
        hg(repository.parent, "convert", "--quiet", "--datesort", source, whole)
    hg(repository.parent, "clone", "--quiet", "--pull", "--noupdate", *options, whole, repository)


def main() -> int:
    """Run the comparisons that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--git", type=Path, metavar="DIRECTORY", help="a git repository with renames")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autosync-bench-") as temporary:
        directory = Path(temporary)
        (directory / "hgrc").write_text(_CONFIG)
        os.environ.update(HGRCPATH=os.fspath(directory / "hgrc"), HGPLAIN="1")
        if arguments.git:
            source = arguments.git.absolute()
            compare(source.name, directory, lambda repository, options: convert(source, repository, options))
        else:
            trees = [fetch(version, directory) for version in RELEASES]
            compare("pip", directory, lambda repository, options: commit_trees(trees, repository, options))
            big = big_trees(directory)
            compare("20 MB", directory, lambda repository, options: commit_trees(big, repository, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
