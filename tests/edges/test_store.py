"""The state directory: one agent, one device, and files that are whole or replaced."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autosync.core.model import DeviceId, SnapshotId, WorkspaceId
from autosync.errors import StateError
from autosync.store import StateDirectory, WorkspaceState
from autosync.trust.identity import create_identity, load_or_create_identity

WORKSPACE = WorkspaceId("0123456789abcdef" * 2)
STATE = WorkspaceState(
    snapshot=SnapshotId("ab" * 20),
    seq=17,
    seen={DeviceId("desktop-00000001"): 5},
    paused=True,
)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(str(tmp_path / "state"))


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_what_was_saved_is_there_again_for_this_user_alone(state: StateDirectory) -> None:
    state.save(WORKSPACE, STATE)
    again = StateDirectory(state.path)
    assert again.workspace(WORKSPACE) == STATE
    file = f"{state.path}/workspaces/{WORKSPACE}.json"
    assert [mode(p) for p in (state.path, f"{state.path}/workspaces", file)] == [0o700, 0o700, 0o600]
    assert os.listdir(f"{state.path}/workspaces") == [f"{WORKSPACE}.json"]


def test_a_state_of_an_older_version_is_read_without_its_list_of_conflicts(state: StateDirectory) -> None:
    file = Path(state.path, "workspaces", f"{WORKSPACE}.json")
    file.write_text(
        '{"schema": 1, "state": {"snapshot": null, "seq": 17, "seen": {}, "paused": true, "conflicts": '
        '[{"path": "YQ==", "copy": "Yg==", "device": "desktop", "time": 1800000000}]}}'
    )
    assert state.workspace(WORKSPACE) == WorkspaceState(seq=17, paused=True)


def test_a_fresh_state_numbers_its_announcements_above_all_that_a_lost_one_used(state: StateDirectory) -> None:
    fresh = state.workspace(WORKSPACE)
    assert fresh == WorkspaceState(seq=fresh.seq)
    assert abs(fresh.seq - time.time() * 1000) < 60_000


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"schema": 1}', b'{"schema": 1, "state": {"seq": "x"}}']
)
def test_a_corrupt_file_is_moved_aside_and_the_next_start_goes_on(state: StateDirectory, content: bytes) -> None:
    file = Path(state.path, "workspaces", f"{WORKSPACE}.json")
    file.write_bytes(content)
    with pytest.raises(StateError) as looked:
        state.workspace(WORKSPACE, set_aside=False)
    assert looked.value.hint == "The next `autosync run` moves it aside."
    assert file.read_bytes() == content
    with pytest.raises(StateError) as caught:
        state.workspace(WORKSPACE)
    assert re.fullmatch(
        rf"{file}: is corrupt \(.*\); it was moved to {file.name}\.corrupt-\d{{8}}T\d{{6}}", caught.value.title
    )
    assert caught.value.hint.startswith("No file of yours is touched: start the agent again")
    (aside,) = file.parent.iterdir()
    assert aside.read_bytes() == content
    assert state.workspace(WORKSPACE).snapshot is None


def test_a_file_of_a_newer_version_is_refused_and_stays(state: StateDirectory) -> None:
    file = Path(state.path, "workspaces", f"{WORKSPACE}.json")
    file.write_text('{"schema": 2, "state": {"other": 1}}')
    with pytest.raises(StateError, match=r"was written by a newer autosync \(schema 2, this one knows 1\)"):
        state.workspace(WORKSPACE)
    assert file.exists()


def test_a_device_keeps_its_id_when_it_is_renamed(state: StateDirectory) -> None:
    device = state.device("Jörgs Läptop")
    assert re.fullmatch(r"Jorgs-Laptop-[a-z2-7]{26}", device)
    assert StateDirectory(state.path).device("desktop") == device


@pytest.mark.parametrize(("name", "slug"), [("デスク", "device"), ("a" * 64, "a" * 40), ("x.lock", "x-lock")])
def test_a_device_id_can_stand_in_a_ref(state: StateDirectory, name: str, slug: str) -> None:
    device = state.device(name)
    assert device.startswith(f"{slug}-")
    subprocess.run(["git", "check-ref-format", f"refs/autosync/w/{device}"], check=True)


def test_a_copied_state_directory_is_another_device(state: StateDirectory, tmp_path: Path) -> None:
    device = state.device("laptop")
    shutil.copytree(state.path, tmp_path / "copy")
    copy = StateDirectory(str(tmp_path / "copy"))
    assert copy.device("laptop") != device
    assert copy.device("laptop") == copy.device("laptop")
    assert state.device("laptop") == device
    assert load_or_create_identity(state.path).is_of(device)
    assert load_or_create_identity(copy.path).is_of(copy.device("laptop"))


def test_an_id_is_what_its_key_says(state: StateDirectory) -> None:
    device = state.device("laptop")
    assert load_or_create_identity(state.path).device_id("laptop") == device


@pytest.mark.parametrize("lost", ["key", "half a key", "key of another", "id", "id of an earlier build", "forgotten"])
def test_a_device_that_cannot_prove_its_id_gets_a_new_one(state: StateDirectory, tmp_path: Path, lost: str) -> None:
    device = state.device("laptop")
    key, id_file = Path(state.path, "identity.pem"), Path(state.path, "device.json")
    if lost == "key":
        key.unlink()
    elif lost == "half a key":
        key.write_bytes(key.read_bytes()[:100])
    elif lost == "key of another":
        shutil.copy(create_identity(str(tmp_path / "other")).path, key)
    elif lost == "id":
        id_file.unlink()
    elif lost == "forgotten":
        state.forget_device()
    else:
        with id_file.open("r+") as file:  # in place: it is not a copy
            text = json.dumps({"schema": 1, "id": "laptop-0a1b2c3d", "inode": id_file.stat().st_ino})
            file.truncate(file.write(text))
    again = state.device("laptop")
    assert again != device
    assert state.device("laptop") == again
    assert load_or_create_identity(state.path).is_of(again)


def test_a_corrupt_device_file_is_moved_aside(state: StateDirectory) -> None:
    device = state.device("laptop")
    Path(state.path, "device.json").write_text("{}")
    with pytest.raises(StateError, match=r"device\.json: is corrupt"):
        state.device("laptop")
    assert state.device("laptop") != device


HOLDER = """\
import sys, signal
from autosync.store import StateDirectory
with StateDirectory(sys.argv[1]).lock():
    print("held", flush=True)
    signal.pause()
