"""One command of another version control: how it may end, and that nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.commanded.step import KEPT, SHOWN, StepRunner
from tests import figures
from tests.waiting import until


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[StepRunner]:
    runner = StepRunner(os.fsencode(tmp_path), 30.0)
    yield runner
    runner.close()


def script(place: Path, text: str) -> str:
    path = place / "command"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


def is_gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True


def test_its_output_and_arguments_are_bytes_for_bytes(steps: StepRunner, tmp_path: Path) -> None:
    command = script(tmp_path, "import os,sys\nos.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))\n")
    odd = ("a b", "$(touch x);`y`", "new\nline", "\udcff", "", "-rf", "*")
    ran = steps.run((command, *odd))
    assert (ran.code, ran.out, ran.problem) == (0, b"a b\0$(touch x);`y`\0new\nline\0\xff\0\0-rf\0*", None)
    assert os.listdir(tmp_path) == ["command"]


def test_it_runs_in_the_folder_without_a_terminal_or_input(steps: StepRunner, tmp_path: Path) -> None:
    command = script(
        tmp_path, "import os,sys\nprint(os.getcwd(), repr(sys.stdin.read()), os.getsid(0) == os.getpid())\n"
    )
    assert steps.run((command,)).out == f"{tmp_path} '' True\n".encode()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("import sys; sys.stderr.write('no\\nroute '); sys.exit(3)", 3, "failed with exit code 3: no route"),
        ("import sys; print('out'); sys.exit(1)", 1, "failed with exit code 1: out"),
        ("import sys; sys.exit(1)", 1, "failed with exit code 1"),
        ("import os; os.kill(os.getpid(), 9)", -9, "failed with signal SIGKILL"),
    ],
)
def test_a_failure_is_told_in_words(steps: StepRunner, tmp_path: Path, text: str, code: int, words: str) -> None:
    command = script(tmp_path, text)
    ran = steps.run((command, "a b"))
    assert ran.problem is not None
    assert (ran.code, ran.problem.title) == (code, f"`{command} 'a b'` in {tmp_path} {words}")
    assert ran.problem.hint == "run it by hand to see why; it is tried again by itself"
    assert steps.run((f"-{command}", "a b")).problem is None
    figures.record("faults injected", 1)


def test_what_cannot_be_run_is_told_in_words(steps: StepRunner, tmp_path: Path) -> None:
    missing = steps.run(("no-such-program",)).problem
    assert missing is not None
    assert missing.title == f"`no-such-program` in {tmp_path} cannot be run: there is no such program"
    (tmp_path / "text").write_text("x")
    denied = steps.run((str(tmp_path / "text"),)).problem
    assert denied is not None
    assert denied.title.endswith("cannot be run: Permission denied")
    # That a failure does not matter does not mean that the program need not be there.
    assert steps.run(("-no-such-program",)).problem is not None
    long = steps.run(("no-such-program", "x" * 10_000)).problem
    assert long is not None
    assert len(long.title) < SHOWN + len(str(tmp_path)) + 100
    figures.record("faults injected", 4)


def test_one_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    steps = StepRunner(os.fsencode(tmp_path), 0.5)
    text = "import os,signal,subprocess,time\nsignal.signal(15, 1)\n"
    text += "p = subprocess.Popen(['sleep', '600'])\nopen('pids', 'w').write(f'{os.getpid()} {p.pid}')\n"
    ran = steps.run((script(tmp_path, text + "time.sleep(600)\n"),))
    assert ran.problem is not None
    assert "was ended: it took longer than 0.5 s" in ran.problem.title
    if (tmp_path / "pids").exists():  # it may have been ended before it began
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            until(lambda p=pid: is_gone(p))  # type: ignore[misc]
    steps.close()
    figures.record("faults injected", 1)


def test_what_it_leaves_running_is_not_waited_for(steps: StepRunner, tmp_path: Path) -> None:
    text = "import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
    ran = steps.run((script(tmp_path, text),))
    assert ran.problem is None
    os.kill(int(ran.out), 9)


def test_of_much_output_the_end_is_kept(steps: StepRunner, tmp_path: Path) -> None:
    ran = steps.run((script(tmp_path, "import os\nfor _ in range(64): os.write(1, b'x' * 65536)\nprint('end')\n"),))
    assert (ran.code, len(ran.out), ran.out[-4:]) == (0, KEPT, b"end\n")


def test_when_all_is_to_stop_it_stops(steps: StepRunner, tmp_path: Path) -> None:
    command = script(tmp_path, "import time\nopen('begun', 'w').close()\ntime.sleep(600)\n")
    found = []
    thread = threading.Thread(target=lambda: found.append(steps.run((command,))))
    thread.start()
    until((tmp_path / "begun").exists)
    steps.stop()
    thread.join(30)
    assert found[0].problem is not None
    assert steps.run((command,)).problem is not None
    assert subprocess.run(["pgrep", "-f", command], check=False, capture_output=True).stdout == b""


@pytest.mark.parametrize(
    ("text", "is_dirty"),
    [
        ("", False),
        ("print(' ')", False),
        ("print('M a')", True),
        ("import sys; sys.stderr.write('a warning')", False),
        ("import sys; sys.exit(1)", True),
        ("import sys; print('+ a'); sys.stderr.write('a warning'); sys.exit(1)", True),
        ("import sys; sys.stderr.write('no repository'); sys.exit(1)", None),
        ("import sys; print('M a'); sys.exit(2)", None),
    ],
)
def test_what_status_says(steps: StepRunner, tmp_path: Path, text: str, is_dirty: bool | None) -> None:
    assert steps.run((script(tmp_path, text),)).is_dirty() is is_dirty
