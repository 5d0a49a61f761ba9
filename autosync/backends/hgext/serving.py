"""The one command of the extension: a question comes by the input channel, the answer goes by one of its own."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from mercurial import commandserver, error, extensions, registrar, util

from . import changing, exchanging, harmless, hubbing, looking, observing, selftest
from .frames import CHANNEL, HEADER_SIZE, Fields, Value, body_size, frame, unframe
from .history import standing_on
from .refusal import DAMAGED, MISSING, REFUSED, Declined
from .standing import refuse_subrepositories, standing

cmdtable: dict[bytes, Any] = {}
COMMAND = b"autosync-answer"

Answer = dict[bytes, Value]
_DAMAGE = (
    error.StorageError,
    error.RepoError,
    error.CorruptedState,
    getattr(error, "CorruptedDirstate", error.CorruptedState),  # 6.3 has none
)


def uisetup(_ui: Any) -> None:
    """Be harmless before any repository is opened."""
    harmless.make_harmless()


def answer(ui: Any, repo: Any) -> int:
    """answer one question of autosync"""
    header = ui.fin.read(HEADER_SIZE)
    question = unframe(header + ui.fin.read(body_size(header)))
    try:
        # Any question may be about the repository with a bundle on top of it.
        place = question.text(b"over") if b"over" in question else None
        with harmless.looking(repo), standing_on(repo, place) as here:
            found = _ANSWERS[question.text(b"ask")](here, question)
    except Declined as declined:
        found = {b"declined": declined.reason, b"words": declined.words.encode("utf-8", "replace")}
    except error.Abort as problem:
        found = {b"declined": REFUSED, b"words": bytes(problem.message)}
    except OSError as problem:
        place = problem.filename
        found = {b"errno": problem.errno or errno.EIO, b"place": os.fsencode(place) if place else None}
    except error.LookupError as lost:
        found = {b"declined": MISSING, b"words": b"the history changed while it was read: " + _said(lost)}
    except _DAMAGE as damage:
        found = {b"declined": DAMAGED, b"words": b"hg cannot read what it has stored: " + _said(damage)}
    except Exception:
        # Left to itself, it would end the server, and the repository would have to be opened again.
        found = {b"failed": traceback.format_exc().encode("utf-8", "replace")}
    # A channel of its own: whatever hg or a filter has printed meanwhile is none of the answer.
    answers = commandserver.channeledoutput(ui.fout.out, CHANNEL)
    answers.write(frame(found))
    answers.flush()
    return 0


def _said(problem: BaseException) -> bytes:
    return f"{problem}".encode("utf-8", "replace")[:500]


def _identity(repo: Any, _question: Fields) -> Answer:
    ui = repo.ui
    return {
        b"hg": util.version(),
        b"python": sys.version.split()[0].encode(),
        b"extensions": sorted(name for name, _ in extensions.extensions()),
        b"config": _config_files(repo),
        b"requirements": sorted(repo.requirements),
        b"user": _username(ui),
    }


def _username(ui: Any) -> bytes:
    try:
        return bytes(ui.username(acceptempty=True) or b"")
    except error.Abort:
        return b""


def _config_files(repo: Any) -> list[bytes]:
    """Return the files that the configuration came from, and those of the repository that may yet appear.

    Besides them, what says where the store is and what it needs, which `hg unshare` and an upgrade change.
    """
    sources = (repo.ui.configsource(section, name) for section, name, _ in repo.ui.walkconfig())
    named = {source.rpartition(b":")[0] for source in sources}
    own = {repo.vfs.join(name) for name in (b"hgrc", b"hgrc-not-shared", b"requires", b"sharedpath")}
    own.add(repo.svfs.join(b"requires"))
    return sorted(own | {name for name in named if name.startswith(b"/")})


def _standing(repo: Any, _question: Fields) -> Answer:
    return standing(repo)


def _status(repo: Any, question: Fields) -> Answer:
    refuse_subrepositories(repo)
    paths = question.texts(b"paths") if b"paths" in question else None
    return looking.status(repo, paths, ignored=bool(question.number(b"ignored")))


def _contents(repo: Any, question: Fields) -> Answer:
    return looking.contents(repo, _node(repo, question), question.texts(b"paths"))


def _manifest(repo: Any, question: Fields) -> Answer:
    return looking.manifest(repo, _node(repo, question))


def _difference(repo: Any, question: Fields) -> Answer:
    return looking.difference(repo, question.text(b"old"), question.text(b"new"))


def _node(repo: Any, question: Fields) -> bytes:
    return question.text(b"node") if b"node" in question else bytes(repo.dirstate.p1())


def _selftest(repo: Any, _question: Fields) -> Answer:
    built, committed = selftest.differing_nodes(repo)
    return {b"built": built, b"committed": committed}


_ANSWERS: dict[bytes, Callable[[Any, Fields], Answer]] = {
    b"identity": _identity,
    b"standing": _standing,
    b"status": _status,
    b"contents": _contents,
    b"manifest": _manifest,
    b"difference": _difference,
    b"selftest": _selftest,
    **exchanging.ANSWERS,
    **changing.ANSWERS,
    **observing.ANSWERS,
}

registrar.command(cmdtable)(COMMAND, [], b"")(answer)
cmdtable.update(hubbing.cmdtable)

__all__ = ["cmdtable", "uisetup"]