"""


def test_a_second_agent_is_refused_with_the_pid_of_the_first(state: StateDirectory) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, state.path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError) as caught:
            state.lock()
        assert caught.value.title == f"another autosync agent (pid {holder.pid}) uses {state.path}"
        assert f"kill {holder.pid}" in caught.value.hint
        holder.send_signal(signal.SIGKILL)
    with state.lock():
        assert Path(state.path, "agent.lock").read_text() == f"{os.getpid()}\n"


def test_a_released_lock_can_be_had_again(state: StateDirectory) -> None:
    lock = state.lock()
    lock.release()
    lock.release()
    with state.lock(), pytest.raises(StateError):
        state.lock()
    assert mode(f"{state.path}/agent.lock") == 0o600


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StateError) as caught:
        StateDirectory(str(tmp_path))
    assert caught.value.title == f"state-dir {tmp_path}: belongs to another user, or others can write to it"
    assert mode(str(tmp_path)) == 0o777


def test_a_place_that_cannot_be_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=rf"^{tmp_path}/file(/state)?: (Not a directory|File exists)"):
        StateDirectory(str(tmp_path / "file" / "state"))


def test_a_failed_write_leaves_the_old_file_and_no_litter(state: StateDirectory) -> None:
    state.save(WORKSPACE, STATE)
    size_limited = (
        "import resource, signal, sys\n"
        "from autosync.store import *\n"
        "from autosync.errors import StateError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))\n"
        "try:\n"
        f"    StateDirectory(sys.argv[1]).save('{WORKSPACE}', WorkspaceState())\n"
        "except StateError as error:\n"
        "    print(error.title)\n"
    )
    done = subprocess.run([sys.executable, "-c", size_limited, state.path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{state.path}/workspaces/{WORKSPACE}.json: File too large\n"
    assert state.workspace(WORKSPACE) == STATE
    assert os.listdir(f"{state.path}/workspaces") == [f"{WORKSPACE}.json"]


def test_only_ids_name_state_files(state: StateDirectory) -> None:
    with pytest.raises(ValueError, match="no workspace id"):
        state.save(WorkspaceId("../device"), STATE)
