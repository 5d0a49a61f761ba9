"""Mercurial: our process's side of it; what touches Mercurial itself runs in hg's process (``hgext``)."""

from autosync.backends.hg.backend import HgBackend, open_hg

__all__ = ["HgBackend", "open_hg"]
