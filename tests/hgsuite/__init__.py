"""Mercurial's own test suite, run with an extension of ours on every repository: ``python -m tests.hgsuite --help``."""
