"""The hub by path, http and ssh: with the user's settings, without a question, with a clear word when it fails."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from git_repos import put
from gitdevice import KEY, LAPTOP, WORKSPACE, Device, clone, git, new_repository
from githubs import HttpHub, SshHub, bare, certificate

from autosync.backends.git.network import Patience
from autosync.backends.git.refnames import RefNames
from autosync.core.model import DeviceId, SnapshotId, WorkspaceId
from autosync.errors import AutosyncError, ConfigError, Missing, Refused, Unreachable, Unsafe
from autosync.trust.sealing import WorkspaceKey
from tests import figures
from tests.waiting import PATIENCE

DESKTOP = DeviceId("desktop-00000002")
MAIN = "refs/heads/main"
FOLDER = f"refs/autosync/{WORKSPACE}/"


def ref_of(device: DeviceId, snapshot: str, key: WorkspaceKey = KEY) -> str:
    """Return the ref by which a device with the key would show a snapshot."""
    return FOLDER + RefNames(lambda: (key,)).make(device, SnapshotId(snapshot))


def names_of(hub: Path) -> dict[str, str]:
    """Return whose each of our refs is."""
    lines = (
        line.split() for line in git(hub, "for-each-ref", "--format=%(refname) %(objectname)", FOLDER).splitlines()
    )
    read = {ref: RefNames(lambda: (KEY,)).read(ref.removeprefix(FOLDER), oid) for ref, oid in lines}
    return {ref: found[0] for ref, found in read.items() if found is not None}


def shown(hub: Path) -> list[str]:
    """Return the devices that have refs on the hub, one for each ref."""
    return sorted(names_of(hub).values())


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return bare(tmp_path / "hub.git")


class Site:
    """Two repositories with one history, and devices over them that are closed at the end."""

    def __init__(self, directory: Path) -> None:
        self.one = new_repository(directory / "one")
        self.two = clone(self.one, directory / "two")
        self._devices: list[Device] = []

    def remote(self, url: str | Path, **settings: str) -> None:
        for root in (self.one, self.two):
            git(root, "remote", "add", "origin", str(url))
            for key, value in settings.items():
                git(root, "config", "--add", key.replace("__", "."), value)

    def device(self, root: Path, remote: str | None = "origin", **options: str | Patience | WorkspaceId) -> Device:
        device = Device(root, remote, **options)  # type: ignore[arg-type]  # a choice of its keywords
        self._devices.append(device)
        return device

    def pair(self) -> tuple[Device, Device]:
        return self.device(self.one), self.device(self.two)

    def close(self) -> None:
        for device in self._devices:
            device.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpHub]:
    server = HttpHub(tmp_path)
    yield server
    server.close()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHub]:
    server = SshHub(tmp_path_factory.mktemp("ssh") / "d")
    yield server
    server.close()


def helper(directory: Path, password: str) -> str:
    """Return a credential helper that knows ``password``."""
    script = directory / "helper"
    script.write_text(f"#!/bin/sh\necho username=me\necho 'password={password}'\n")
    script.chmod(0o755)
    return str(script)


def exchange_everything(one: Device, two: Device) -> None:
    """Let every call of the hub's succeed once."""
    (one.root / "a.txt").write_bytes(b"committed, not pushed\n")
    git(one.root, "commit", "-qam", "second")
    snapshot = one.snap({"a.txt": b"dirty\n"})
    ours, seen = user_state(one), user_state(two)
    assert two.exchange.list_hub() == {}
    one.exchange.push(LAPTOP, snapshot.id)
    assert one.exchange.list_hub() == {LAPTOP: snapshot.id}
    assert user_state(one) == ours
    assert two.exchange.fetch(LAPTOP, snapshot.id) == snapshot
    assert one.exchange.push_branch(MAIN) is True
    assert two.exchange.fetch_branch(MAIN) == one.base().commit
    assert user_state(two) == seen
    two.snapshots.pin("got", snapshot.id)
    assert (two.fsck(), two.leftovers()) == ("", [])


