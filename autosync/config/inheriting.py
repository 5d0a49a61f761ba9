"""Takes over what one entry of the configuration says of its working copy for another one of the same store."""

from __future__ import annotations

import yaml

from autosync.config.reading import compose

_OWN = frozenset({"path", "workspace", "key-file", "backend", "remote"})
"""What each working copy has for itself, or is told in another way."""
_NOT_MEANT = frozenset({"mode", "on-update"})
"""Meant for the one folder: who else is there in the new workspace, and what is run there, is not said by them."""


def inheritable(text: str, source: str, index: int) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return keys with their values as YAML in one line, and the keys that are not taken over.

    They are those of entry ``index`` of ``paths`` in the configuration ``text``.  Raises :class:`ConfigError`.
    """
    root = compose(text, source)
    entry = _entries(root)[index]
    kept, left = [], []
    for name, value in entry.value:
        if (name.value, value.value) == ("mode", "two-way"):
            continue
        if name.value in _NOT_MEANT:
            left.append(str(name.value))
        elif name.value not in _OWN:
            kept.append((str(name.value), _in_one_line(value)))
    return tuple(kept), tuple(left)


def _entries(root: yaml.Node | None) -> list[yaml.MappingNode]:
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  (it was parsed)
    paths = next(value for name, value in root.value if name.value == "paths")
    return list(paths.value)


def _in_one_line(node: yaml.Node) -> str:
    for child in _all(node):
        if isinstance(child, yaml.CollectionNode):
            child.flow_style = True
        elif isinstance(child, yaml.ScalarNode) and child.style in ("|", ">"):
            child.style = '"'
    # In a line of its own a scalar ends with the end of a document.
    return yaml.serialize(node, width=float("inf"), allow_unicode=True).removesuffix("...\n").strip()


def _all(node: yaml.Node) -> list[yaml.Node]:
    found = [node]
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        for part in child if isinstance(child, tuple) else (child,):
            found += _all(part)
    return found
