"""``autosync bug-report`` beside a running agent in whose every name there is one that must not get out."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from autosync.cli.main import main
from tests.ports import free_ports
from tests.system.commandline import Home
from tests.waiting import until

NAME = "zaphod"


@pytest.fixture
def telling(home: Home) -> Home:
    """A home that tells of its user wherever it can."""
    root = home.path / "Zaphod plans"
    root.mkdir()
    home.git(root, "init", "--quiet", "-b", "zaphod-branch")
    (root / "zaphod.txt").write_text("zaphod\n")
    (root / "zaphod (conflict, Zaphods-phone, 2026-11-21 10.15.02).txt").write_text("zaphod\n")
    (root / ".env").write_text("ZAPHOD=1\n")
    home.git(root, "add", "zaphod.txt")
    home.git(root, "commit", "--quiet", "-m", "zaphod")
    home.git(root, "remote", "add", "zaphods-hub", f"http://zaphod:Zaphod@127.0.0.1:{free_ports(1)[0]}/zaphod.git")
    home.configured(
        "device: Zaphods-laptop\nstate-dir: zaphod-state\nlisten: 127.0.0.1:0\ndiscovery: false\n"
        f"xmpp: {{jid: zaphod@zaphod.example, password: Zaphod42, host: 127.0.0.1, port: {free_ports(1)[0]}}}\n"
    )
    named = ("--workspace", "Zaphods notes", "--key-file", "zaphod.key", "--remote", "zaphods-hub")
    made = home.run("--config", home.config, "init", root, *named)
    assert made.returncode == 0, made.stderr
    (home.path / "zaphod-state").mkdir(mode=0o700)
    (home.path / "zaphod-state/autosync-crash-20261122T000000-zaphod.txt").write_text(
        'Traceback:\n  File "/home/zaphod/lib/autosync/agent.py", line 7, in run\n    zaphod\n'
        "  File \"/home/zaphod/autosync/zaphod.py\", line 8, in zaphod\nKeyError: 'zaphod'\n"
    )
    return home


def test_nothing_of_the_user_is_in_it(telling: Home) -> None:
    with telling.start("--config", telling.config, "run") as agent:
        try:
            status = ("--config", telling.config, "status", "--json")
            until(lambda: '"count": 1' in telling.run(*status).stdout)
            done = telling.run("--config", telling.config, "bug-report", "-o", "report.txt")
        finally:
            agent.kill()
    report = telling.path / "report.txt"
    text = report.read_text()
    said = done.stderr.replace("Looking at everything\n", "")  # which is said if it takes long
    assert (done.returncode, said, stat.S_IMODE(report.stat().st_mode)) == (0, "", 0o600)
    assert NAME not in text.casefold()
    assert "nothing was sent" in done.stdout
    parts = re.split(r"^== (\w+): .*\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(sections) == ["versions", "counts", "config", "status", "doctor", "log", "crashes"]
    log = sections.pop("log").splitlines()
    found = {section: json.loads(part) for section, part in sections.items()}
    assert found["counts"]["held back"] == 1
    assert found["crashes"][0] | {"says": ""} == {
        "class": "KeyError",
        "says": "",
        "places": ["autosync/agent.py:7 in run"],
    }
    (held,) = found["status"]["workspaces"][0]["held"]["paths"]
    assert any(held["path"] in line and "is held back" in line for line in log)  # one name for one thing


def test_it_needs_neither_an_agent_nor_a_configuration(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(home.path))
    monkeypatch.chdir(home.path)
    assert main(["bug-report"]) == 0
    told = capsys.readouterr()
    (file,) = Path().glob("autosync-bug-report-*.txt")
    assert told.out.startswith(f"{file} is written; nothing was sent. In it are:\n")
    assert "The agent is not running" in file.read_text()
    assert main(["bug-report", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {
        *("versions", "counts", "config", "status", "doctor", "log", "crashes")
    }


def test_no_file_is_replaced(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(home.path)
    Path("report.txt").write_text("mine")
    assert main(["bug-report", "-o", "report.txt"]) == 1
    assert capsys.readouterr().err == (
        "Error: report.txt exists already; nothing was written\n  Name another place with -o.\n"
    )
    assert Path("report.txt").read_text() == "mine"
