"""What a user does in one working copy arrives in the other: saves, and all that git does."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.fleet import Device, Fleet, at_once, entries, pair, until

NINE = "".join(f"{n}\n" for n in range(1, 10))
FILES = {"a.txt": NINE, "d/x": "x\n", "d/y": "y\n", "d/deep/z": "z\n"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two devices that all tests of this module use which leave them well."""
    with pair(tmp_path_factory.mktemp("shared") / "fleet", FILES) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared: Fleet) -> Fleet:
    """The two devices, on a clean main with the first content."""
    laptop, _ = shared.devices
    laptop.git("checkout", "-q", "-f", "main")
    laptop.git("reset", "-q", "--hard")
    laptop.git("clean", "-q", "-ffdx")
    laptop.git("rm", "-rq", "--ignore-unmatch", ".")
    for name, content in FILES.items():
        laptop.write(name, content)
    laptop.commit("as at first")
    shared.equal()
    return shared


# -- saves ---------------------------------------------------------------------------------
def odd_names(device: Device) -> None:
    for name in (b"caf\xe9", b"new\nline", b' "quoted"', b"-rf", b"a" * 255, b"\xff\xfe", "ü ☃".encode()):
        with open(os.path.join(os.fsencode(device.root), name), "wb") as file:
            file.write(name)


def file_becomes_directory(device: Device) -> None:
    (device.root / "a.txt").unlink()
    device.write("a.txt/inside", "1\n")


def directory_becomes_file(device: Device) -> None:
    shutil.rmtree(device.root / "d")
    device.write("d", "now a file\n")


def renamed_over(device: Device) -> None:
    device.write("a.txt.new", "whole\n").rename(device.root / "a.txt")


SAVES: dict[str, Callable[[Device], object]] = {
    "edit": lambda d: d.write("a.txt", NINE.replace("5", "five")),
    "edit by rename": renamed_over,
    "create": lambda d: d.write("new/sub/file", "new\n"),
    "create empty": lambda d: d.write("empty", ""),
    "delete": lambda d: (d.root / "d/x").unlink(),
    "delete directory": lambda d: shutil.rmtree(d.root / "d"),
    "rename": lambda d: (d.root / "d/x").rename(d.root / "moved"),
    "rename directory": lambda d: (d.root / "d").rename(d.root / "e"),
    "make executable": lambda d: (d.root / "a.txt").chmod(0o755),
    "symlink": lambda d: (d.root / "link").symlink_to("a.txt"),
    "dangling symlink": lambda d: (d.root / "dangling").symlink_to(b"/nowhere/\xff"),
    "odd names": odd_names,
    "binary": lambda d: d.write("binary", bytes(range(256)) * 100),
    "file becomes directory": file_becomes_directory,
    "directory becomes file": directory_becomes_file,
}


@pytest.mark.parametrize("save", SAVES)
def test_a_save_arrives(fleet: Fleet, save: str) -> None:
    laptop, desktop = fleet.devices
    before = entries(desktop.root)
    SAVES[save](laptop)
    fleet.equal()
    assert entries(desktop.root) != before


