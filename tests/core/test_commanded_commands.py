"""The argument lists that configured commands become."""

from __future__ import annotations

from autosync.core.commanded.commands import BATCH, Action, Commands
from autosync.core.model import RelPath

COMMANDS = Commands(
    steps={
        Action.ADD: (("vcs", "add", "{path}"), ("vcs", "seen")),
        Action.REMOVE: (("vcs", "rm", "{paths}", "--quiet"),),
        Action.MOVE: (("vcs", "mv", "{old}", "{new}"),),
        Action.COMMIT: (("vcs", "commit", "-m", "{message}"),),
        Action.PUSH: (),
    }
)
ODD = [RelPath(b"-rf"), RelPath(b"a b"), RelPath(b'it\'s "$(x)"\n'), RelPath(b"d/-x"), RelPath(b"\xff")]
ODD_ARGUMENTS = ("./-rf", "a b", 'it\'s "$(x)"\n', "d/-x", "\udcff")


def test_what_is_not_configured_is_not_there() -> None:
    assert [a for a in Action if COMMANDS.has(a)] == [Action.ADD, Action.REMOVE, Action.MOVE, Action.COMMIT]
    assert COMMANDS.plain(Action.PULL) == ()


def test_a_message_is_one_argument() -> None:
    assert COMMANDS.commit("two\nlines; rm -rf {path}") == (("vcs", "commit", "-m", "two\nlines; rm -rf {path}"),)


def test_each_path_is_one_argument_and_never_an_option() -> None:
    seen = ("vcs", "seen")
    assert COMMANDS.about(Action.ADD, ODD) == (*(("vcs", "add", a) for a in ODD_ARGUMENTS), seen)
    assert COMMANDS.about(Action.REMOVE, ODD) == (("vcs", "rm", *ODD_ARGUMENTS, "--quiet"),)
    assert COMMANDS.move(ODD[0], ODD[4]) == (("vcs", "mv", "./-rf", "\udcff"),)


def test_nothing_is_run_for_no_path() -> None:
    assert COMMANDS.about(Action.ADD, []) == ()


def test_many_paths_are_several_runs() -> None:
    paths = [RelPath(b"%07d" % n) for n in range(BATCH // 5)]
    runs = COMMANDS.about(Action.REMOVE, paths)
    assert len(runs) == 3
    assert [word for run in runs for word in run[2:-1]] == [path.decode() for path in paths]
    assert all(sum(map(len, run)) < 2 * BATCH for run in runs)