def user_state(device: Device) -> dict[str, bytes]:
    """Return every file of the user's repository but our own and the index."""
    found = {}
    for top, directories, files in os.walk(device.root / ".git"):
        if "autosync" in directories:
            directories.remove("autosync")
        for name in files:
            if name != "index":
                path = Path(top) / name
                found[str(path)] = path.read_bytes()
    return found


# -- the ways to a hub -------------------------------------------------------------------------


def test_a_path(site: Site, hub: Path) -> None:
    site.remote(hub)
    exchange_everything(*site.pair())
    assert shown(hub) == [LAPTOP]
    assert git(hub, "for-each-ref", "--format=%(refname)").split()[1:] == [MAIN]
    assert LAPTOP not in git(hub, "for-each-ref")


def test_http_with_a_credential_helper(site: Site, hub: Path, http: HttpHub, tmp_path: Path) -> None:
    site.remote(f"{http.url}/hub.git", credential__helper=helper(tmp_path, http.password), http__receivepack="true")
    git(hub, "config", "http.receivepack", "true")
    exchange_everything(*site.pair())


def test_https_with_a_certificate_of_the_users_choice(site: Site, hub: Path, tmp_path: Path) -> None:
    pem = certificate(tmp_path / "hub.pem", days=30)
    server = HttpHub(tmp_path, pem)
    git(hub, "config", "http.receivepack", "true")
    site.remote(f"{server.url}/hub.git", credential__helper=helper(tmp_path, server.password), http__sslCAInfo=str(pem))
    exchange_everything(*site.pair())
    server.close()


@pytest.mark.parametrize("days", [30, -1])
def test_an_unknown_or_expired_certificate(site: Site, hub: Path, tmp_path: Path, days: int) -> None:
    pem = certificate(tmp_path / "hub.pem", days=days)
    server = HttpHub(tmp_path, pem)
    site.remote(f"{server.url}/hub.git", **({"http__sslCAInfo": str(pem)} if days < 0 else {}))
    for call in CALLS:
        expect(site.device(site.one), call, Refused, "server certificate verification failed")
    server.close()


def test_ssh_with_the_users_command(site: Site, hub: Path, sshd: SshHub) -> None:
    site.remote(f"thehub:{hub}", core__sshCommand=sshd.command)
    exchange_everything(*site.pair())


def test_a_path_relative_to_the_working_copy_and_a_bare_url(site: Site, hub: Path) -> None:
    site.remote("../hub.git")
    one = site.device(site.one)
    one.exchange.push(LAPTOP, one.snap({"a.txt": b"x"}).id)
    by_url = site.device(site.two, hub.as_uri())
    assert list(by_url.exchange.list_hub()) == [LAPTOP]
    assert by_url.exchange.push_branch(MAIN) is True


@pytest.mark.parametrize(
    "settings",
    [
        {"remote__origin__mirror": "true", "remote__origin__fetch": "+refs/*:refs/*"},
        {"push__followTags": "true", "push__gpgSign": "true", "push__pushOption": "x", "push__default": "nothing"},
        {"fetch__prune": "true", "fetch__pruneTags": "true", "fetch__unpackLimit": "9", "fetch__writeCommitGraph": "1"},
        {"fetch__recurseSubmodules": "true", "push__recurseSubmodules": "on-demand", "submodule__recurse": "true"},
        {"color__ui": "always", "color__push": "always", "color__remote": "always", "protocol__version": "0"},
        {"pack__packSizeLimit": "1m", "transfer__unpackLimit": "1000", "gc__auto": "1", "gc__autoDetach": "false"},
        {"remote__origin__receivepack": "git receive-pack", "remote__origin__uploadpack": "git upload-pack"},
    ],
)  # fmt: skip
def test_no_setting_of_the_users_gets_in_the_way(site: Site, hub: Path, settings: dict[str, str]) -> None:
    site.remote(hub, **settings)
    git(site.one, "tag", "-am", "t", "v1")
    exchange_everything(*site.pair())


