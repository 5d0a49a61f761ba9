"""Conflicts: which there are, who is told, and how one is finished."""
