"""The Debian package is built, installed, run and removed, on a copy of this system that is thrown away."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.system.mounts import needs_mounts

pytestmark = pytest.mark.timeout(900)  # packages are fetched, and everything is compiled

TOP = Path(__file__).parents[2]

ON_A_COPY = r"""
mount -t tmpfs tmpfs "$PLACE"
mkdir "$PLACE/changed" "$PLACE/work" "$PLACE/root"
mount -t overlay -o "lowerdir=/,upperdir=$PLACE/changed,workdir=$PLACE/work" overlay "$PLACE/root"
mount --rbind /dev "$PLACE/root/dev"
mount --rbind /proc "$PLACE/root/proc"
mount -t tmpfs tmpfs "$PLACE/root/tmp"
cp "$PACKAGE" "$PLACE/root/tmp/autosync.deb"
exec chroot "$PLACE/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp/home LANG=C.UTF-8 bash -euc "$COMMANDS"
"""
"""What is mounted here goes with the namespace, so with the last process in it."""

COMMANDS = r"""
mkdir /tmp/home
cd /tmp/home
dpkg --install /tmp/autosync.deb >&2
autosync --version >&2
zcat /usr/share/man/man1/autosync.1.gz | mandoc >/tmp/page
grep -q install-service /tmp/page
grep -q _autosync /usr/share/bash-completion/completions/autosync /usr/share/zsh/vendor-completions/_autosync
grep -q autosync /usr/share/fish/vendor_completions.d/autosync.fish
autosync hgext lwcopy >/tmp/hgrc
HGRCPATH=/tmp/hgrc hg help lwcopy | grep -q 'hg lwcopy'
for vcs in git hg; do
    autosync demo --once --json --vcs "$vcs" | tr -d '\n'
    echo
done
dpkg --remove autosync >&2
test ! -e /usr/lib/autosync
test ! -e /usr/bin/autosync
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of what is committed here."""
    place = tmp_path_factory.mktemp("deb")
    done = subprocess.run([TOP / "packaging/build-deb", place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (package,) = place.glob("*.deb")
    assert done.stdout == f"{package}\n"
    return package


@needs_mounts
def test_it_is_installed_run_and_removed(package: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-euc", ON_A_COPY],
        env={**os.environ, "PLACE": str(tmp_path), "PACKAGE": str(package), "COMMANDS": COMMANDS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["equal"] for result in results] == [True, True], done.stdout


def test_nothing_in_it_knows_where_it_was_built(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path / "root"], check=True)
    documents = tmp_path / "root/usr/share/doc/autosync"
    (changes,) = documents.glob("changelog*.gz")
    named = re.findall(r"/usr/share/doc/autosync/(\S+)\.\n", gzip.decompress(changes.read_bytes()).decode())
    assert named == ["NEWS.md.gz"]
    assert gzip.decompress((documents / named[0]).read_bytes()) == (TOP / "CHANGELOG.md").read_bytes()
    home = tmp_path / "root/usr/lib/autosync"
    first_lines = {
        path.name: path.read_bytes().partition(b"\n")[0] for path in home.glob("bin/*") if not path.is_symlink()
    }
    assert first_lines["autosync"] == b"#!/usr/lib/autosync/bin/python"
    assert b"/debian/" not in b"".join(first_lines.values())
    assert "/debian/" not in (home / "pyvenv.cfg").read_text()
    unread = [
        str(path.relative_to(home))
        for path in home.rglob("*.pyc")
        if int.from_bytes(path.read_bytes()[4:8], "little") != 1  # PEP 552: unchecked, by hash
    ]
    assert unread == []
