"""Names the user's operations and the files below ``.hg`` that show them (hg help internals has no such list)."""

from __future__ import annotations

OPERATIONS = (
    (b"rebasestate", b"a rebase is in progress"),
    (b"histedit-state", b"a histedit is in progress"),
    (b"graftstate", b"a graft is in progress"),
    (b"shelvedstate", b"an unshelve is in progress"),
    (b"transplant/journal", b"a transplant is in progress"),
    (b"evolvestate", b"an evolve is in progress"),
    (b"pickstate", b"a pick is in progress"),
    (b"bisect.state", b"a bisect is in progress"),
)
"""Looked for by ourselves: only the extensions that make them tell hg of them, and those are not loaded."""

UPDATE = b"updatestate"
"""Written before an update changes the first file, deleted after the last one."""
INTERRUPTED = b"an update was interrupted (`hg update` ends it)"
MERGING = b"a merge is in progress"
UNRESOLVED = b"a merge has unresolved files"
UNKNOWN_MERGE = b"a merge of a newer hg is in progress"
BROKEN = b"a transaction was interrupted (`hg recover` ends it)"
BROKEN_ELSEWHERE = b"a transaction of another working copy of this store was interrupted (`hg recover` there ends it)"
