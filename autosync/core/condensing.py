"""Makes announcements short for their way: deflated, beginning from what nearly all of them say."""

from __future__ import annotations

import zlib

from autosync.core.announcement import MAX_ENCODED

_RAW = -15
"""Deflate without header and checksum (RFC 1951): the seal around it tells more than a checksum could."""

# What is nearest to the end costs least to refer to.  The bytes are part of the form: whoever changes
# them changes what can be read.
_COMMON = (
    # An autosync certificate (DER) without its number, key and signature.
    bytes.fromhex(
        "3082013a3081e0a00302010202143082013930300a06082a8648ce3d040302301331"
        "11300f06035504030c086175746f73796e633020170d3730303130313030303030305a180f3939393931323331323335"
        "3935395a30133111300f06035504030c086175746f73796e633059301306072a8648ce3d020106082a8648ce3d0301070"
        "3420004a310300e300c0603551d130101ff04023000300a06082a8648ce3d04030203480030450220022100034700304402200220"
        "034900304602210002210050"
    )
    + b'"remote":"https://git@refs/heads/main","state":"hello","state":"stopped","state":"paused","state":"halted"'
    b'"branch":null,"tree":null,"commit":null,"snapshot":null,"on-hub":true,"store":"0123456789abcdef"'
    b'desktop-laptop-server-["public","["ssh","["xmpp","["lan","127.0.0.1:["lan","10.0.0.["lan","192.168.'
    b'["lan","[fe80::["lan","[2001:["lan","[fd00:'
    b'{"v":2,"device":"laptop-","name":"laptop","seq":179,"state":"ok","snapshot":"","tree":"","commit":"",'
    b'"branch":"refs/heads/master","branch":"refs/heads/main","version":{"},"candidates":[["lan","'
    b'"]],"on-hub":false,"sent-at":179,"certificate":317,"certificate":318,"inline":0}'
)


def condense(encoded: bytes) -> bytes:
    """Return an encoded announcement in fewer bytes, as a rule; :func:`expand` gives it back."""
    deflate = zlib.compressobj(level=9, wbits=_RAW, zdict=_COMMON)
    return deflate.compress(encoded) + deflate.flush()


def expand(condensed: bytes) -> bytes:
    """Return what :func:`condense` was given.

    Raises :class:`ValueError` if it is nothing of the kind, or longer than any announcement.
    """
    inflate = zlib.decompressobj(wbits=_RAW, zdict=_COMMON)
    try:
        encoded = inflate.decompress(condensed, MAX_ENCODED + 1)
    except zlib.error:
        raise ValueError("announcement cannot be expanded") from None
    if len(encoded) > MAX_ENCODED:
        raise ValueError(f"announcement of more than {MAX_ENCODED} bytes is too large")
    if not inflate.eof or inflate.unused_data:
        raise ValueError("announcement is cut short, or more follows it")
    return encoded
