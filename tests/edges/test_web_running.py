"""`autosync web` as a process: how it ends, and what it does where it cannot write."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from autosync.control import NAME
from autosync.web.running import PLACE


class Served:
    """The page of a configuration in ``place``, served by a process of its own."""

    def __init__(self, place: Path) -> None:
        self.state = place / "state"
        self.state.mkdir()
        (place / "notes").mkdir()
        self.config = place / "config.yaml"
        self.config.write_text(
            "device: laptop\nstate-dir: state\npaths:\n- path: notes\n  workspace: notes\n  key-file: notes.key\n"
        )
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "autosync", "--config", str(self.config), "web", "--json", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    @staticmethod
    def link_of(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return str(json.loads(process.stdout.readline())["url"])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    for process in served.processes:
        process.kill()
        process.communicate()


def test_a_question_without_an_answer_does_not_hold_up_the_end(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(served.state / NAME))
        agent.listen()
        process = served.start()
        served.link_of(process)
        place = json.loads((served.state / PLACE).read_text())
        page = http.client.HTTPConnection("127.0.0.1", place["port"], timeout=30)
        question = json.dumps({"ask": "undo", "path": str(served.state)})
        headers = {"Authorization": f"Bearer {place['bearer']}", "Content-Type": "application/json"}
        page.request("POST", f"{place['root']}ask", question, headers)
        asked, _ = agent.accept()  # it waits for the answer now, for two minutes
        with asked:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        page.close()


def test_a_port_that_is_not_the_one_it_is_served_on_is_told(served: Served) -> None:
    first = served.start()
    port = urlsplit(served.link_of(first)).port
    assert port is not None
    other = served.start("--port", str(port - 1))
    told = json.loads(other.communicate(timeout=60)[0])
    title = f"The page is served on port {port} already, by process {first.pid}: not on {port - 1}"
    assert (other.returncode, told["error"]["title"]) == (1, title)
    assert urlsplit(served.link_of(served.start("--port", str(port)))).port == port


def test_it_is_served_where_nothing_can_be_written(served: Served) -> None:
    (served.state / PLACE).mkdir()  # a place that can be neither removed nor written, for root too
    (served.state / PLACE / "x").touch()
    process = served.start()
    link = urlsplit(served.link_of(process))
    page = http.client.HTTPConnection("127.0.0.1", link.port or 0, timeout=30)
    page.request("GET", f"{link.path}?{link.query}")
    assert page.getresponse().status == 303
    page.close()
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(rf"{re.escape(str(served.state / PLACE))} cannot be written \(.*\)", error), error
    assert os.listdir(served.state / PLACE) == ["x"]
