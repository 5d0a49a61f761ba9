"""Mercurial: our process's side of it; what touches Mercurial itself runs in hg's process (``hgext``)."""
