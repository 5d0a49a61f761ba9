"""Asks of the past: the running agent or, if none runs, the store itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autosync.cli.invocation import select
from autosync.cli.table import plain
from autosync.config import Config, PathConfig, Vcs
from autosync.control import NotRunning, call
from autosync.core.moments import moment
from autosync.errors import AutosyncError

if TYPE_CHECKING:
    from autosync.past.trail import Trail

_PATIENCE = 600.0
"""Seconds that the agent may take: a folder of many gigabytes may have to be put somewhere."""
_MORE = 500
"""Rows of each page but the first."""
_LOOKING = ("history", "diff", "show")
"""What changes nothing."""
_TIMES = {"at_ms": "at", "made_ms": "made"}
_BY_NAME = ("refused", "taken_back")
"""What the user's own names are the keys of."""


def for_programs(answer: Any) -> Any:
    """Return an answer as `--json` prints it: keys in kebab-case, times in ISO 8601, UTC, with milliseconds."""
    if isinstance(answer, list):
        return [for_programs(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    told = {}
    for key, value in answer.items():
        if key in _TIMES:
            told[_TIMES[key]] = moment(value / 1000).isoformat(timespec="milliseconds")
        else:
            told[key.replace("_", "-")] = value if key in _BY_NAME else for_programs(value)
    return told


class Past:
    """The past of the working copy that ``path`` lies in (``None``: of the current directory, or the only one).

    Raises :class:`AutosyncError` if there is none.  To be closed.
    """

    def __init__(self, config: Config, path: str | None) -> None:
        self._config = config
        self.working_copy, self.path = _place(config, path)
        self.root = os.path.realpath(self.working_copy.path)
        self._opened: Trail | None = None

    def __enter__(self) -> Past:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.backend.close()

    def widen(self) -> None:
        """Ask from now on about all of the working copy."""
        self.path = self.root

    @property
    def below(self) -> str:
        """Return the path below the root, empty for the root itself."""
        return os.path.relpath(self.path, self.root) if self.path != self.root else ""

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to ``history``, ``diff``, ``show``, ``restore`` or ``undo``.

        Their arguments and answers are described in :mod:`autosync.answers.history`.
        """
        if self._opened is None:
            try:
                return call(self._config.state_dir, verb, patience=_PATIENCE, path=self.path, **arguments)
            except NotRunning as error:
                if verb not in _LOOKING and arguments.get("to") is None:
                    raise AutosyncError(
                        f"{error.title}, so nothing was changed: it records what stands here before it replaces it",
                        hint="Start it with `autosync run`. A copy can be had without it: "
                        "`autosync restore PATH --at WHEN --to DEST`.",
                    ) from None
                self._opened = self._open()
        return {
            "workspace": self.working_copy.workspace,
            "root": self.root,
            "path": self.below,
            **self._answer(self._opened, verb, arguments),
        }

    def pages(self, verb: str, cursor: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield the answers of page after page; ``cursor`` names what leads from one to the next.

        The first one comes soon, those that follow have more.
        """
        at: str | None = None
        while True:
            answer = self.ask(verb, **arguments, **({cursor: at, "limit": _MORE} if at is not None else {}))
            yield answer
            at = answer[cursor]
            if at is None:
                return

    # -- without an agent ----------------------------------------------------------------------
    def _open(self) -> Trail:
        # These bring version control and the keys, which a command that asks the agent does without.
        from autosync.backends.opening import open_backend  # noqa: PLC0415
        from autosync.past.trail import Trail  # noqa: PLC0415
        from autosync.trust.sealing import load_key  # noqa: PLC0415

        if self.working_copy.backend is Vcs.COMMAND:
            raise AutosyncError(
                f"{self.working_copy.path} is kept by commands, so there are no snapshots of it",
                hint="Its own version control has its history.",
            )
        backend = open_backend(self.working_copy, load_key(self.working_copy.key_file).id)
        try:
            return Trail(backend, self._config.device)
        except BaseException:
            backend.close()
            raise

    def _answer(self, trail: Trail, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        from autosync.core.model import RelPath  # noqa: PLC0415
        from autosync.past import telling  # noqa: PLC0415
        from autosync.past.steps import finish  # noqa: PLC0415

        path = RelPath(os.fsencode(self.below))
        match verb:
            case "history":
                before, limit = arguments.get("before"), arguments.get("limit", telling.ROWS)
                paths = arguments.get("paths", telling.PATHS)
                return finish(telling.tell_history(trail, path, before=before, limit=limit, paths=paths))
            case "diff":
                after, limit = arguments.get("after"), arguments.get("limit", telling.FILES)
                old, new = arguments.get("from"), arguments.get("to")
                return finish(telling.tell_difference(trail, path, old=old, new=new, after=after, limit=limit))
            case "show":
                return telling.tell_state(trail, path, arguments.get("at"))
            case _:
                dry_run = arguments.get("dry_run") is True
                to = os.fsencode(arguments["to"])
                return finish(telling.tell_copy(lambda: trail, path, arguments.get("at"), to, dry_run=dry_run))


def place_of(config: Config, path: str | None) -> PathConfig:
    """Return the working copy that ``path`` lies in or names, without one that of the current directory or the only."""
    return _place(config, path)[0]


def _place(config: Config, path: str | None) -> tuple[PathConfig, str]:
    """Return the working copy and the absolute path in it, below the real path of its root.

    What is looked for may be gone, and links inside of the working copy are files of their own: so the
    path is taken as it is written where it begins with the root's.
    """
    full = os.path.abspath("." if path is None else path)
    folded = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))
    for asked in dict.fromkeys((full, folded, os.path.realpath(full))):
        for candidate in sorted(config.paths, key=lambda p: len(os.path.realpath(p.path)), reverse=True):
            real = os.path.realpath(candidate.path)
            for root in dict.fromkeys((os.path.abspath(candidate.path), real)):
                if asked == root:
                    return candidate, real
                if asked.startswith(root.rstrip("/") + "/"):
                    return candidate, os.path.join(real, os.path.relpath(asked, root))
    if path is None:
        if len(config.paths) == 1:
            return config.paths[0], os.path.realpath(config.paths[0].path)
        known = ", ".join(p.workspace for p in config.paths) or "none yet"
        raise AutosyncError(
            f"{plain(os.getcwd())} is in no working copy of {config.source}",
            hint=f"Name a file, a folder or a workspace. The workspaces there: {known}.",
        )
    named = select(config, path)  # by the name of its workspace; else it says what is wrong
    if named is None:
        raise AssertionError(path)
    return named, os.path.realpath(named.path)
