"""Commands that talk to other machines, and what becomes of them when the agent is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import figures
from tests.waiting import until

AGENT = """
import os, sys
from autosync.backends.git.network import Line, Patience

class Shell:
    directory = os.fsencode(sys.argv[1])
    def argv(self, args):
        return ["sh", "-c", *args]
    def environment(self, extra):
        return {**os.environ, **extra}

outcome = Line(Shell(), Patience()).run([sys.argv[2]], env={}, traced_by="TRACE")
print(outcome.code, outcome.output, outcome.trace, outcome.ended)
"""


def test_what_a_command_and_its_children_trace_is_heard(tmp_path: Path) -> None:
    deed = "echo one >>$TRACE; sh -c 'echo two >>$TRACE'; echo three >>$TRACE; echo said"
    done = subprocess.check_output([sys.executable, "-c", AGENT, str(tmp_path), deed], text=True)
    assert done == "0 b'said\\n' b'one\\ntwo\\nthree\\n' None\n"


def test_a_command_whose_agent_is_killed_does_not_wait_for_it(tmp_path: Path) -> None:
    deed = "echo $$ >number; mv number pid; until test -e go; do sleep 0.01; done; echo one >>$TRACE"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environ = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen([sys.executable, "-c", AGENT, str(tmp_path), deed], env=environ) as agent:
        until((tmp_path / "pid").exists)
        agent.kill()
    (tmp_path / "go").touch()
    until(lambda: not Path("/proc", (tmp_path / "pid").read_text().strip()).exists())
    assert list(scratch.iterdir()) == []
    figures.record("kills survived", 1)
