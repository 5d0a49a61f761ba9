"""autosync keeps git and Mercurial working copies equal on several devices."""

__version__ = "0.1.0"