def test_rewritten_and_separate_push_urls_count(site: Site, hub: Path, tmp_path: Path) -> None:
    elsewhere = bare(tmp_path / "elsewhere.git")
    site.remote("far:hub.git")
    git(site.one, "config", f"url.{tmp_path}/.insteadOf", "far:")
    git(site.one, "config", f"url.{tmp_path}/elsewhere.git.pushInsteadOf", "far:hub.git")
    one = site.device(site.one)
    snapshot = one.snap({"a.txt": b"x"})
    one.exchange.push(LAPTOP, snapshot.id)
    assert shown(elsewhere) == [LAPTOP]
    assert one.exchange.list_hub() == {}
    git(site.one, "remote", "set-url", "--push", "origin", str(hub))
    one.exchange.push(LAPTOP, snapshot.id)
    assert one.exchange.list_hub() == {LAPTOP: snapshot.id}


def test_conditional_includes_of_the_user_count(
    site: Site, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work.config").write_text(f'[url "{tmp_path}/"]\n\tinsteadOf = work:\n')
    (tmp_path / "global.config").write_text(f'[includeIf "gitdir:{site.one}/.git"]\n\tpath = {tmp_path}/work.config\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "global.config"))
    site.remote("work:hub.git")
    one = site.device(site.one)
    one.exchange.push(LAPTOP, one.snap({"a.txt": b"x"}).id)
    assert list(one.exchange.list_hub()) == [LAPTOP]


def test_a_linked_worktree_has_a_hub_as_well(site: Site, hub: Path, tmp_path: Path) -> None:
    site.remote(hub)
    git(site.one, "worktree", "add", "-q", "-b", "topic", str(tmp_path / "linked"))
    linked, two = site.device(tmp_path / "linked"), site.device(site.two)
    snapshot = linked.snap({"a.txt": b"x"})
    linked.exchange.push(LAPTOP, snapshot.id)
    assert two.exchange.fetch(LAPTOP, snapshot.id) == snapshot


def test_odd_paths_and_device_names(tmp_path: Path) -> None:
    directory = tmp_path / 'with "quotes": colons\\ and ünïcode'
    directory.mkdir()
    hub, site = bare(directory / "hub.git"), Site(directory)
    site.remote(hub)
    one, two = site.pair()
    snapshot = one.snap({"a.txt": b"x"})
    names = [DeviceId(n) for n in ("my laptop.local-00000001", "größe+x.lock-00000002", "a b.-00000003")]
    for name in names:
        one.exchange.push(name, snapshot.id)
    assert two.exchange.list_hub() == dict.fromkeys(names, snapshot.id)
    assert two.exchange.fetch(names[0], snapshot.id) == snapshot
    site.close()


# -- whose hooks and settings ------------------------------------------------------------------


@pytest.mark.parametrize("where", [".git/hooks", "tracked"])
def test_no_hook_of_the_users_runs(site: Site, hub: Path, tmp_path: Path, where: str) -> None:
    site.remote(hub)
    for root in (site.one, site.two):
        (root / where).mkdir(exist_ok=True)
        for name in ("pre-push", "reference-transaction", "post-checkout", "pre-auto-gc", "post-index-change"):
            hook = root / where / name
            hook.write_text(f"#!/bin/sh\necho {name} >> '{tmp_path}/ran'\nexit 1\n")
            hook.chmod(0o755)
        git(root, "config", "core.hooksPath", where)
    one, two = site.pair()
    snapshot = one.snap({"a.txt": b"x"})
    one.exchange.push(LAPTOP, snapshot.id)
    assert one.exchange.push_branch(MAIN) is True
    assert two.exchange.fetch(LAPTOP, snapshot.id) == snapshot
    assert two.exchange.fetch_branch(MAIN) == one.base().commit
    assert not (tmp_path / "ran").exists()


def test_the_tracking_branch_follows_our_push_of_the_users_branch(site: Site, hub: Path) -> None:
    site.remote(hub)
    one = site.device(site.one)
    assert one.exchange.push_branch(MAIN) is True
    assert git(site.one, "rev-parse", "refs/remotes/origin/main") == one.base().commit


# -- what is on the hub ------------------------------------------------------------------------


def test_only_this_workspace_is_listed(site: Site, hub: Path) -> None:
    site.remote(hub)
    one = site.device(site.one)
    other = site.device(site.two, workspace=WorkspaceId("f" * 32))
    other.exchange.push(DESKTOP, other.snap({"a.txt": b"x"}).id)
    snapshot = one.snap({"a.txt": b"y"})
    one.exchange.push(LAPTOP, snapshot.id)
    commit = one.base().commit
    assert commit is not None
    one.exchange.push_branch(MAIN)
    git(hub, "update-ref", f"refs/heads/{FOLDER}evil-00000000", commit)
    git(hub, "update-ref", f"{FOLDER}deep/er-00000000", commit)
    assert one.exchange.list_hub() == {LAPTOP: snapshot.id}


def test_a_device_has_one_ref_that_moves(site: Site, hub: Path) -> None:
    site.remote(hub)
    one, two = site.pair()
    first, second = one.snap({"a.txt": b"1"}), one.snap({"a.txt": b"2"})
    for snapshot in (first, second, second, first, second):
        one.exchange.push(LAPTOP, snapshot.id)
    assert shown(hub) == [LAPTOP]
    with pytest.raises(Missing) as caught:
        two.exchange.fetch(LAPTOP, first.id)
    assert caught.value.title == f"The hub origin ({hub}) does not have {first.id} as the latest of {LAPTOP}"
    assert two.exchange.fetch(LAPTOP, second.id) == second
    with pytest.raises(Missing) as caught:
        two.exchange.fetch(DESKTOP, first.id)
    assert f"does not have {first.id} as the latest of {DESKTOP}" in caught.value.title
    assert two.leftovers() == []


def test_a_hub_under_branches_that_never_move_back(site: Site, tmp_path: Path) -> None:
    hub = bare(tmp_path / "shared.git", "--shared")
    site.remote(hub)
    one = site.device(site.one, prefix="refs/heads/autosync")
    first, second = one.snap({"a.txt": b"1"}), one.snap({"a.txt": b"2"})
    one.exchange.push(LAPTOP, first.id)
    one.exchange.push(LAPTOP, second.id)
    assert one.exchange.list_hub() == {LAPTOP: second.id}
    git(hub, "config", "receive.denyDeletes", "true")
    third = one.snap({"a.txt": b"3"})
    one.exchange.push(LAPTOP, third.id)  # the older one stays where nothing may be taken away
    assert one.exchange.list_hub() == {LAPTOP: third.id}
    git(hub, "config", "receive.denyDeletes", "false")
    one.exchange.push(LAPTOP, first.id)
    assert len(git(hub, "for-each-ref").splitlines()) == 1


@pytest.mark.parametrize("prefix", ["autosync", "refs/", "refs/heads/a..b", "refs/a b", "refs/-x/../y", ""])
def test_an_impossible_prefix_is_a_mistake_in_the_config(site: Site, prefix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        site.device(site.one, prefix=prefix)
    assert caught.value.title == f"hub-prefix {prefix!r} cannot hold refs"


def test_a_branch_that_moved_on_is_not_pushed(site: Site, hub: Path) -> None:
    site.remote(hub)
    one, two = site.pair()
    for device, text in ((one, b"one\n"), (two, b"two\n")):
        (device.root / "a.txt").write_bytes(text)
        git(device.root, "commit", "-qam", "mine")
    assert one.exchange.push_branch(MAIN) is True
    assert one.exchange.push_branch(MAIN) is True
    assert two.exchange.push_branch(MAIN) is False
    assert two.exchange.fetch_branch(MAIN) == one.base().commit
    assert two.exchange.push_branch(MAIN) is False
    assert two.exchange.fetch_branch("refs/heads/none") is None
    for wrong in ("main", "refs/tags/v1", "refs/heads/../x", "--all", ""):
        for call in (two.exchange.push_branch, two.exchange.fetch_branch):
            with pytest.raises(Unsafe) as caught:
                call(wrong)
            assert caught.value.title == f"{wrong!r} is no branch"


def test_what_was_fetched_of_a_branch_is_kept(site: Site, hub: Path) -> None:
    site.remote(hub)
    one, two = site.pair()
    (site.one / "a.txt").write_bytes(b"second\n")
    git(site.one, "commit", "-qam", "second")
    one.exchange.push_branch(MAIN)
    left = two.repo.store_dir + b"/refs/autosync/hub/heads/main.lock"  # by a git that was killed
    put(two.repo.store_dir, os.path.relpath(left, two.repo.store_dir))
    tip = two.exchange.fetch_branch(MAIN)
    assert tip == one.base().commit
    assert git(two.repo.store_dir, "rev-parse", "refs/autosync/hub/heads/main") == tip
    assert not os.path.exists(left)


def test_a_push_that_is_killed_leaves_no_lock_of_the_users(
    site: Site, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.remote(hub)
    one, _ = site.pair()
    (site.one / "a.txt").write_bytes(b"second\n")
    git(site.one, "commit", "-qam", "second")
    lock, real = site.one / ".git/refs/remotes/origin/main.lock", shutil.which("git")
    mortal = f'#!/bin/bash\n{real} "$@"\ncode=$?\n[[ $* == *push* ]] && touch {lock} && kill -9 $$\nexit $code\n'
    put(os.fsencode(tmp_path), "bin/git", mortal, executable=True)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(Unreachable):
        one.exchange.push_branch(MAIN)
    assert not lock.exists()
    monkeypatch.undo()
    assert git(site.one, "fetch", "-q") == ""


def test_a_hostile_hub_gets_nothing_into_the_store(site: Site, hub: Path) -> None:
    site.remote(hub)
    one, two = site.pair()
    one.exchange.push_branch(MAIN)
    commit = one.base().commit
    assert commit is not None
    blob = git(hub, "hash-object", "-w", "--stdin")
    tree = git(hub, "mktree", input=f"100644 blob {blob}\t.git\n")
    evil = git(hub, "commit-tree", "-m", "evil", tree)
    git(hub, "update-ref", ref_of(LAPTOP, evil), evil)
    with pytest.raises(Unsafe) as caught:
        two.exchange.fetch(LAPTOP, SnapshotId(evil))
    assert "hasDotgit" in caught.value.title
    git(hub, "update-ref", ref_of(LAPTOP, commit), commit)
    with pytest.raises(Unsafe):
        two.exchange.fetch(LAPTOP, SnapshotId(commit))
    assert two.store.header(tree) is None
    assert two.leftovers() == []


def test_what_the_owner_of_the_hub_makes_up_is_nobodys(site: Site, hub: Path, caplog: pytest.LogCaptureFixture) -> None:
    """He can write there what he likes, and knows every name and every snapshot that was ever there."""
    site.remote(hub)
    one, two = site.pair()
    first, second, third = (one.snap({"a.txt": b"%d" % n}) for n in range(3))
    other = Device(site.two, "origin", key=WorkspaceKey(bytes(32), workspace=WORKSPACE))
    other.exchange.push(LAPTOP, two.snap({"a.txt": b"by another key"}).id)
    foreign = git(hub, "for-each-ref", "--format=%(refname)")
    one.exchange.push(DESKTOP, third.id)
    one.exchange.push(LAPTOP, first.id)
    recorded = next(
        r for r in git(hub, "for-each-ref", "--format=%(refname)").split() if names_of(hub).get(r) == LAPTOP
    )
    one.exchange.push(LAPTOP, second.id)
    newest = two.exchange.list_hub()
    assert newest == {LAPTOP: second.id, DESKTOP: third.id}
    forged = [
        f"{FOLDER}{LAPTOP}",  # as names were before they were sealed
        f"{FOLDER}mallory-00000000",
        f"{FOLDER}{'a' * 150}",
        recorded,  # the name for another snapshot
        recorded[:-1] + ("a" if recorded[-1] != "a" else "b"),
        ref_of(DESKTOP, first.id),
        ref_of(LAPTOP, first.id, WorkspaceKey(bytes(32), workspace=WORKSPACE)),
    ]
    for ref in forged:
        git(hub, "update-ref", ref, third.id)
    git(hub, "update-ref", foreign, third.id)
    assert two.exchange.list_hub() == newest
    # What was there before can be put back; it is older than what is there, or than what is known of the device.
    git(hub, "update-ref", recorded, first.id)
    assert two.exchange.list_hub() == newest
    assert [r for r in caplog.messages if "that no key known here fits, passed over: 1" in r]
    one.exchange.push(LAPTOP, third.id)
    assert two.exchange.list_hub() == {LAPTOP: third.id, DESKTOP: third.id}
    figures.record("bad inputs refused", len(forged) + 1)
    other.close()


def test_a_check_that_is_under_way_looks_like_nobodys_ref_to_no_one(
    site: Site, hub: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process checks the hub while the agent lists it, or was killed before it had tidied up."""
    site.remote(hub)
    one, two = site.pair()
    snapshot = one.snap({"a.txt": b"1"})
    one.exchange.push(LAPTOP, snapshot.id)
    hook = hub / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\n! expr "$3" : "^0*$" >/dev/null\n')  # what the check puts there stays
    hook.chmod(0o755)
    one.exchange.probe_hub()
    assert f"{FOLDER}probe/check" in git(hub, "for-each-ref", "--format=%(refname)").split()
    assert two.exchange.list_hub() == {LAPTOP: snapshot.id}
    assert not [r for r in caplog.messages if "no key known here" in r]


def test_after_a_change_of_the_key_old_names_count_for_nothing_and_own_ones_go(site: Site, hub: Path) -> None:
    site.remote(hub)
    one, two = site.pair()
    snapshot = one.snap({"a.txt": b"1"})
    one.exchange.push(LAPTOP, snapshot.id)
    two.exchange.push(DESKTOP, two.snap({"a.txt": b"2"}).id)
    new = WorkspaceKey(bytes(32), workspace=WORKSPACE, epoch=1)
    changed = Device(site.one, "origin", keys=(new, KEY.retire()))
    assert changed.exchange.list_hub() == {}
    changed.exchange.push(LAPTOP, snapshot.id)
    assert changed.exchange.list_hub() == {LAPTOP: snapshot.id}
    assert two.exchange.list_hub().keys() == {DESKTOP}
    assert len(git(hub, "for-each-ref").splitlines()) == 2
    changed.close()


# -- when it fails -----------------------------------------------------------------------------


def test_a_hub_that_takes_no_such_refs(site: Site, hub: Path) -> None:
    site.remote(hub)
    hook = hub / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ncase $1 in refs/autosync/*) echo "only branches, please" >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    one = site.device(site.one)
    snapshot = one.snap({"a.txt": b"x"})
    with pytest.raises(Refused) as caught:
        one.exchange.push(LAPTOP, snapshot.id)
    assert re.fullmatch(
        rf"The hub origin \({hub}\) does not take ({FOLDER}[a-z2-7]+): "
        r"\[remote rejected\] \(hook declined\); only branches, please; error: hook declined to update \1",
        caught.value.title,
    )
    assert "hub-prefix: refs/heads/autosync" in caught.value.hint
    branches = site.device(site.one, prefix="refs/heads/autosync")
    branches.exchange.push(LAPTOP, snapshot.id)
    assert branches.exchange.list_hub() == {LAPTOP: snapshot.id}


CALLS: dict[str, Callable[[Device, SnapshotId], object]] = {
    "push": lambda device, snapshot: device.exchange.push(LAPTOP, snapshot),
    "list": lambda device, _: device.exchange.list_hub(),
    "fetch": lambda device, _: device.exchange.fetch(DESKTOP, SnapshotId("1" * 40)),
    "push branch": lambda device, _: device.exchange.push_branch(MAIN),
    "fetch branch": lambda device, _: device.exchange.fetch_branch(MAIN),
}


@pytest.mark.parametrize("call", CALLS)
def test_wrong_password(site: Site, hub: Path, http: HttpHub, tmp_path: Path, call: str) -> None:
    site.remote(f"{http.url.replace('//', '//me@')}/hub.git", credential__helper=helper(tmp_path, "wrong"))
    expect(site.device(site.one), call, Refused, "Authentication failed")


@pytest.mark.parametrize("call", CALLS)
def test_no_password(site: Site, hub: Path, http: HttpHub, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false-prompt-that-must-not-run")
    monkeypatch.setenv("DISPLAY", ":99")
    site.remote(f"{http.url}/hub.git", credential__helper="", core__askPass="/bin/another")
    expect(site.device(site.one), call, Refused, "could not read Username")


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, Refused), (404, Refused), (401, Refused), (500, Unreachable), (503, Unreachable), (429, Unreachable)],
)
def test_http_errors(site: Site, http: HttpHub, status: int, error: type[AutosyncError]) -> None:
    http.status = status
    site.remote(f"{http.url}/hub.git", credential__helper="")
    for call in CALLS:
        expect(site.device(site.one), call, error, "")


@pytest.mark.parametrize("call", CALLS)
def test_nobody_listens(site: Site, call: str, sshd: SshHub) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        site.remote(f"http://me:secret@127.0.0.1:{port}/hub.git")
        error = expect(site.device(site.one), call, Unreachable, "Failed to connect")
        assert "secret" not in str(error)
        git(site.one, "remote", "set-url", "origin", f"ssh://127.0.0.1:{port}/hub.git")
        expect(site.device(site.one), call, Unreachable, "Connection refused")
        git(site.one, "remote", "set-url", "origin", "https://no-such-host.invalid/hub.git")
        patience = Patience(silence=60, total=120)  # a name server that is not there is asked for long
        expect(site.device(site.one, patience=patience), call, Unreachable, "Could not resolve host")


@pytest.mark.parametrize("call", CALLS)
def test_a_disk_that_is_not_mounted(site: Site, tmp_path: Path, call: str) -> None:
    site.remote(tmp_path / "usb/hub.git")
    expect(site.device(site.one), call, Unreachable, f"The hub origin ({tmp_path}/usb/hub.git) is not there")


def test_ssh_that_says_no(site: Site, hub: Path, sshd: SshHub) -> None:
    site.remote(f"thehub:{hub}", core__sshCommand=f"{sshd.command} -o IdentityFile=/nowhere -F /dev/null")
    git(site.one, "remote", "set-url", "origin", f"ssh://127.0.0.1:{sshd.port}{hub}")
    one = site.device(site.one)
    known = sshd.directory / "known"
    for command, said in (
        (f"ssh -F /dev/null -o UserKnownHostsFile={known} -o IdentityAgent=none -i /nowhere", "Permission denied"),
        ("ssh -F /dev/null -o UserKnownHostsFile=/dev/null", "Host key verification failed"),
    ):
        git(site.one, "config", "core.sshCommand", command)
        for call in CALLS:
            error = expect(one, call, Refused, said)
            assert "git ls-remote origin" in error.hint


def test_ssh_to_a_repository_that_is_not_there(site: Site, hub: Path, sshd: SshHub) -> None:
    site.remote(f"thehub:{hub}-not", core__sshCommand=sshd.command)
    for call in CALLS:
        expect(site.device(site.one), call, Refused, "does not appear to be a git repository")


def test_no_remote(site: Site) -> None:
    for call in CALLS:
        expect(site.device(site.one, "upstream"), call, Refused, f"{site.one} has no remote 'upstream'")
        expect(site.device(site.one, None), call, Refused, "This path has no hub")


def expect(device: Device, call: str, error: type[AutosyncError], said: str) -> AutosyncError:
    """Check that the call fails so, and that nothing is left of it."""
    with pytest.raises(error) as caught:
        CALLS[call](device, device.snap({"a.txt": b"x"}).id)
    assert said in caught.value.title, caught.value.title
    assert caught.value.hint
    assert device.leftovers() == []
    return caught.value


# -- silence -----------------------------------------------------------------------------------


class Mute:
    """Accepts connections and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connected = threading.Event()
        self.gone = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        self.connected.set()
        with connection:
            while connection.recv(4096):
                pass
        self.gone.set()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def mute() -> Iterator[Mute]:
    server = Mute()
    yield server
    server.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/x.git", "ssh://127.0.0.1:{}/x.git", "git://127.0.0.1:{}/x.git"])
def test_silence_ends_the_command_and_its_children(site: Site, mute: Mute, url: str) -> None:
    site.remote(url.format(mute.port), core__sshCommand="ssh -F /dev/null")
    one = site.device(site.one, patience=Patience(silence=1, total=30))
    while not mute.connected.is_set():  # the second may be over before it is asked anything
        with pytest.raises(Unreachable) as caught:
            one.exchange.list_hub()
        assert caught.value.title.endswith("was given up: it did not answer for 1 seconds")
    assert mute.gone.wait(PATIENCE)  # whoever held the connection is dead


def test_the_whole_has_an_end_too(site: Site, tmp_path: Path) -> None:
    chatty = tmp_path / "ssh-chatty"
    chatty.write_text("#!/bin/sh\nwhile :; do echo still here >&2; sleep 0.1; done\n")
    chatty.chmod(0o755)
    site.remote("ssh://anywhere/x.git", core__sshCommand=str(chatty), ssh__variant="simple")
    one = site.device(site.one, patience=Patience(silence=5, total=1))
    with pytest.raises(Unreachable) as caught:
        one.exchange.list_hub()
    assert caught.value.title.endswith("was given up: it was not done within 1 seconds")


def test_closing_ends_what_runs(site: Site, mute: Mute) -> None:
    site.remote(f"git://127.0.0.1:{mute.port}/x.git")
    one = site.device(site.one)
    failures: list[AutosyncError] = []

    def list_hub() -> None:
        try:
            one.exchange.list_hub()
        except AutosyncError as error:
            failures.append(error)

    thread = threading.Thread(target=list_hub)
    thread.start()
    assert mute.connected.wait(PATIENCE)
    start = time.monotonic()
    one.exchange.close()
    thread.join(PATIENCE)
    assert time.monotonic() - start < 10, "not as long as silence is borne"
    list_hub()
    assert [type(e) for e in failures] == [Unreachable, Unreachable]
    assert {e.title for e in failures} == {
        f"The hub origin (git://127.0.0.1:{mute.port}/x.git) was given up: autosync is stopping"
    }


def test_an_ssh_master_that_stays_behind_holds_nothing_up(site: Site, hub: Path, sshd: SshHub) -> None:
    socket_path = sshd.directory / "master"
    persistent = f"{sshd.command} -o ControlMaster=auto -o ControlPath={socket_path} -o ControlPersist=300"
    site.remote(f"thehub:{hub}", core__sshCommand=persistent)
    one = site.device(site.one, patience=Patience(silence=60, total=120))
    start = time.monotonic()
    one.exchange.push(LAPTOP, one.snap({"a.txt": b"x"}).id)
    assert list(one.exchange.list_hub()) == [LAPTOP]
    assert time.monotonic() - start < 60, "nobody waited for the master, which goes on"
    assert stat.S_ISSOCK(os.stat(socket_path).st_mode)
    subprocess.run([*persistent.split(), "-O", "exit", "thehub"], check=True, capture_output=True)
