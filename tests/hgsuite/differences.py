"""Tells which differences of a test's output an extension of ours is expected to make."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_NAME = r"(?:[\w.]+-)*lwcopy(?:[-.]\w+)*"
_LISTED = re.compile(rf"(?:, |,|%2C){_NAME}\b|(?:\b|(?<=%3D)){_NAME}(?:, |,|%2C)")
_ALONE = re.compile(rf"\s*{_NAME}\s*$")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_OPTIONAL = re.compile(r" \((?:[\w.\- ]+ !|\?)\)$")
"""What a line of a test ends with that is printed only here or there."""
_GLOB = " (glob)"
_ON_DISK = re.compile(
    r"\b(debug-?(revlog|index|delta|chain|revlogindex|format|-?segments)|debug\w*streamclonebundle"
    r"|f --size|f -|ls -l|stat|wc -c|du |size)"
)
_LISTS_EXTENSIONS = re.compile(r"\bhg (help|config|showconfig|version|debugextensions|debugconfig|-h|--help)\b|\bhg$")
_LOADED = re.compile(r"\b(lwcopy|forcing)\b|> callbacks completed in")
_LISTS_REQUIREMENTS = re.compile(r"\brequires\b|\bdebug(require|bundle|upgraderepo)")


@dataclass(frozen=True, slots=True)
class Difference:
    """What a command printed in place of what was expected, whole."""

    command: str
    expected: tuple[str, ...]
    got: tuple[str, ...]

    def __str__(self) -> str:
        lines = [self.command]
        for kind, first, last, first_got, last_got in _steps(self.expected, self.got):
            if kind != "equal":
                lines += [f"-{line}" for line in self.expected[first:last]]
                lines += [f"+{line}" for line in self.got[first_got:last_got]]
        return "".join(f"{line}\n" for line in lines)


def differences(expected: Sequence[str], got: Sequence[str]) -> Iterator[Difference]:
    """Yield what differs between the lines of a test (.t), command by command, and those that came out."""
    wanted, came = list(_blocks(expected)), list(_blocks(got))
    if [command for command, _lines in wanted] != [command for command, _lines in came]:
        yield Difference("", tuple(expected), tuple(got))
        return
    for (command, lines), (_same, lines_got) in zip(wanted, came, strict=True):
        if lines != lines_got:
            yield Difference(command, lines, lines_got)


def explanation(difference: Difference) -> str | None:
    """Return the class of an expected difference; ``None``: it is none."""
    return next((name for name, holds in CLASSES.items() if holds(difference)), None)


def judge(expected: Sequence[str], got: Sequence[str]) -> tuple[Counter[str], str]:
    """Return how many differences each class explains, and those that none does, as text."""
    explained: Counter[str] = Counter()
    rest = []
    for difference in differences(expected, got):
        name = explanation(difference)
        if name is None:
            rest.append(str(difference))
        else:
            explained[name] += 1
    return explained, "".join(rest)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each command (more lines begin with ``>``) with what follows it; first what stands before all."""
    command: list[str] = []
    output: list[str] = []
    for line in lines:
        if line.startswith("  $ ") or (line.startswith("  > ") and command and not output):
            if line.startswith("  $ "):
                yield "\n".join(command), tuple(output)
                command, output = [], []
            command.append(line)
        else:
            output.append(line)
    yield "\n".join(command), tuple(output)


def _steps(expected: Sequence[str], got: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    return difflib.SequenceMatcher(None, expected, got, autojunk=False).get_opcodes()


def _without_the_name(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(_LISTED.sub("", line) for line in lines if not _ALONE.match(line))


def _is_requirement(difference: Difference) -> bool:
    rest = _without_the_name(difference.got)
    if rest == difference.got:
        return False
    if rest == difference.expected:
        return True
    # run-tests.py no longer knows which optional lines were printed where another one fails to match.
    printed = {_OPTIONAL.sub("", line) for line in rest}
    always = {line for line in difference.expected if not _OPTIONAL.search(line)}
    known = {_OPTIONAL.sub("", line) for line in difference.expected}
    return always <= printed <= known and _LISTS_REQUIREMENTS.search(difference.command) is not None


def _is_size(difference: Difference) -> bool:
    # Optional lines that were not printed are handed through.
    idle = {line for line in difference.got if _OPTIONAL.search(line)}.intersection(difference.expected)
    got = [line for line in _without_the_name(difference.got) if line not in idle]
    expected = [line for line in difference.expected if line not in idle]
    same = len(got) == len(expected) and all(map(_has_shape, expected, got))
    return same and _ON_DISK.search(difference.command) is not None


def _has_shape(expected: str, got: str) -> bool:
    """Return whether a line is the one expected, but for its numbers."""
    if got == expected:
        return True
    text = _OPTIONAL.sub("", expected)
    pattern = " ".join(_NUMBER.sub("0", text.removesuffix(_GLOB)).split())
    line = " ".join(_NUMBER.sub("0", _OPTIONAL.sub("", got)).split())
    return fnmatchcase(line, pattern.replace("[", "[[]")) if text.endswith(_GLOB) else line == pattern


def _lists_extension(difference: Difference) -> bool:
    """Return whether more lines than expected are all there is, where extensions or settings are listed."""
    got = iter(difference.got)
    nothing_lost = all(line in got for line in difference.expected if not _OPTIONAL.search(line))
    named = any("lwcopy" in line for line in difference.got)
    return nothing_lost and named and _LISTS_EXTENSIONS.search(difference.command) is not None


def _is_loading(difference: Difference) -> bool:
    """Return whether two extensions more are loaded, where Mercurial tells how it does that."""
    if "devel.debug.extensions" not in difference.command:
        return False
    got, expected = (
        [line for line in lines if not _LOADED.search(line)] for lines in (difference.got, difference.expected)
    )
    return len(got) == len(expected) and all(map(_has_shape, expected, got))


def _is_race(difference: Difference) -> bool:
    """Return whether two programs of one pipe complained of a missing file, the second before the first."""
    same = sorted(difference.got) == sorted(difference.expected)
    return same and " | " in difference.command and any("$ENOENT$" in line for line in difference.got)


CLASSES: dict[str, Callable[[Difference], bool]] = {
    "the requirement is listed": _is_requirement,
    "sizes on disk": _is_size,
    "extensions and config are listed": _lists_extension,
    "the loading of extensions is told": _is_loading,
    "errors of two programs at once": _is_race,
}
"""The classes of differences that are expected in any test."""
