"""The documents tell the truth: the example loads, the commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from autosync.cli.main import SECTIONS, autosync
from autosync.config import DEFAULT_IGNORES, Config, PathConfig, parse
from autosync.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/.autosync-example"
DOCUMENTS = sorted({ROOT / "README.md", *ROOT.glob("docs/**/*.md")})
ENVIRON = {"HOME": "/home/you"}


def example() -> Config:
    return parse(EXAMPLE.read_text(encoding="utf-8"), "/example", ENVIRON)


def test_the_example_loads() -> None:
    config = example()
    assert (config.device, config.paths[0].path) == ("laptop", "/home/you/notes")
    assert config.xmpp is not None


def test_the_example_shows_every_key() -> None:
    shown = set(re.findall(r"^[ #-]*([a-z][a-z-]*):", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))
    # The keys that the reader knows are those it suggests for a nonsense one.
    known: set[str] = set()
    for text in (
        "zzzzzz: 1",
        "xmpp: {jid: a@b, password: p, zzzzzz: 1}",
        "popups: {zzzzzz: 1}",
        "paths: [{path: /a, workspace: a, key-file: /k, zzzzzz: 1}]",
        "paths: [{path: /a, workspace: a, key-file: /k, history: {zzzzzz: 1}}]",
        "paths: [{path: /a, workspace: a, key-file: /k, brakes: {zzzzzz: 1}}]",
        "paths: [{path: /a, workspace: a, key-file: /k, backend: command, commands: {zzzzzz: 1}}]",
    ):
        with pytest.raises(ConfigError, match="unknown key") as caught:
            parse(text, "/c", ENVIRON)
        known.update(caught.value.hint.rpartition("are: ")[2].rstrip(".").split(", "))
    assert len(known) > 25
    assert known - shown == set()


def test_the_example_shows_the_defaults() -> None:
    shown = example().paths[0]
    default = PathConfig(path=shown.path, workspace=shown.workspace, key_file=shown.key_file)
    different = {name for name in PathConfig.__slots__ if getattr(shown, name) != getattr(default, name)}
    assert different == {"remote", "ignore"}
    assert shown.ignore == (*DEFAULT_IGNORES, "*.iso", "/build/")


def documented_commands() -> list[tuple[str, list[str]]]:
    """Return each command line of `autosync` and of `make` in the documents, with the document's name."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(?:sh|console|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
        lines += re.findall(r"(?<!`)`((?:autosync|make) [^`\n]+)`(?!`)", text)
        for line in lines:
            if re.match(r"(autosync|make) ", line):
                found.append((document.name, shlex.split(re.sub(r"\s+#.*", "", line))))
    return found


def test_the_readme_shows_the_way_in() -> None:
    shown = {shlex.join(command) for document, command in documented_commands() if document == "README.md"}
    assert {"make run", "make test", "autosync run", "autosync sync --wait"} <= shown


def test_the_readmes_configuration_is_right() -> None:
    blocks = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    configs = [parse(block, "README.md", ENVIRON) for block in blocks]
    assert any(config.xmpp for config in configs)
    assert any(config.paths for config in configs)


def test_documented_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document, (program, *arguments) in documented_commands():
        if program == "make":
            assert set(arguments) <= targets, f"{document}: make {' '.join(arguments)}"
        else:
            refuse_unknown(document, arguments)


def refuse_unknown(document: str, arguments: list[str]) -> None:
    """Assert that a command line is one that click would parse; nothing is run."""
    context = click.Context(autosync)
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option = next((p for p in autosync.params if rest[0] in p.opts), None)
        assert isinstance(option, click.Option) or rest[0] in ("-h", "--help"), f"{document}: {rest[0]}"
        rest = rest[1 if option is None or option.is_flag else 2 :]
    if not rest:
        return
    command = autosync.get_command(context, rest[0])
    assert command is not None, f"{document}: autosync {shlex.join(arguments)}"
    while isinstance(command, click.Group) and rest[1:] and not rest[1].startswith("-"):
        rest = rest[1:]
        command = command.get_command(context, rest[0])
        assert command is not None, f"{document}: autosync {shlex.join(arguments)}"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = {word.partition("=")[0] for word in rest[1:] if word.startswith("-") and word != "--"}
    assert options <= known | {"-h", "--help"}, f"{document}: autosync {shlex.join(arguments)}"


def test_every_command_and_option_explains_itself() -> None:
    context = click.Context(autosync, info_name="autosync")
    for commands in SECTIONS.values():
        for name in commands:
            command = autosync.get_command(context, name)
            assert command is not None
            assert_explains_itself(command, name)
            for below in command.commands.values() if isinstance(command, click.Group) else ():
                assert_explains_itself(below, f"{name} {below.name}")


def assert_explains_itself(command: click.Command, name: str) -> None:
    assert command.help
    assert command.epilog is not None
    assert command.epilog.startswith(f"Example: autosync {name}")
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


def test_the_tests_that_documents_name_exist() -> None:
    named = [
        (document.name, *match)
        for document in DOCUMENTS
        for match in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", document.read_text(encoding="utf-8"))
    ]
    assert len(named) > 20
    for document, file, function in named:
        path = ROOT / file
        assert path.is_file(), f"{document}: {file}"
        if function:
            assert re.search(rf"^(?:async )?def {function}\(", path.read_text(encoding="utf-8"), re.MULTILINE), (
                f"{document}: {file}::{function}"
            )


def test_the_architecture_says_what_each_module_is_for() -> None:
    package = ROOT / "autosync"
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Where to find what")[2].partition("## ")[0]
    named: set[Path] = set()
    for row in table.splitlines():
        folder = package
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", row):
            folder = folder if "/" not in name else (package / name).parent if name.endswith(".py") else package / name
            found = package / name if "/" in name else folder / name
            found = found if found.exists() else package / name  # a name without folder: beside the last, or on top
            assert found.exists(), f"{row}: {name}"
            named.add(found)
    modules = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    assert [str(m) for m in modules if not named & {m, *m.parents}] == []


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
