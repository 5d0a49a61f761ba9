"""Lets ``python -m autosync`` do what ``autosync`` does."""

import sys

from autosync.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
