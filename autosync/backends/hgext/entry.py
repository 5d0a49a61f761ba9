"""What hg loads as the extension ``autosync``: it makes the package beside it known in hg's process."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

PACKAGE = "autosync_hgext"
"""Not ``autosync.backends``: the user's hg may run a Python that has no autosync."""


def _load(directory: str) -> None:
    if PACKAGE in sys.modules:
        return
    place = os.path.join(directory, "__init__.py")
    spec = importlib.util.spec_from_file_location(PACKAGE, place, submodule_search_locations=[directory])
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


_load(os.path.dirname(os.path.abspath(__file__)))
_serving = importlib.import_module(f"{PACKAGE}.serving")

cmdtable = _serving.cmdtable
uisetup = _serving.uisetup
testedwith = b"6.3 6.9 7.2"
