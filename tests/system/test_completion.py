"""Completion in the real shells: a Tab and Return are pressed, and what the shell then runs is looked at."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from autosync.cli import completing
from autosync.cli.main import main
from autosync.cli.shells import SHELLS
from tests.system.commandline import Home
from tests.system.fleet import WORKSPACE, Device, pair
from tests.waiting import until

COPY = "plan (conflict, desktop, 2026-11-21 10.15.02).txt"
READY = "ready:"
STARTED = {
    "bash": ["bash", "--rcfile", ".bashrc", "-i"],
    "zsh": ["zsh", "-i"],
    "fish": ["fish", "-i", "--features", "no-query-term"],
}


@dataclass
class Shell:
    """A shell on a terminal of its own, whose ``autosync`` writes down what it is called with."""

    home: Path
    master: int
    screen: str = ""

    def types(self, line: str) -> list[str]:
        """Type ``autosync`` and ``line``, press Return, and return the arguments of the call."""
        called = self.home / "called"
        called.unlink(missing_ok=True)
        os.write(self.master, f"autosync {line}\r".encode())
        until(lambda: self.reads() and called.exists(), why=lambda: self.screen[-2000:])
        arguments: list[str] = json.loads(called.read_text())
        self.waits_for_prompt()
        return arguments

    def waits_for_prompt(self) -> None:
        until(lambda: self.reads() and READY in self.screen.rpartition("\n")[2], why=lambda: self.screen[-2000:])
        self.screen = ""

    def reads(self) -> bool:
        """Take in what is on the screen so far."""
        while select.select([self.master], [], [], 0.02)[0]:
            self.screen += os.read(self.master, 65536).decode("utf-8", "replace")
        return True


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device with another one, a conflict, and something that is held back."""
    with pair(tmp_path_factory.mktemp("fleet"), {"plan.txt": "one\n", COPY: "two\n", "sub/x": "x\n"}) as fleet:
        device = fleet.devices[0]
        device.write(".env", "SECRET=1\n")
        until(lambda: device.status()["held"]["count"] == 1)
        yield device


@pytest.fixture
def shell(request: pytest.FixtureRequest, laptop: Device, tmp_path: Path) -> Iterator[Shell]:
    """A shell that was told by ``completion --install`` how to complete."""
    yield from start(request.param, laptop, tmp_path)


