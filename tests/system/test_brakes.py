"""What must not leave a device unasked stays; the rest goes on; one command lets it go."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from autosync.errors import AutosyncError
from tests.system.fleet import Device, at_once, pair, until

FILES = {f"d{n % 5}/{n}.txt": f"{n}\n" for n in range(60)} | {"keep.txt": "keep\n"}


def held(device: Device) -> dict[str, str]:
    found: dict[str, Any] = device.status()["held"]
    return {h["path"]: h["reason"] for h in found["paths"]}


def explained(device: Device, name: str) -> dict[str, Any]:
    done = device.run("explain", str(device.root / name), "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def in_folders(device: Device) -> list[str]:
    """Return the names of the files in the folders d0 to d4, any of which may vanish meanwhile."""
    found: list[str] = []
    for number in range(5):
        with contextlib.suppress(FileNotFoundError):
            found += os.listdir(device.root / f"d{number}")
    return found


def test_a_secret_looking_and_a_huge_file_are_held_and_the_rest_goes_on(tmp_path: Path) -> None:
    with pair(tmp_path, {"a.txt": "a\n"}, brakes={"huge-file": "100k"}) as fleet:
        laptop, desktop = fleet.devices
        laptop.write(".env", "TOKEN=1\n")
        laptop.write("film.bin", b"x" * 200_000)
        laptop.write("b.txt", "b\n")
        until(lambda: desktop.read("b.txt") == "b\n")
        until(lambda: held(laptop) == {".env": "secret", "film.bin": "huge"})
        assert not (desktop.root / ".env").exists()
        assert not (desktop.root / "film.bin").exists()
        assert laptop.read(".env") == "TOKEN=1\n"
        assert explained(laptop, ".env")["state"] == "held"
        assert explained(laptop, "b.txt")["state"] == "synced"
        assert "held back" in laptop.log

        shown = laptop.run("explain")
        assert ".env" in shown.stdout
        assert f"release {laptop.root}" in shown.stdout
        done = laptop.run("release", str(laptop.root / ".env"))
        assert done.returncode == 0, done.stderr
        until(lambda: desktop.read(".env") == "TOKEN=1\n")
        assert held(laptop) == {"film.bin": "huge"}
        again = laptop.run("release", str(laptop.root / ".env"))
        assert again.returncode == 1
        assert "Nothing is held back" in again.stderr


def test_what_was_released_stays_so_after_a_restart(tmp_path: Path) -> None:
    with pair(tmp_path, {"a.txt": "a\n"}) as fleet:
        laptop, desktop = fleet.devices
        laptop.write("keys/server.pem", "one\n")
        until(lambda: "keys/server.pem" in held(laptop))
        laptop.end()
        laptop.start()
        until(lambda: "keys/server.pem" in held(laptop))
        assert laptop.run("release", str(laptop.root)).returncode == 0
        until(lambda: desktop.read("keys/server.pem") == "one\n")
        laptop.end()
        (laptop.root / "keys/server.pem").unlink()
        laptop.start()
        until(lambda: desktop.read("keys/server.pem") is None)
        laptop.write("keys/server.pem", "two\n")
        until(lambda: desktop.read("keys/server.pem") == "two\n")


def test_a_mass_deletion_is_held_until_it_is_released(tmp_path: Path) -> None:
    with pair(tmp_path, FILES) as fleet:
        laptop, desktop = fleet.devices
        (laptop.root / "empty").mkdir()
        assert (explained(laptop, "d0")["state"], explained(laptop, "empty")["state"]) == ("synced", "directory")
        with at_once(laptop):
            for n in range(5):
                shutil.rmtree(laptop.root / f"d{n}")
        laptop.write("new.txt", "new\n")
        until(lambda: desktop.read("new.txt") == "new\n")
        until(lambda: laptop.status()["held"]["count"] == 60, why=laptop.status)
        assert sum(1 for _ in desktop.root.glob("d*/*.txt")) == 60
        until(lambda: laptop.status()["state"] == "holding", why=laptop.status)
        assert laptop.status()["held"]["reasons"] == {"deletion": 60}
        shown = " ".join(laptop.run("status").stdout.split())
        assert " notes holding 60 main " in shown
        assert " notes desktop equal but for 60 " in shown
        assert "holds back 60 paths" in shown
        waited = laptop.run("sync", "--wait")
        assert (waited.returncode, waited.stderr) == (0, "")
        assert waited.stdout.startswith("in sync: notes, but for what is held back (60): autosync --config ")
        # What the others do meanwhile arrives, and an edit of theirs counts more than a deletion.
        desktop.write("keep.txt", "kept\n")
        desktop.write("d1/1.txt", "edited\n")
        until(lambda: laptop.read("keep.txt") == "kept\n" and laptop.read("d1/1.txt") == "edited\n")
        until(lambda: laptop.status()["held"]["count"] == 59, why=laptop.status)
        shown = laptop.run("status").stdout
        assert "notes holds back 59 paths" in shown
        assert "release --restore" in shown
        with pytest.raises(AutosyncError, match="59 paths are held back in notes by now, not 60: nothing was released"):
            laptop.ask("release", path=str(laptop.root), expected=60)
        done = laptop.run("release", str(laptop.root))
        assert "released: 59" in done.stdout
        until(lambda: in_folders(desktop) == ["1.txt"])
        fleet.equal()
        assert laptop.read("d1/1.txt") == "edited\n"


def test_held_deletions_can_be_undone(tmp_path: Path) -> None:
    with pair(tmp_path, FILES) as fleet:
        laptop, desktop = fleet.devices
        before = desktop.view()
        with at_once(laptop):
            for entry in laptop.root.iterdir():
                if entry.name != ".git":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        secret = laptop.root / ".env"
        secret.write_text("PASSWORD=1\n")
        until(lambda: laptop.status()["held"]["count"] == 62, why=laptop.status)
        done = laptop.run("release", "--restore", str(laptop.root))
        assert "restored: 61" in done.stdout
        until(lambda: laptop.status()["held"]["count"] == 1, why=laptop.status)
        again = laptop.run("release", "--restore", str(laptop.root))
        assert again.returncode == 1
        assert "No deletion is held back" in again.stderr
        secret.unlink()
        until(lambda: laptop.status()["held"]["count"] == 0, why=laptop.status)
        fleet.equal()
        assert laptop.view() == before


def test_files_that_come_back_by_themselves_are_not_held_any_more(tmp_path: Path) -> None:
    with pair(tmp_path, FILES) as fleet:
        laptop, _desktop = fleet.devices
        with at_once(laptop):
            for n in range(5):
                shutil.rmtree(laptop.root / f"d{n}")
        until(lambda: laptop.status()["held"]["count"] == 60, why=laptop.status)
        laptop.git("checkout", "--", ".")
        until(lambda: laptop.status()["held"]["count"] == 0, why=laptop.status)
        fleet.equal()


@pytest.mark.parametrize("held_before", [False, True])
def test_a_deletion_that_is_committed_is_meant(tmp_path: Path, held_before: bool) -> None:
    with pair(tmp_path, FILES) as fleet:
        laptop, desktop = fleet.devices
        with contextlib.nullcontext() if held_before else at_once(laptop):
            laptop.git("rm", "-q", "-r", *(f"d{n}" for n in range(5)))
            if held_before:
                until(lambda: laptop.status()["held"]["count"] == 60, why=laptop.status)
            laptop.git("commit", "-q", "-m", "all away")
        until(lambda: not in_folders(desktop))
        fleet.equal()
        until(lambda: laptop.status()["held"]["count"] == 0, why=laptop.status)


def test_explain_knows_every_kind_of_path(tmp_path: Path) -> None:
    with pair(tmp_path, {"a.txt": "a\n", ".gitignore": "*.log\n"}) as fleet:
        laptop, desktop = fleet.devices
        laptop.write("x.log", "x\n")
        laptop.write("dir/b.txt", "b\n")
        until(lambda: explained(laptop, "dir/b.txt")["state"] == "synced")
        states = {
            name: explained(laptop, name)["state"]
            for name in ("a.txt", "x.log", "dir", "dir/b.txt", "nothing", ".git/config")
        }
        assert states == {
            "a.txt": "synced",
            "x.log": "ignored",
            "dir": "synced",
            "dir/b.txt": "synced",
            "nothing": "absent",
            ".git/config": "metadata",
        }
        desktop.end()
        laptop.write("c.txt", "c\n")
        until(lambda: explained(laptop, "c.txt")["state"] in ("alone", "pending"))
        laptop.run("pause")
        assert explained(laptop, "a.txt")["state"] == "paused"
        outside = laptop.run("explain", str(tmp_path))
        assert outside.returncode == 1
        assert "is not in a working copy" in outside.stderr


def number_of_new(device: Device) -> int:
    return sum(1 for _ in device.root.glob("new/*"))


@pytest.mark.parametrize("held_before", [True, False])
def test_a_commit_of_something_else_lets_no_deletion_go(tmp_path: Path, held_before: bool) -> None:
    """Files that were never committed stand in no commit, so no commit says that their deletion is meant."""
    with pair(tmp_path, {"a.txt": "a\n"}) as fleet:
        laptop, desktop = fleet.devices
        with at_once(laptop):
            for n in range(60):
                laptop.write(f"new/{n}", f"{n}\n")
        fleet.equal()
        laptop.save("a.txt", "b\n")
        fleet.equal()
        commit = ("commit", "-q", "-a", "-m", "something else")
        with at_once(laptop):
            shutil.rmtree(laptop.root / "new")
            if not held_before:
                laptop.git(*commit)
        if held_before:
            until(lambda: laptop.status()["held"]["count"] == 60, why=laptop.status)
            laptop.git(*commit)
        until(lambda: desktop.head() == laptop.head())
        fleet.equal(desktop)
        assert (laptop.status()["held"]["count"], number_of_new(desktop)) == (60, 60)
        assert "released: 60" in laptop.run("release", str(laptop.root)).stdout
        fleet.equal()
        assert number_of_new(desktop) == 0
