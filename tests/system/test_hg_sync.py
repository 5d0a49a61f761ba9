"""What a user does in one Mercurial working copy arrives in the other, whichever hg is at work there."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.figures import record
from tests.system.fleet import at_once, entries, until
from tests.system.hgfleet import HgDevice, HgFleet, hg_pair, servers_of
from tests.system.strange_hg import strange_hg

NINE = "".join(f"{n}\n" for n in range(1, 10))
FILES = {"a.txt": NINE, "d/x": "x\n" * 30, "d/y": "y\n", "d/deep/z": "z\n"}
OLD_HG = "/usr/bin/hg"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HgFleet]:
    """Two devices with different versions of hg, which all tests of this module use that leave them well."""
    with hg_pair(tmp_path_factory.mktemp("shared") / "fleet", FILES, hg={"laptop": OLD_HG}) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared: HgFleet) -> HgFleet:
    """The two devices, at the first changeset, and nothing else in the folder."""
    laptop, _ = shared.hg_devices
    laptop.hg("update", "-q", "--clean", "--rev", "0")
    undo(laptop)
    shared.equal()
    return shared


# -- saves, and what hg is told of them -----------------------------------------------------
def odd_names(device: HgDevice) -> None:
    for name in (b"caf\xe9", b' "quoted"', b"-rf", b"a" * 255, b"\xff\xfe", "ü ☃".encode(), b"nul.txt", b"a:b"):
        with open(os.path.join(os.fsencode(device.root), name), "wb") as file:
            file.write(name)


def file_becomes_directory(device: HgDevice) -> None:
    (device.root / "a.txt").unlink()
    device.write("a.txt/inside", "1\n")


def renamed_and_edited(device: HgDevice) -> None:
    device.hg("mv", "d/x", "d/moved")
    device.write("d/moved", "x\n" * 30 + "more\n")


def added_and_deleted(device: HgDevice) -> None:
    device.write("new", "1\n")
    device.hg("add", "new")
    (device.root / "new").unlink()


DEEDS: dict[str, Callable[[HgDevice], object]] = {
    "edit": lambda d: d.write("a.txt", NINE.replace("5", "five")),
    "create": lambda d: d.write("new/sub/file", "new\n"),
    "add": lambda d: (d.write("new", "new\n"), d.hg("add", "new")),
    "add and delete": added_and_deleted,
    "delete": lambda d: (d.root / "d/x").unlink(),
    "remove": lambda d: d.hg("remove", "d/x"),
    "forget": lambda d: d.hg("forget", "d/x"),
    "rename": lambda d: (d.root / "d/x").rename(d.root / "moved"),
    "rename by hg": lambda d: d.hg("mv", "d/x", "d/moved"),
    "rename by hg and edit": renamed_and_edited,
    "rename directory by hg": lambda d: d.hg("mv", "d", "e"),
    "copy by hg": lambda d: d.hg("cp", "d/x", "copied"),
    "make executable": lambda d: (d.root / "a.txt").chmod(0o755),
    "dangling symlink": lambda d: ((d.root / "dangling").symlink_to(b"/nowhere/\xff"), d.hg("add", "dangling")),
    "odd names": odd_names,
    "file becomes directory": file_becomes_directory,
    "directory becomes file": lambda d: (shutil.rmtree(d.root / "d"), d.write("d", "now a file\n")),
}


def undo(device: HgDevice) -> None:
    """Bring back what is committed, and nothing else."""
    device.hg("purge", "--no-confirm")  # what stands in the way of a revert
    device.hg("revert", "--all", "--no-backup", "-q")
    device.hg("purge", "--no-confirm")  # what was added


def test_a_deed_arrives_as_the_same_status_and_difference(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    for number, (deed, do) in enumerate(DEEDS.items()):
        actor, other = (laptop, desktop) if number % 2 else (desktop, laptop)
        before = other.view()
        do(actor)
        fleet.equal()
        assert other.view() != before, deed
        undo(actor)
        fleet.equal()
        assert other.is_clean(), deed


def test_what_hg_cannot_name_is_told_and_left_where_it_is(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    laptop.write("new\nline", "1\n")
    laptop.write("beside", "2\n")
    until(lambda: laptop.status()["unreadable"] == ["new\nline"], why=laptop.status)
    until(lambda: desktop.read("beside") == "2\n", why=laptop.status)
    assert desktop.read("new\nline") is None
    told = laptop.run("status").stdout
    assert "notes leaves out names that Mercurial cannot store, or takes for its own: new\\nline\n  Rename " in told
    assert "chmod" not in told
    (laptop.root / "new\nline").unlink()
    fleet.equal()


def test_saves_leave_everything_that_is_hgs_as_it_was(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    for device in (laptop, desktop):
        device.hg("status")  # refreshes what the dirstate knows of the files' times
    history = [device.hg("log", "-r", "all()", "-T", "{node} {phase}\n") for device in (laptop, desktop)]
    before = laptop.fingerprint()
    for number in range(3):
        laptop.write("a.txt", f"{number}\n")
        laptop.write(f"new/{number}", "saved\n")
        until(lambda n=number: desktop.read(f"new/{n}") == "saved\n", why=lambda: laptop.log[-2000:])  # type: ignore[misc]
    assert laptop.fingerprint() == before
    fleet.equal()
    assert [d.hg("log", "-r", "all()", "-T", "{node} {phase}\n") for d in (laptop, desktop)] == history
    assert desktop.hg_process("verify", "-q").returncode == 0


def test_a_rename_moves_the_file_itself(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    number = (desktop.root / "d/x").stat().st_ino
    laptop.hg("mv", "d/x", "elsewhere")
    fleet.equal()
    assert (desktop.root / "elsewhere").stat().st_ino == number


def test_ignore_rules_are_those_of_hg(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    laptop.write(".hgignore", "syntax: glob\n*.o\nrootglob:only-here\nre:^build/.*x$\n")
    fleet.equal()
    laptop.write("one.o", "1\n")
    laptop.write("only-here", "1\n")
    laptop.write("build/ax", "1\n")
    laptop.write("d/only-here", "1\n")
    laptop.write("build/b", "1\n")
    until(lambda: desktop.read("build/b") and desktop.read("d/only-here"), why=desktop.status)
    assert (desktop.read("one.o"), desktop.read("only-here"), desktop.read("build/ax")) == (None, None, None)
    why = laptop.run("explain", str(laptop.root / "one.o")).stdout
    rule = f"`*.o` in {laptop.root}/.hgignore, line 2. It names one.o."
    assert f"one.o: ignored. An ignore rule names it: {rule}\n  `hg --cwd {laptop.root} debugignore -- one.o`" in why
    for device in fleet.hg_devices:
        shutil.rmtree(device.root / "build", ignore_errors=True)
    for name in ("one.o", "only-here"):
        (laptop.root / name).unlink()


# -- what hg does ----------------------------------------------------------------------------
def test_commits_and_amends_arrive_as_what_they_are(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    laptop.write("a.txt", "committed\n")
    made = laptop.commit("one")
    fleet.equal()
    assert (desktop.head(), desktop.branch()) == (made, "default")
    assert desktop.hg("log", "-r", ".", "-T", "{phase} {user} {desc}") == "draft You <you@example.org> one"
    laptop.write("a.txt", "amended\n")
    laptop.hg("commit", "-q", "--amend", "-m", "uno")
    fleet.equal()
    assert desktop.hg("log", "-r", ".", "-T", "{desc}") == "uno"
    desktop.write("dirty", "1\n")
    fleet.equal()
    assert laptop.read("dirty") == "1\n"


def test_named_branches_bookmarks_and_updates_are_followed(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    laptop.hg("branch", "-q", "stable")
    fleet.equal()
    assert desktop.branch() == "stable"
    laptop.write("s.txt", "stable\n")
    stable = laptop.commit("on stable")
    fleet.equal()
    assert desktop.head() == stable
    desktop.hg("update", "-q", "default")
    fleet.equal()
    assert (laptop.branch(), laptop.read("s.txt")) == ("default", None)
    laptop.hg("bookmark", "topic")
    laptop.write("t.txt", "topic\n")
    laptop.commit("on topic")
    fleet.equal()
    assert desktop.hg("log", "-r", ".", "-T", "{activebookmark}") == "topic"
    assert desktop.run("status").stdout.splitlines()[3].split("  ")[0] == "notes"
    assert "topic (default)" in desktop.run("status").stdout
    laptop.hg("update", "-q", "stable")
    fleet.equal()
    assert desktop.head() == stable


def test_phases_are_respected(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    laptop.write("a.txt", "mine\n")
    laptop.hg("commit", "-q", "--secret", "-m", "secret")
    fleet.equal()
    assert desktop.hg("log", "-r", ".", "-T", "{phase}") == "secret"
    assert fleet.hg("log", "-r", "all()", "-T", "{desc}\n", at=fleet.place / "seed") == "first\n"


def test_different_lines_are_merged_and_the_same_line_is_kept_twice(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    laptop.ask("pause")
    laptop.write("a.txt", NINE.replace("1", "one"))
    laptop.write("d/y", "laptop\n")
    desktop.write("a.txt", NINE.replace("9", "nine"))
    desktop.write("d/y", "desktop\n")
    until(lambda: laptop.status()["peers"][0]["tree"] == desktop.status()["tree"] != laptop.status()["tree"])
    laptop.ask("resume")
    fleet.equal()
    for device in fleet.hg_devices:
        assert device.read("a.txt") == NINE.replace("1", "one").replace("9", "nine")
    versions = {n: c for n, (_, c) in entries(laptop.root).items() if n.startswith(b"d/y")}
    assert sorted(versions.values()) == [b"desktop\n", b"laptop\n"]
    (copy,) = (name.decode() for name in versions if name != b"d/y")
    assert copy in desktop.run("conflicts").stdout
    assert desktop.run("resolve", str(desktop.root / "d/y"), "--keep", "mine").returncode == 0
    fleet.equal()
    assert laptop.read("d/y") == "desktop\n"
    assert laptop.run("gc").returncode == 0
    desktop.write("d/y (conflict, laptop, 2026-11-21 10.15.02)", "as if\n")
    fleet.equal()
    laptop.end()
    assert "d/y (conflict, laptop, 2026-11-21 10.15.02)" in laptop.run("conflicts").stdout
    assert laptop.run("gc").stdout.splitlines()[1].startswith("notes ")
    laptop.start()
    fleet.equal()


def test_diverged_branches_stay_until_one_device_merges_them(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    laptop.ask("pause")
    laptop.write("l", "1\n")
    laptop.commit("on laptop")
    desktop.write("k", "1\n")
    heads = [laptop.head(), desktop.commit("on desktop")]
    until(lambda: desktop.status()["base"] == heads[1], why=desktop.status)
    until(lambda: laptop.status()["peers"][0]["snapshot"] == desktop.status()["snapshot"], why=laptop.status)
    laptop.ask("resume")
    until(lambda: laptop.status()["halt"], why=laptop.status)
    halt = laptop.status()["halt"]
    assert halt["title"].startswith("The branch default has changesets here that desktop lacks")
    assert f"`hg merge -r {heads[1]}` and `hg commit`" in halt["hint"]
    laptop.hg("merge", "-q", "-r", heads[1])
    laptop.hg("commit", "-q", "-m", "joined")
    fleet.equal()
    assert desktop.read("l") == desktop.read("k") == "1\n"


# -- what the user is in the middle of -------------------------------------------------------
def clash(device: HgDevice) -> tuple[str, str]:
    """Make two draft heads that change one line; return them, the second being checked out."""
    device.write("a.txt", NINE.replace("5", "one side"))
    one = device.commit("one side")
    device.hg("update", "-q", "--rev", "0")
    device.write("a.txt", NINE.replace("5", "other side"))
    return one, device.commit("other side")


def rebase(device: HgDevice) -> Callable[[], object]:
    one, _ = clash(device)
    device.hg("rebase", "-q", "-d", one, check=False)
    return lambda: device.hg("rebase", "-q", "--abort")


def merge(device: HgDevice) -> Callable[[], object]:
    one, other = clash(device)
    device.hg("merge", "-q", "-r", one, check=False)
    return lambda: device.hg("update", "-q", "--clean", "-r", other)


def graft(device: HgDevice) -> Callable[[], object]:
    one, _ = clash(device)
    device.hg("graft", "-q", "-r", one, check=False)
    return lambda: device.hg("graft", "-q", "--abort")


def histedit(device: HgDevice) -> Callable[[], object]:
    _, other = clash(device)
    plan = device.home / "plan"
    plan.write_text(f"edit {other[:12]} 0\n")
    device.hg("histedit", "-q", "--commands", str(plan), "-r", other, check=False)
    return lambda: device.hg("histedit", "-q", "--abort")


def unshelve(device: HgDevice) -> Callable[[], object]:
    device.write("a.txt", NINE.replace("5", "shelved"))
    device.hg("shelve", "-q")
    device.write("a.txt", NINE.replace("5", "other"))
    device.commit("other")
    device.hg("unshelve", "-q", check=False)
    return lambda: (device.hg("unshelve", "-q", "--abort"), device.hg("shelve", "--cleanup"))


def bisect(device: HgDevice) -> Callable[[], object]:
    for number in range(3):
        device.write("n", f"{number}\n")
        device.commit(str(number))
    device.hg("bisect", "-q", "--bad", ".")
    device.hg("bisect", "-q", "--good", "0")
    return lambda: device.hg("bisect", "-q", "--reset")


STATES = {
    "a rebase is in progress": rebase,
    "a merge is in progress": merge,
    "a graft is in progress": graft,
    "a histedit is in progress": histedit,
    "an unshelve is in progress": unshelve,
    "a bisect is in progress": bisect,
}


@pytest.mark.parametrize("words", STATES)
def test_what_the_user_is_in_the_middle_of_is_waited_for(fleet: HgFleet, words: str) -> None:
    laptop, desktop = fleet.hg_devices
    end = STATES[words](laptop)
    until(lambda: words in str(laptop.status()["waiting-for"]), why=lambda: (laptop.status(), laptop.hg("status")))
    assert f"notes waits: {words}" in laptop.run("status").stdout
    metadata = laptop.fingerprint()
    desktop.write("meanwhile", "2\n")
    until(lambda: laptop.status()["peers"][0]["tree"] == desktop.status()["tree"], why=laptop.status)
    assert (laptop.read("meanwhile"), laptop.fingerprint()) == (None, metadata)
    end()
    fleet.equal()
    assert laptop.read("meanwhile") == "2\n"


# -- the processes ---------------------------------------------------------------------------
def test_an_hg_of_the_agents_that_is_killed_is_started_again(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    for number in range(3):
        for device in fleet.hg_devices:
            for process in device.processes():
                os.kill(process, signal.SIGKILL)
        laptop.write("a.txt", f"{number}\n")
        desktop.write("d/y", f"{number}\n")
        fleet.equal()
        assert (desktop.read("a.txt"), laptop.read("d/y")) == (f"{number}\n", f"{number}\n")
    record("kills survived", 6)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_hg_outlives_its_agent(fleet: HgFleet, how: signal.Signals) -> None:
    laptop, desktop = fleet.hg_devices
    laptop.write("a.txt", "before\n")
    fleet.equal()
    assert laptop.processes()
    laptop.end(how)
    until(lambda: not laptop.processes(), why=laptop.processes)
    laptop.write("a.txt", "while it was off\n")
    laptop.start()
    fleet.equal()
    assert desktop.read("a.txt") == "while it was off\n"


def test_an_agent_that_is_killed_again_and_again_loses_nothing(fleet: HgFleet) -> None:
    laptop, desktop = fleet.hg_devices
    for number in range(4):
        victim = (laptop, desktop)[number % 2]
        laptop.write(f"new/{number}", "x" * 1000)
        laptop.write("a.txt", f"{number}\n")
        desktop.write("d/y", f"{number}\n")
        if number == 2:
            laptop.hg("mv", "d/x", "d/moved")
        victim.kill()
        victim.start()
    fleet.equal()
    assert (desktop.read("a.txt"), laptop.read("d/y")) == ("3\n", "3\n")
    assert sorted(n for n in entries(desktop.root) if n.startswith(b"new/")) == [b"new/%d" % n for n in range(4)]
    # Not promised to be none: a device that was killed may have had the state in between (docs/guarantees.md).
    record("needless conflict copies", sum(b"(conflict, " in name for name in entries(desktop.root)))
    record("kills survived", 4)


# -- what is particular to a repository --------------------------------------------------------
@pytest.fixture
def alone(tmp_path: Path) -> Iterator[HgFleet]:
    """A place for devices."""
    with HgFleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_commits_are_made_pushed_and_merged(alone: HgFleet) -> None:
    hub = alone.seed(FILES)
    laptop, desktop = alone.clone_hg(hub, "laptop", "desktop")
    (outsider,) = alone.clone_hg(hub, "outsider")
    alone.configure([laptop, desktop], remote="default", commits="auto", commit_after="1s", poll="1s")
    alone.start(laptop, desktop)
    alone.equal(laptop, desktop)
    with at_once(laptop):  # so that it is one commit
        laptop.write("new", "1\n")
        laptop.write("a.txt", "laptop\n" + NINE)
        laptop.hg("mv", "d/x", "d/renamed")
    alone.pushed(laptop, desktop)
    message = desktop.hg("log", "-r", ".", "-T", "{desc}")
    for line in ("Change a.txt", "Add new", "Rename d/x to d/renamed", "By autosync on "):  # whoever is first
        assert line in message
    outsider.hg("pull", "-q", "--update")
    outsider.write("a.txt", (outsider.read("a.txt") or "") + "outsider\n")
    outsider.commit("by somebody else")
    with at_once(laptop, desktop):  # who has not seen it yet
        outsider.hg("push", "-q")
        desktop.write("a.txt", "desktop\n" + (desktop.read("a.txt") or ""))
    until(lambda: "outsider\n" in (laptop.read("a.txt") or ""), why=laptop.status)
    alone.pushed(laptop, desktop)
    assert laptop.read("a.txt") == f"desktop\nlaptop\n{NINE}outsider\n"


def test_line_ends_and_large_files_are_stored_as_each_extension_says(alone: HgFleet) -> None:
    seed = alone.seed({**FILES, ".hgeol": "[patterns]\n*.crlf = CRLF\n*.txt = native\n"}, hub=False)
    laptop, desktop = alone.clone_hg(seed, "laptop", "desktop")
    for device in (laptop, desktop):
        with (device.root / ".hg/hgrc").open("a") as hgrc:
            hgrc.write("[extensions]\neol =\nlfs =\n[lfs]\ntrack = **.big\n")
    alone.configure([laptop, desktop], own={"laptop": f"hg: {OLD_HG}"})
    alone.start()
    alone.equal()
    laptop.write("f.crlf", "one\r\ntwo\r\n")
    laptop.write("f.big", "x" * 100_000)
    laptop.hg("add", "f.crlf", "f.big")
    alone.equal()
    assert (desktop.read("f.crlf"), desktop.read("f.big")) == ("one\r\ntwo\r\n", "x" * 100_000)
    laptop.commit("with both")
    alone.equal()
    assert desktop.is_clean()
    desktop.write("f.crlf", "one\r\n2\r\n")
    alone.equal()
    assert laptop.read("f.crlf") == "one\r\n2\r\n"


def test_no_hook_of_the_user_runs_for_what_autosync_does(alone: HgFleet) -> None:
    laptop, desktop = alone.clone_hg(alone.seed(FILES, hub=False), "laptop", "desktop")
    names = (
        "pre-serve",
        "update",
        "preupdate",
        "changegroup",
        "incoming",
        "commit",
        "precommit",
        "txnopen",
        "txnclose",
    )
    ran = alone.place / "ran"
    for device in (laptop, desktop):
        with (device.root / ".hg/hgrc").open("a") as hgrc:
            hgrc.write("[hooks]\n" + "".join(f"{name} = echo {name} >> {ran}\n" for name in names))
    alone.configure([laptop, desktop])
    alone.start()
    alone.equal()
    desktop.write("a.txt", "saved\n")
    alone.equal()
    assert laptop.hg_process("commit", "-q", "-m", "by the user").returncode == 0
    told = ran.read_text()
    assert "commit" in told
    ran.unlink()
    alone.equal()
    assert not ran.exists()


def test_two_working_copies_of_one_store(alone: HgFleet) -> None:
    laptop, desktop = alone.clone_hg(alone.seed(FILES, hub=False), "laptop", "desktop")
    second = alone.share(desktop, "second")
    alone.configure([laptop, desktop])
    alone.add_path(desktop, second, workspace="second")
    alone.start()
    alone.equal()
    laptop.write("a.txt", "committed\n")
    laptop.commit("one")
    (second / "d/y").write_text("in the other\n")
    alone.equal()
    until(lambda: not desktop.status("second")["pending"], why=lambda: desktop.status("second"))
    assert (second / "d/y").read_text() == "in the other\n"
    assert desktop.read("d/y") == "y\n"


@pytest.mark.parametrize(
    ("need", "title"),
    [
        ("largefiles", "uses the largefiles extension (largefiles), which autosync does not handle yet"),
        ("narrowhg-experimental", "uses a narrow clone (narrowhg-experimental), which autosync does not handle yet"),
        ("exp-sparse", "uses a sparse checkout (exp-sparse), which autosync does not handle yet"),
        ("treemanifest", "uses tree manifests (treemanifest), which autosync does not handle yet"),
        (".hgsub", "cannot be synced: it has subrepositories (.hgsub), which autosync does not handle yet"),
    ],
)
def test_what_is_not_handled_is_refused_in_words(alone: HgFleet, need: str, title: str) -> None:
    (device,) = alone.clone_hg(alone.seed(FILES, hub=False), "laptop")
    alone.configure([device])
    if need == ".hgsub":
        device.write(".hgsub", "sub = ../sub\n")
    else:
        with (device.root / ".hg/requires").open("a") as requires:
            requires.write(f"{need}\n")
    before = device.fingerprint()
    shown = f"{device.root} {title}"
    for command in ("run", "check"):
        done = device.run(command)
        assert done.returncode == 1
        assert shown in done.stdout + done.stderr
        assert "Sync another clone, one without it." in done.stdout + done.stderr
    assert device.fingerprint() == before
    assert servers_of(device.root) == []
    record("bad inputs refused", 1)


def test_an_hg_that_commits_other_changesets_halts_that_working_copy(alone: HgFleet) -> None:
    (device,) = alone.clone_hg(alone.seed(FILES, hub=False), "laptop")
    alone.configure([device], hg=str(strange_hg(alone.place)))
    alone.start()
    until(lambda: device.status()["halt"], why=device.status)
    title = "Mercurial 6.3.2 makes other changesets than autosync expects of it"
    assert device.status()["halt"]["title"] == title
    device.ask("resume")
    until(lambda: device.status()["halt"], why=device.status)
    assert f"fail  notes: {title}\n" in device.run("check").stdout


def test_check_tells_which_mercurial_and_what_a_hub_is_for(alone: HgFleet) -> None:
    (device,) = alone.clone_hg(alone.seed(FILES), "laptop")
    alone.configure([device], hg=OLD_HG, remote="default", hub_prefix="refs/heads/autosync")
    shown = device.run("check")
    assert (shown.returncode, shown.stderr) == (0, "")
    for line in (
        "ok    hg: Mercurial Distributed SCM (version 6.3.2): /usr/bin/hg\n",
        f"ok    notes: {device.root}: Mercurial working copy on default\n",
        "warn  notes: hub-prefix has no effect in a Mercurial working copy: ",
        "ok    notes, hub default: answers; it keeps changesets",
    ):
        assert line in shown.stdout
    assert "git" not in shown.stdout.replace("digit", "")


def test_a_folder_that_is_both_has_to_say_which(alone: HgFleet) -> None:
    (device,) = alone.clone_hg(alone.seed(FILES, hub=False), "laptop")
    alone.git("init", "-q", at=device.root)
    alone.configure([device])
    done = device.run("run")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        f"Error: {device.config}: paths[0].backend is missing: {device.root} holds a .git and a .hg\n"
        "  Say which of them is meant: add `backend: git` or `backend: hg` to that entry.\n"
    )
    alone.configure([device], backend="hg")
    device.start()
    until(lambda: device.status()["phase"] == "watching", why=device.status)
    assert device.status()["vcs"] == "hg"


def test_a_device_that_keeps_the_workspace_in_git_is_told_apart(alone: HgFleet) -> None:
    (laptop,) = alone.clone_hg(alone.seed(FILES, hub=False), "laptop")
    desktop = alone.device("desktop")
    alone.git("init", "-q", str(desktop.root))
    desktop.write("a.txt", "of git\n")
    alone.configure([laptop, desktop])
    alone.start()
    problems = (
        (laptop, "is of git: that device keeps this workspace in a git repository, this one in Mercurial"),
        (desktop, "it is none of git (does that device keep this workspace in Mercurial?)"),
    )
    for device, problem in problems:
        until(lambda d=device, p=problem: p in d.run("status").stdout, why=device.status)  # type: ignore[misc]
    assert (laptop.read("a.txt"), desktop.read("a.txt")) == (NINE, "of git\n")