def start(name: str, device: Device, place: Path) -> Iterator[Shell]:
    home = place / "my home"
    (home / "bin").mkdir(parents=True)
    program = home / "bin/autosync"
    program.write_text(
        "#!/bin/sh\n"
        f'if [ "$_AUTOSYNC_COMPLETE" ]; then exec {shlex.quote(sys.executable)} -m autosync "$@"; fi\n'
        f'exec {shlex.quote(sys.executable)} {shlex.quote(str(home / "note"))} "$@"\n'
    )
    program.chmod(0o755)
    (home / "note").write_text(
        "import json, os, pathlib, sys\n"
        "place = pathlib.Path(__file__).parent\n"
        "(place / 'new').write_text(json.dumps(sys.argv[1:]))\n"
        "os.rename(place / 'new', place / 'called')\n"
    )
    environment = {
        **device.environment,
        "HOME": str(home),
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "AUTOSYNC_CONFIG": str(device.config),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "SHELL": f"/bin/{name}",
    }
    environment.pop("XDG_CONFIG_HOME", None)
    installed = subprocess.run(
        [sys.executable, "-m", "autosync", "completion", "--install"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    prompts = {
        "bash": (".bashrc", f"PS1={READY}\nbind 'set enable-bracketed-paste off'\n"),
        "zsh": (".zshrc", f"PS1={READY}\nunset zle_bracketed_paste\nunsetopt prompt_sp prompt_cr\n"),
        "fish": (".config/fish/config.fish", f"set fish_greeting\nfunction fish_prompt; printf {READY}; end\n"),
    }
    file, text = prompts[name]
    (home / file).parent.mkdir(parents=True, exist_ok=True)
    said = "".join(line.partition(": ")[2] + "\n" for line in installed if line.startswith("Add to "))
    if name == "bash" and not said:  # read at the first Tab by the package bash-completion
        said = "source /usr/share/bash-completion/bash_completion\n"
    (home / file).write_text(said + text)
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(device.root)
        # What is to be read at the start is in the home directory, where bash looks only if it is told.
        own = [str(home / word) if word == ".bashrc" else word for word in STARTED[name]]
        os.execvpe(own[0], own, environment)  # noqa: S606 - on its terminal
    found = Shell(home=home, master=master)
    try:
        found.waits_for_prompt()
        yield found
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(master)


@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_a_tab_completes_what_is_meant(shell: Shell) -> None:
    for typed, called in (
        ("stat\t", ["status"]),
        ("sync --wai\t", ["sync", "--wait"]),
        ("revoke desk\t", ["revoke", "desktop"]),
        ("release .en\t", ["release", ".env"]),
        (r"resolve plan\ \(" + "\t", ["resolve", COPY]),
        (f"peers {WORKSPACE[:3]}\t", ["peers", WORKSPACE]),
        ("gc su\t", ["gc", "sub"]),
    ):
        # zsh takes the slash of a folder away again when the line ends (AUTO_REMOVE_SLASH).
        assert [word.rstrip("/") for word in shell.types(typed)] == called, typed


def test_what_is_gone_and_what_was_is_offered(laptop: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(laptop.root)
    laptop.write("sub/gone.txt", "gone\n")
    until(lambda: json.loads(laptop.run("log", "--json").stdout)["rows"][0]["summary"]["added"] == 1)
    (laptop.root / "sub/gone.txt").unlink()
    until(lambda: json.loads(laptop.run("log", "--json").stdout)["rows"][0]["summary"]["deleted"] == 1)
    context = click.Context(click.Command("autosync"))
    context.params["config_option"] = str(laptop.config)
    parameter = click.Argument(["path"])
    gone, *_ = completing.past(context, parameter, "sub/g")
    assert (gone.value, gone.help, gone.type) == ("sub/gone.txt", "deleted by laptop", "plain")
    newest = json.loads(laptop.run("log", "--json").stdout)["rows"][0]["snapshot"]
    assert completing.snapshots(context, parameter, "")[0].value == newest[:10]
    assert [item.value for item in completing.snapshots(context, parameter, f"10m..{newest[:5]}")] == [
        f"10m..{newest[:10]}"
    ]


@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_without_an_agent_nothing_is_said_and_nothing_is_waited_for(shell: Shell, laptop: Device) -> None:
    socket = laptop.state / "agent.sock"
    hidden = socket.rename(laptop.state / "hidden.sock")
    try:
        assert shell.types("revoke desk\t") == ["revoke", "desk"]
        assert "rror" not in shell.screen
    finally:
        hidden.rename(socket)


@pytest.mark.parametrize("text", ["paths: [\n", "device: 7\npaths: nothing\n"])
def test_a_wrong_configuration_is_no_news_for_a_shell(home: Home, text: str) -> None:
    environment = {**home.environment, "COMP_WORDS": f"autosync --config {home.configured(text)} invite n"}
    for shell, word in (("bash", "4"), ("zsh", "4"), ("fish", "n")):
        asked = {**environment, "COMP_CWORD": word, "_AUTOSYNC_COMPLETE": f"{shell}_complete"}
        done = subprocess.run(home.argv(), env=asked, capture_output=True, text=True, check=True)
        assert (done.stdout.replace("\n", ",").split(",")[0], done.stderr) == ("file", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    program = shutil.which(shell)
    assert program is not None
    subprocess.run([program, "-n"], input=capsys.readouterr().out, text=True, check=True)


def test_a_shell_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert main(["completion"]) == 1
    assert capsys.readouterr().err == (
        "Error: There is no completion for tcsh\n  Name one of bash, zsh, fish: `autosync completion bash`\n"
    )
