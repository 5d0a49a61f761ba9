"""The pure part of autosync: no clock, no I/O, no third-party module."""
