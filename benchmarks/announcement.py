"""What signing and checking one announcement costs: ``python -m benchmarks.announcement [--rounds 200] [--times 10]``.

The quickest round counts: nothing but other programs makes a round slower.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections.abc import Callable

from autosync.trust.identity import load_or_create_identity
from autosync.trust.sealing import WorkspaceKey
from autosync.trust.signing import key_of, public_key, verify

BYTES = 1200
"""Of an announcement with a small snapshot in it."""
PURPOSE = b"announcement in " + bytes(16)


def quickest_ms(work: Callable[[], object], *, rounds: int, times: int) -> float:
    """Return the milliseconds of one call of ``work`` in the quickest of the rounds."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(times):
            work()
        took.append((time.perf_counter() - began) / times * 1000)
    return min(took)


def main() -> int:
    """Print one line for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--times", type=int, default=10)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        identity = load_or_create_identity(directory)
    key, said = WorkspaceKey(secrets.token_bytes(32)), secrets.token_bytes(BYTES)
    device, certificate = identity.device_id("laptop"), identity.certificate_der
    signature = identity.sign(said, purpose=PURPOSE)
    sealed = key.seal(said + signature, context=b"announcement")
    theirs = key_of(device, certificate)

    def read_certificate() -> None:
        public_key.cache_clear()
        public_key(certificate)

    steps: dict[str, Callable[[], object]] = {
        "sign": lambda: identity.sign(said, purpose=PURPOSE),
        "seal": lambda: key.seal(said + signature, context=b"announcement"),
        "open the seal": lambda: key.open(sealed, context=b"announcement"),
        "read a certificate": read_certificate,
        "check an id": lambda: key_of(device, certificate),
        "check a signature": lambda: verify(theirs, signature, said, purpose=PURPOSE),
    }
    for name, work in steps.items():
        print(f"{name:20}{quickest_ms(work, rounds=chosen.rounds, times=chosen.times):8.3f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
