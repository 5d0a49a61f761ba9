"""Has many working copies of one store commit, pull, update and set bookmarks at once, and says what was lost."""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.backends.hg_repos import Vanilla, versions
from tests.hgext.shares import WAITS, Shares

UPSTREAM = 40
"""Changesets that can be pulled, each with a bookmark."""


class Worker:
    """What one working copy does, and what has to be there in the end."""

    def __init__(self, number: int, name: str, shares: Shares, *, sharelock: bool, timeout: int) -> None:
        self.number = number
        self.done = self.waits = self.time_outs = self.dead_locks = 0
        self.wrong: list[str] = []
        self.bookmarks: dict[str, str] = {}
        self.commits: list[str] = []
        self._root = shares.directory / name
        self._upstream = str(shares.directory / "upstream")
        self._user = shares.user(name, sharelock=sharelock)
        self._timeout = ("--config", f"ui.timeout={timeout}")
        self._random = random.Random(number)
        self._mine = f"b{number}"
        self._pulled = -1
        self._count = 0

    def work(self, operations: int) -> None:
        """Do as much as that, in an order of its own."""
        try:
            while not self._hg("bookmark", "-f", self._mine):  # vanilla may not have it at once
                assert not self.wrong, self.wrong
            self._commit()
            for _ in range(operations):
                self._random.choices(
                    (self._commit, self._set, self._move, self._delete, self._update, self._pull), (4, 4, 2, 1, 2, 1)
                )[0]()
        finally:
            self._user.close()

    def _hg(self, *args: str) -> bool:
        code, _, errors = self._user.run(*args, *self._timeout)
        self.done += 1
        self.waits += errors.count(WAITS.encode())
        if code == 0:
            return True
        if b"timed out waiting for lock" in errors:
            self.time_outs += 1
            # Somebody there waits for what this one holds, or nobody would wait that long.
            self.dead_locks += self.number > 0 and b"abort: working directory of" in errors
        else:
            self.wrong.append(f"{self._mine}: {args}: {errors.decode()}")
        return False

    def _commit(self) -> None:
        self._count += 1
        (self._root / f"file{self.number}").write_text(f"{self._count}\n")
        if self._hg("commit", "-q", "-A", "-m", f"{self._mine} {self._count}"):
            self.commits.append(self._user("log", "-r", ".", "-T", "{node}").decode())
            self.bookmarks[self._mine] = self.commits[-1]
        else:
            self.bookmarks.pop(self._mine, None)  # it may have been committed all the same

    def _set(self) -> None:
        self._count += 1
        self._place(f"{self._mine}-{self._count}")

    def _move(self) -> None:
        if others := [name for name in self.bookmarks if name.startswith(self._mine + "-")]:
            self._place(self._random.choice(others))

    def _place(self, name: str) -> None:
        if self.commits:
            node = self._random.choice(self.commits)
            if self._hg("bookmark", "-q", "-f", "-r", node, name):
                self.bookmarks[name] = node
            else:
                self.bookmarks.pop(name, None)

    def _delete(self) -> None:
        if others := [name for name in self.bookmarks if name.startswith(self._mine + "-")]:
            name = self._random.choice(others)
            self._hg("bookmark", "-q", "-d", name)
            del self.bookmarks[name]

    def _update(self) -> None:
        if self.commits:
            self._hg("update", "-q", "-C", "-r", self._random.choice(self.commits))
            self._hg("update", "-q", "-C", self._mine)

    def _pull(self) -> None:
        self._pulled = min(UPSTREAM - 1, self._pulled + self._random.randint(1, 3))
        if self._hg("pull", "-q", "-f", "-B", f"up{self._pulled}", self._upstream):
            self.bookmarks[f"up{self._pulled}"] = self._user("log", "-r", f"up{self._pulled}", "-T", "{node}").decode()


class Rush:
    """A source and its shares, all at work at once; without ``sharelock`` as vanilla hg has them.

    ``timeout`` is ``ui.timeout``, seconds; 600 is what hg has by itself.
    """

    def __init__(
        self, shares: Shares, *, working_copies: int, operations: int, sharelock: bool = True, timeout: int = 600
    ) -> None:
        names = ["source", *(f"share{number}" for number in range(1, working_copies))]
        shares.make(*names[1:])
        _make_upstream(shares)
        self._shares = shares
        self._operations = operations
        self._workers = [
            Worker(number, name, shares, sharelock=sharelock, timeout=timeout) for number, name in enumerate(names)
        ]
        self.done = self.waits = self.time_outs = self.dead_locks = 0

    def run(self) -> list[str]:
        """Have all of them work; return what went wrong and what was lost."""
        threads = [threading.Thread(target=worker.work, args=(self._operations,)) for worker in self._workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.done = sum(worker.done for worker in self._workers)
        self.waits = sum(worker.waits for worker in self._workers)
        self.time_outs = sum(worker.time_outs for worker in self._workers)
        self.dead_locks = sum(worker.dead_locks for worker in self._workers)
        wrong = [words for worker in self._workers for words in worker.wrong]
        if self.time_outs:
            wrong.append(f"{self.time_outs} of {self.done} operations timed out")
        return wrong + self._lost()

    def _lost(self) -> list[str]:
        user: Vanilla = self._shares.user("share1")
        lines = user("bookmarks", "-T", "{bookmark} {node}\n").decode().splitlines()
        found = dict(line.split(" ") for line in lines)
        commits = set(user("log", "-T", "{node}\n").decode().split())
        code, said, errors = user.run("verify", "-q")
        user.close()
        wrong = [] if code == 0 else [f"hg verify: {said!r} {errors!r}"]
        for worker in self._workers:
            wrong += [f"no commit {node}" for node in worker.commits if node not in commits]
            wrong += [
                f"{name} is at {found.get(name)}" for name, at in worker.bookmarks.items() if found.get(name) != at
            ]
        return wrong


def _make_upstream(shares: Shares) -> None:
    shares.run("", "clone", "-q", "source", "upstream")
    user = shares.user("upstream")
    for number in range(UPSTREAM):
        (shares.directory / "upstream" / f"new{number % 5}").write_text(f"{number}\n")
        user("commit", "-q", "-A", "-m", f"upstream {number}")
        user("bookmark", "-i", f"up{number}")
    user.close()


def _print() -> None:
    version, kind, operations, timeout = sys.argv[1:5]
    with tempfile.TemporaryDirectory() as directory:
        shares = Shares(directory=Path(directory), by=versions(Path(sys.argv[5]))[version])
        rush = Rush(
            shares, working_copies=8, operations=int(operations), sharelock=kind == "sharelock", timeout=int(timeout)
        )
        began = time.monotonic()
        wrong = rush.run()
        print(
            f"{version} {kind}: {rush.done} operations in {time.monotonic() - began:.0f} s, "
            f"{rush.waits} waited for a lock, {rush.time_outs} timed out ({rush.dead_locks} at the source's lock), "
            f"{sum(' is at ' in words for words in wrong)} bookmarks lost or astray, "
            f"{sum('no commit' in words for words in wrong)} commits lost"
        )
        print("\n".join(wrong[:20]))


if __name__ == "__main__":
    _print()
