"""The architecture that setup.cfg states is the one that the code has."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_layers_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_library_of_xmpp_is_loaded_for_an_account_only() -> None:
    """It takes a quarter of an agent's start, and of its memory, wherever nobody has configured one."""
    loaded = (
        "import sys, autosync.lifetime, autosync.cli.main; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "'autosync'" in done.stdout
    assert "'slixmpp'" not in done.stdout
