"""``autosync doctor``: examines all that syncing depends on, and says which line mends what it finds."""
