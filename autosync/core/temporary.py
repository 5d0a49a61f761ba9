"""The names that programs give to files which are not meant to last."""

from __future__ import annotations

DEFAULT_IGNORES: tuple[str, ...] = (
    # vim: swap files and what it tries for them (memline.c); 4913 is made and deleted to learn
    # whether the directory can be written (bufwrite.c).  nano's lock looks like a swap file.
    ".*.sw[a-px]",
    ".*.sw[a-p]x",
    "4913",
    # Emacs: the lock is a dangling symlink, the auto-save a copy of the unsaved buffer.
    ".#*",
    "\\#*#",
    # LibreOffice: who has it open, and the file that will replace the document.
    ".~lock.*#",
    "lu[0-9]*.tmp",
    # Microsoft Office on a share: who has it open.
    "~$*",
    # GLib's g_file_replace, which gedit and most GNOME programs save with.
    ".goutputstream-*",
    # Kate and KDevelop.
    "*.kate-swp",
    # JetBrains' "safe write".
    "*___jb_tmp___",
    "*___jb_old___",
    # Firefox' and Chromium's downloads have names of their own until they are complete; ".part" is
    # not here since people use it for their own files.
    "*.crdownload",
    # What NFS and FUSE leave of a file that was deleted while it was open.
    ".nfs????????????????*",
    ".fuse_hidden*",
)
"""gitignore(5) patterns that are added to the user's own unless the configuration replaces them.

Only names that nobody gives by hand: a pattern that met a file of the user would keep it from
his other devices without a word.  ``*~`` is left out for that reason (it is a backup that its
owner asked for); it is short-lived with vim's default settings and is over before it is looked at.
"""
