"""Makes each copy light that can be, of whatever size, and counts them (EXPERIMENTAL)

One line with the name of the test goes to the file that $SUITE_LIGHT names, for each chunk that is made.
"""

import os

from mercurial import extensions

testedwith = b"6.3 6.9 7.2"


def extsetup(ui):
    """Take the sizes out of what decides, and count in what packs."""
    writing = extensions.find(b"lwcopy").writing
    if hasattr(writing, "suite_packs"):
        return
    writing.suite_packs = writing.pack
    writing._SMALLEST = 0
    writing.is_worth = lambda *_: True
    writing.pack = _counted


def _counted(light):
    chunk = extensions.find(b"lwcopy").writing.suite_packs(light)
    if chunk is not None and "SUITE_LIGHT" in os.environ:
        with open(os.environ["SUITE_LIGHT"], "a") as file:
            file.write(os.environ.get("TESTNAME", "?") + "\n")
    return chunk
