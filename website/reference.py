"""Makes the reference pages of the documentation site from the code, and lets links into the source tree work there."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from autosync.cli.main import SECTIONS, autosync
from autosync.cli.manpage import ENVIRONMENT, EXITS, FILES

_TOP = Path(__file__).parents[1]
_EXAMPLES = (".autosync-example", "fossil.yaml")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions by their numbers."""
    assert config.nav is not None  # noqa: S101  (mkdocs.yml has one)
    decisions = sorted(Path(config.docs_dir, "adr").glob("*.md"))
    config.nav[-1]["Decisions"] = [path.relative_to(config.docs_dir).as_posix() for path in decisions]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the code, and the examples that pages lead to."""
    for name, content in (("commands", commands()), ("configuration", configuration()), ("exit-codes", exit_codes())):
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    for name in _EXAMPLES:
        published = name.removeprefix(".") + (".yaml" if name.startswith(".") else "")
        files.append(File.generated(config, f"examples/{published}", content=(_TOP / "examples" / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links into the source tree lead to what the site has of it."""
    del page
    return markdown.replace("](../examples/.autosync-example", "](examples/autosync-example.yaml").replace(
        "](../examples/", "](examples/"
    )


def commands() -> str:
    """Return the page of all commands: what ``--help`` says of each."""
    context = click.Context(autosync, info_name="autosync")
    lines = ["# Commands", "", f"{autosync.help}", "", *_options(autosync, context)]
    for section, names in SECTIONS.items():
        lines += ["", f"## {section}"]
        for name in names:
            command = autosync.get_command(context, name)
            assert command is not None  # noqa: S101  (of our own table)
            lines += ["", *_command(command, click.Context(command, info_name=name, parent=context))]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join(["autosync", str(context.info_name), *command.collect_usage_pieces(context)])
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    return [f"### {context.info_name}", "", "```text", usage, "```", "", text, "", *_options(command, context)]


def _options(command: click.Command, context: click.Context) -> list[str]:
    rows = [row for p in command.get_params(context) if (row := p.get_help_record(context))]
    lines = ["| Option | |", "|---|---|", *(f"| `{name}` | {_cell(told)} |" for name, told in rows)]
    return [*lines, "", *([command.epilog] if command.epilog else [])]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def configuration() -> str:
    """Return the page of the configuration: the example, which explains every key."""
    example = (_TOP / "examples/.autosync-example").read_text(encoding="utf-8")
    return f"# Configuration\n\nEvery key, with its default.\n\n```yaml\n{example}```\n\n{_table('Files', FILES)}"


def exit_codes() -> str:
    """Return the page of exit codes and of the environment."""
    return f"# Exit codes and environment\n\n{_table('Exit codes', EXITS)}\n{_table('Environment', ENVIRONMENT)}"


def _table(heading: str, rows: tuple[tuple[str, str], ...]) -> str:
    body = "".join(f"| `{term}` | {_cell(told)} |\n" for term, told in rows)
    return f"## {heading}\n\n| | |\n|---|---|\n{body}"
