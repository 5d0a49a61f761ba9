"""``autosync demo``: three devices on one machine, to see what happens."""