def test_a_rename_moves_the_file_itself(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    number = (desktop.root / "d/x").stat().st_ino
    (laptop.root / "d/x").rename(laptop.root / "elsewhere")
    fleet.equal()
    assert (desktop.root / "elsewhere").stat().st_ino == number


def test_filters_and_line_ends_are_each_devices_own(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    for device in (laptop, desktop):
        device.git("config", "filter.case.clean", "tr a-z A-Z")
        device.git("config", "filter.case.smudge", "tr A-Z a-z")
    laptop.write(".gitattributes", "*.crlf text eol=crlf\n*.case filter=case\n")
    laptop.write("f.crlf", "one\r\ntwo\r\n")
    laptop.write("f.case", "hello\n")
    fleet.equal()
    assert (desktop.read("f.crlf"), desktop.read("f.case")) == ("one\r\ntwo\r\n", "hello\n")
    laptop.commit("with attributes")
    fleet.equal()
    assert laptop.git("show", "HEAD:f.case") == "HELLO\n"
    desktop.write("f.case", "world\n")
    fleet.equal()
    assert laptop.read("f.case") == "world\n"


def test_saves_leave_everything_that_is_gits_as_it_was(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    laptop.write("a.txt", "for the stash\n")
    laptop.git("stash", "-q")
    fleet.equal()
    for device in fleet.devices:
        device.git("status")  # refreshes what the index knows of the files' times
    before = [d.fingerprint() for d in fleet.devices]
    for name, other in (("a.txt", "d/x"), ("new", "d/y"), ("newer/one", "d/deep/z")):
        laptop.write(name, "saved\n")
        desktop.write(other, "saved too\n")
        fleet.equal()
    assert [d.fingerprint() for d in fleet.devices] == before
    assert laptop.git("fsck", "--no-dangling") == desktop.git("fsck", "--no-dangling") == ""
    laptop.git("stash", "drop", "-q")


# -- git -----------------------------------------------------------------------------------
def on_topic(device: Device, name: str, *commits: str) -> None:
    device.git("switch", "-q", "-c", name)
    for commit in commits:
        device.write(commit, f"{commit}\n")
        device.commit(commit)


def test_commits_and_amends_arrive_as_what_they_are(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    laptop.write("a.txt", "committed\n")
    made = laptop.commit("one")
    fleet.equal()
    assert (desktop.head(), desktop.branch()) == (made, "main")
    laptop.write("a.txt", "amended\n")
    laptop.git("commit", "-q", "-a", "--amend", "-m", "uno")
    fleet.equal()
    assert desktop.git("log", "-1", "--format=%s") == "uno\n"
    desktop.write("dirty", "1\n")
    laptop.git("commit", "-q", "--allow-empty", "-m", "empty")
    fleet.equal()
    assert desktop.git("log", "-1", "--format=%s") == "empty\n"


def test_branches_are_followed(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    on_topic(laptop, "followed", "t1")
    fleet.equal()
    assert desktop.branch() == "followed"
    desktop.write("t2", "from desktop\n")
    tip = desktop.commit("t2")
    fleet.equal()
    laptop.git("switch", "-q", "main")
    fleet.equal()
    assert (desktop.branch(), desktop.git("rev-parse", "followed").strip()) == ("main", tip)
    laptop.git("merge", "-q", "--no-ff", "-m", "joined", "followed")
    fleet.equal()
    assert desktop.git("log", "-1", "--format=%s %p").split() == laptop.git("log", "-1", "--format=%s %p").split()
    laptop.git("switch", "-q", "-c", "old-name")
    fleet.equal()
    laptop.git("branch", "-q", "-m", "new-name")
    fleet.equal()
    assert desktop.branch() == "new-name"


def test_a_detached_head_is_detached_there_too(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    laptop.git("checkout", "-q", "--detach", "HEAD~1")
    fleet.equal()
    assert (desktop.branch(), desktop.head()) == ("", laptop.head())
    laptop.git("switch", "-q", "main")
    fleet.equal()
    assert desktop.branch() == "main"


def test_stash_and_reset_arrive_as_the_state_they_leave(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    laptop.write("a.txt", "to be stashed\n")
    fleet.equal()
    laptop.git("stash", "-q")
    fleet.equal()
    assert desktop.read("a.txt") == NINE
    laptop.git("stash", "pop", "-q")
    fleet.equal()
    assert desktop.read("a.txt") == "to be stashed\n"
    assert desktop.git("stash", "list") == ""
    laptop.commit("about to go")
    fleet.equal()
    laptop.git("reset", "-q", "--hard", "HEAD~1")
    fleet.equal()
    assert (desktop.read("a.txt"), desktop.head()) == (NINE, laptop.head())


def test_a_rebase_arrives_when_it_is_done(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    on_topic(laptop, "rebased", "r1", "r2")
    laptop.git("switch", "-q", "main")
    laptop.write("d/x", "main moves\n")
    laptop.commit("main moves")
    laptop.git("switch", "-q", "rebased")
    fleet.equal()
    laptop.git("rebase", "-q", "main")
    fleet.equal()
    assert (desktop.head(), desktop.branch()) == (laptop.head(), "rebased")
    assert desktop.git("rev-parse", "rebased~2") == laptop.git("rev-parse", "main")


def waits_for(device: Device, what: str) -> bool:
    """Return whether it waits for that; each try is a step of its own, in which it does not wait."""
    status = device.status()
    return (status["phase"], status["waiting-for"]) == ("waiting", what)


def test_a_rebase_in_progress_is_waited_for(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    on_topic(laptop, "stopped")
    laptop.write("a.txt", "topic\n")
    laptop.commit("topic")
    laptop.git("switch", "-q", "main")
    laptop.write("a.txt", "main\n")
    laptop.commit("main")
    laptop.git("switch", "-q", "stopped")
    fleet.equal()
    laptop.git("rebase", "main", ok=(1,))
    desktop.write("d/x", "meanwhile\n")
    until(lambda: waits_for(laptop, "a rebase is in progress"), why=laptop.status)
    assert "a rebase is in progress" in laptop.run("status").stdout
    assert laptop.read("d/x") == "x\n"
    assert "<<<<<<<" in (laptop.read("a.txt") or "")
    assert "<<<<<<<" not in (desktop.read("a.txt") or "")
    laptop.write("a.txt", "both\n")
    laptop.git("add", "a.txt")
    laptop.git("rebase", "--continue")
    fleet.equal()
    assert (desktop.branch(), desktop.read("a.txt"), laptop.read("d/x")) == ("stopped", "both\n", "meanwhile\n")


def test_a_checkout_of_many_files_sends_the_commit_alone(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    laptop.git("switch", "-q", "-c", "many")
    with at_once(laptop):
        for number in range(2000):
            laptop.write(f"many/{number % 20}/{number}", f"{number}\n" * 30)
        laptop.commit("many")
    fleet.equal()
    here = desktop.status()["snapshot"]
    until(lambda: any(a["snapshot"] == here for a in desktop.activities("applied")))
    for branch, count in (("main", 0), ("many", 2000)):
        seen = len(desktop.activities("applied"))
        laptop.git("switch", "-q", branch)
        fleet.equal()
        assert sum(name.startswith(b"many/") for name in entries(desktop.root)) == count
        until(lambda n=seen: desktop.activities("applied")[n:])  # type: ignore[misc]  # told a moment after
        assert {a["lane"] for a in desktop.activities("applied")[seen:]} == {"inline over lan"}
    assert laptop.git("status", "--porcelain") == desktop.git("status", "--porcelain") == ""


def test_git_never_meets_our_locks(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    over = threading.Event()

    def save() -> None:
        number = 0
        while not over.wait(0.02):
            number += 1
            desktop.write("d/x", f"{number}\n")

    failures: list[str] = []
    saving = threading.Thread(target=save)
    saving.start()
    try:
        ends = time.monotonic() + 4
        while time.monotonic() < ends and not failures:
            laptop.write("mine", str(time.monotonic()))
            for command in (["add", "mine"], ["commit", "-q", "-m", "mine", "mine"], ["status"], ["diff"]):
                done = subprocess.run(
                    ["git", *command],
                    cwd=laptop.root,
                    env=laptop.environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    failures.append(f"{command}: {done.stderr}{done.stdout}")
    finally:
        over.set()
        saving.join()
    assert failures == []
    fleet.equal()


# -- both at once --------------------------------------------------------------------------
def edit_apart(fleet: Fleet, on_laptop: Callable[[Device], object], on_desktop: Callable[[Device], object]) -> None:
    """Let both edit while neither hears of the other."""
    laptop, desktop = fleet.devices
    laptop.ask("pause")
    on_laptop(laptop)
    on_desktop(desktop)

    def is_known() -> bool:
        """Return whether what stands there, committed if it is, has been announced."""
        now = desktop.status()
        known = laptop.status()["peers"][0]["snapshot"] == now["snapshot"]
        return known and now["base"] == desktop.head() and now["tree"] != laptop.status()["tree"]

    until(is_known)
    laptop.ask("resume")


def test_different_lines_are_merged(fleet: Fleet) -> None:
    edit_apart(
        fleet,
        lambda d: d.write("a.txt", NINE.replace("1", "one")),
        lambda d: d.write("a.txt", NINE.replace("9", "nine")),
    )
    fleet.equal()
    for device in fleet.devices:
        assert device.read("a.txt") == NINE.replace("1", "one").replace("9", "nine")
        assert not [name for name in entries(device.root) if b"conflict" in name]


def test_the_same_line_is_kept_in_two_versions_of_one_name(fleet: Fleet) -> None:
    edit_apart(
        fleet,
        lambda d: d.write("a.txt", NINE.replace("5", "laptop")),
        lambda d: d.write("a.txt", NINE.replace("5", "desktop")),
    )
    fleet.equal()
    versions = {
        name: content
        for name, (_, content) in entries(fleet.devices[0].root).items()
        if name.startswith(b"a") and b"<<<<" not in content
    }
    assert sorted(versions.values()) == sorted(NINE.replace("5", w).encode() for w in ("laptop", "desktop"))
    (copy,) = (name.decode() for name in versions if name != b"a.txt")
    assert copy.startswith("a (conflict, ")
    assert copy.endswith(".txt")
    for device in fleet.devices:
        until(lambda d=device: copy in {c["copy"] for c in d.status()["conflicts"]})  # type: ignore[misc]


def follow_the_hint(device: Device) -> None:
    """Run the command that the halt tells to run on this device."""
    hint = device.status()["halt"]["hint"]
    command = hint.split("`")[1]
    assert command.startswith("git merge ")
    device.git(*command.split()[1:])


def halted(fleet: Fleet) -> None:
    until(lambda: all(d.status()["halt"] for d in fleet.devices), why=lambda: [d.status() for d in fleet.devices])


def test_diverged_branches_stay_until_one_device_merges_them(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices

    def commit(device: Device) -> None:
        device.write("a.txt", NINE.replace("1" if device is laptop else "9", device.name))
        device.commit(device.name)

    edit_apart(fleet, commit, commit)
    halted(fleet)
    heads = laptop.head(), desktop.head()
    title = "The branch main has commits here that desktop lacks, and the other way round"
    assert laptop.status()["halt"]["title"] == title
    assert f"git merge {heads[1]}" in laptop.status()["halt"]["hint"]
    desktop.write("d/x", "saved while diverged\n")
    done = desktop.run("sync", "--wait", "--timeout", "1")
    assert done.returncode == 1
    assert "notes: The branch main has commits here that laptop lacks, and the other way round" in done.stderr
    assert (laptop.head(), desktop.head(), laptop.read("d/x")) == (*heads, "x\n")
    follow_the_hint(laptop)
    fleet.equal()
    assert desktop.read("d/x") == laptop.read("d/x") == "saved while diverged\n"
    assert [d.status()["halt"] for d in fleet.devices] == [None, None]


# -- what is not ours ------------------------------------------------------------------------
def test_ignore_rules_apply_as_soon_as_they_change(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    laptop.write(".gitignore", "*.o\n/build/\n")
    fleet.equal()
    laptop.write("build/out", "1\n")
    laptop.write("x.o", "1\n")
    laptop.write("x.c", "1\n")
    until(lambda: desktop.read("x.c"))
    assert (desktop.read("build/out"), desktop.read("x.o")) == (None, None)
    laptop.write(".gitignore", "/build/\n")
    until(lambda: desktop.read("x.o"))
    assert desktop.read("build/out") is None
    laptop.write(".gitignore", "")
    fleet.equal()
    assert desktop.read("build/out") == "1\n"


def test_nested_repositories_and_submodules_are_not_swallowed(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    fleet.git("init", "-q", str(laptop.root / "nested"))
    laptop.write("nested/file", "not ours\n")
    laptop.write("beside", "1\n")
    until(lambda: desktop.read("beside"))
    assert not (desktop.root / "nested").exists()
    laptop.git("submodule", "add", "-q", str(fleet.place / "seed"), "sub")
    laptop.git("commit", "-q", "-m", "with a submodule")
    until(lambda: desktop.head() == laptop.head(), why=desktop.status)
    until(lambda: desktop.status()["tree"] == laptop.status()["tree"])
    assert list((desktop.root / "sub").iterdir()) == []
    assert desktop.git("status", "--porcelain") == "?? beside\n"
    laptop.git("commit", "-q", "--allow-empty", "-m", "inside", at=laptop.root / "sub")
    laptop.write("beside", "2\n")
    until(lambda: desktop.read("beside") == "2\n")
    assert laptop.git("status", "--porcelain").splitlines()[0] == " M sub"
    assert desktop.git("status", "--porcelain") == "?? beside\n"
    laptop.git("commit", "-q", "-m", "submodule moves", "sub")
    until(lambda: desktop.head() == laptop.head(), why=desktop.status)
    laptop.git("rm", "-q", "-f", "sub")
    laptop.git("commit", "-q", "-m", "without")
    until(lambda: desktop.head() == laptop.head() and not (desktop.root / "sub").exists(), why=desktop.status)


# -- first contact -----------------------------------------------------------------------------
@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Fleet]:
    """A place for devices that have not met."""
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_first_contact_keeps_what_both_have(apart: Fleet) -> None:
    laptop, desktop = apart.clone(apart.seed(FILES, hub=False), "laptop", "desktop")
    laptop.write("a.txt", "laptop\n")
    desktop.write("a.txt", "desktop\n")
    laptop.write("only here", "1\n")
    (desktop.root / "d/x").unlink()
    apart.configure(apart.devices)
    apart.start()
    apart.equal()
    found = entries(laptop.root)
    assert {content for name, (_, content) in found.items() if name.startswith(b"a")} == {b"laptop\n", b"desktop\n"}
    assert b"only here" in found
    assert b"d/x" not in found


def test_both_know_when_they_last_were_in_sync(apart: Fleet) -> None:
    (laptop, desktop) = apart.clone(apart.seed(FILES, hub=False), "laptop", "desktop")
    apart.configure(apart.devices)
    apart.start()
    apart.equal()
    for device in (laptop, desktop):
        device.end()
    apart.start()
    # Nothing is exchanged any more: all that comes is that the other has the same.
    until(lambda: all(d.status()["last-sync"] for d in (laptop, desktop)), why=lambda: (laptop.log, desktop.log))


@pytest.mark.parametrize("branch", ["main", "master"])
def test_an_empty_repository_joins_one_with_history(apart: Fleet, branch: str) -> None:
    (laptop,) = apart.clone(apart.seed(FILES, hub=False), "laptop")
    desktop = apart.device("desktop")
    apart.git("init", "-q", "-b", branch, str(desktop.root))
    desktop.write("mine", "stays\n")
    apart.configure(apart.devices)
    apart.start()
    apart.equal()
    assert (desktop.head(), desktop.branch()) == (laptop.head(), "main")
    assert laptop.read("mine") == desktop.read("mine") == "stays\n"


def test_clones_of_an_empty_hub_make_their_first_commit(apart: Fleet) -> None:
    apart.git("init", "-q", "--bare", str(apart.hub))
    laptop, desktop = apart.clone(apart.hub, "laptop", "desktop")
    apart.configure(apart.devices, remote="origin")
    apart.start()
    laptop.write("first", "1\n")
    apart.equal()
    laptop.commit("first")
    apart.equal()
    assert desktop.head() == laptop.head()


def test_plain_folders_become_one(apart: Fleet) -> None:
    laptop, desktop = apart.device("laptop"), apart.device("desktop")
    apart.configure(apart.devices)
    for device in apart.devices:
        device.write(f"of {device.name}", "1\n")
        device.write("same", "same\n")
        device.write("different", f"{device.name}\n")
        device.config.write_text(device.config.read_text().partition("paths:")[0])
        done = device.run("init", str(device.root), "--workspace", "notes", "--key-file", str(apart.key))
        assert done.returncode == 0, done
    apart.start()
    apart.equal()
    names = set(entries(desktop.root))
    assert {b"of laptop", b"of desktop", b"same", b"different"} < names
    assert len(names) == 5
    assert laptop.branch() == desktop.branch() == "main"


def test_unrelated_histories_are_joined_by_the_command_that_is_told(apart: Fleet) -> None:
    for name in ("laptop", "desktop"):
        device = apart.device(name)
        apart.git("init", "-q", str(device.root))
        device.write(name, "1\n")
        device.commit(name)
    apart.configure(apart.devices)
    apart.start()
    halted(apart)
    follow_the_hint(apart.devices[1])
    apart.equal()
    assert set(entries(apart.devices[0].root)) == {b"laptop", b"desktop"}


def test_different_branches_at_first_contact_stay_until_the_command_is_run(apart: Fleet) -> None:
    laptop, desktop = apart.clone(apart.seed(FILES, hub=False), "laptop", "desktop")
    on_topic(laptop, "topic", "t")
    apart.configure(apart.devices)
    apart.start()
    halted(apart)
    assert f"merge on desktop: `git merge {laptop.head()}`" in laptop.status()["halt"]["hint"]
    follow_the_hint(desktop)
    apart.equal()


def test_two_branches_that_both_moved_are_joined_where_one_merges(apart: Fleet) -> None:
    laptop, desktop = apart.clone(apart.seed(FILES, hub=False), "laptop", "desktop")
    apart.configure(apart.devices)
    apart.start()
    apart.equal()

    def commit(device: Device) -> None:
        device.write(f"of {device.name}", "1\n")
        device.commit(device.name)

    def commit_elsewhere(device: Device) -> None:
        on_topic(device, "joined")
        commit(device)

    edit_apart(apart, commit_elsewhere, commit)
    halted(apart)
    assert laptop.status()["halt"]["title"] == "This device is on joined, desktop is on main, and both moved"
    follow_the_hint(laptop)
    apart.equal()
    assert desktop.branch() == "joined"
    assert {b"of laptop", b"of desktop"} <= set(entries(desktop.root))
