"""Tests of the extensions that any user of Mercurial can load."""
