"""store copies and renames as small deltas to what they were copied from

A file that is copied or renamed is usually stored anew, in full. In a
repository with light-weight copies only the difference to its source is
stored, often nothing but the note where it came from. Hashes, commands and what
is exchanged with others stay as they are.

A new repository gets them with::

  hg init --config format.lwcopy=yes NAME

and an existing one with::

  hg lwcopy --on

``hg lwcopy`` lists what they save, and ``hg lwcopy --off`` stores everything in
full again. Only Mercurial with this extension can open such a repository
directly; clone, pull and push work with any other one.
"""

from __future__ import annotations

import weakref
from typing import Any

from mercurial import error, extensions, localrepo, registrar, repair, revlog
from mercurial.i18n import _

from . import arriving, guarding, listing, reading, streaming, switching, upgrading, versions, writing
from .chunk import HEADER
from .requirement import REQUIREMENT, is_light

testedwith = b"6.3 6.9 7.2"
minimumhgversion = b"6.3"

configtable: dict[bytes, Any] = {}
configitem = registrar.configitem(configtable)
configitem(b"format", b"lwcopy", default=False)
cmdtable: dict[bytes, Any] = {}
command = registrar.command(cmdtable)


def uisetup(_ui: Any) -> None:
    """Put ours into hg, once in a process."""
    localrepo.featuresetupfuncs.add(_supported)
    if getattr(revlog, "_lwcopy", False):
        return
    revlog._lwcopy = True
    versions.wrap(writing.finding, writing.adding, _expanding, _opening, _handing)
    arriving.wrap()
    streaming.wrap()
    versions.wrap_options(_options)
    versions.wrap_new_requirements(_new_requirements)
    extensions.wrapfunction(repair, "strip", guarding.stripping)
    extensions.wrapfunction(revlog.revlog, "censorrevision", guarding.censoring)
    upgrading.install()


def reposetup(_ui: Any, repo: Any) -> None:
    """See that revlogs are read by hg's Python, where it was built with Rust: Rust knows no chunk of ours."""
    if repo.local() and REQUIREMENT in repo.requirements:
        repo.svfs.rust_compatible = False
        repo.svfs.options[guarding.REPOSITORY] = weakref.ref(repo.unfiltered())


@command(  # type: ignore[untyped-decorator]  # Mercurial is Any
    b"lwcopy",
    [
        (b"", b"on", None, _(b"store copies light from now on, and those that are here")),
        (b"", b"off", None, _(b"store all copies in full again, so that any hg can open the repository")),
        (b"T", b"template", b"", _(b"display with template"), _(b"TEMPLATE")),
    ],
    _(b"hg lwcopy [--on | --off]"),
    helpcategory=command.CATEGORY_MAINTENANCE,
)
def lwcopy(ui: Any, repo: Any, **opts: Any) -> None:
    """show what light-weight copies save, or turn them on or off

    Without an option, how many copies are stored light is shown, and how many
    bytes that saves.

    ``--on`` and ``--off`` change nothing but how copies are stored: no hash, no
    file, no changeset. Both can be interrupted: then :hg:`recover` brings back
    what was there before. Who reads the repository in the very moment that a
    file of the store is exchanged may be told that it is damaged, and has to
    look again.

    Shares of the repository that are not share-safe have to be made anew
    afterwards (see :hg:`help config.format.use-share-safe`).
    """
    unfiltered = repo.unfiltered()
    if opts["on"] and opts["off"]:
        raise error.InputError(_(b"cannot specify both --on and --off"))
    if opts["on"]:
        ui.status(_(b"%d copies became light\n") % switching.turn_on(ui, unfiltered))
    elif opts["off"]:
        ui.status(_(b"%d copies are stored in full again\n") % switching.turn_off(ui, unfiltered))
    else:
        template = {b"template": opts["template"]}
        listing.show(unfiltered, ui.formatter(b"lwcopy", template))


def _supported(_ui: Any, supported: set[bytes]) -> None:
    supported.add(REQUIREMENT)


def _new_requirements(orig: Any, ui: Any, createopts: Any) -> Any:
    requirements = orig(ui, createopts)
    if ui.configbool(b"format", b"lwcopy") and is_light(requirements | {REQUIREMENT}):
        requirements.add(REQUIREMENT)
    return requirements


def _options(orig: Any, ui: Any, requirements: Any, features: Any) -> Any:
    options = orig(ui, requirements, features)
    if is_light(requirements):
        options[writing.OPTION] = True
    return options


def _expanding(orig: Any, storage: Any, header: bytes) -> Any:
    return reading.Expander(storage) if header == HEADER else orig(storage, header)


def _opening(orig: Any, log: Any, *more: Any, **named: Any) -> Any:
    found = orig(log, *more, **named)
    versions.storage(log)._lwcopy_pending = versions.is_pending(log)
    return found


def _handing(orig: Any, log: Any, rev: int) -> Any:
    """Hand out what hg itself would have stored: others, and other repositories, cannot read ours."""
    if not versions.raw_chunk(log, rev).startswith(HEADER):
        return orig(log, rev)
    return versions.split_compression(versions.compressed(log, versions.chunk_text(log, rev)))
