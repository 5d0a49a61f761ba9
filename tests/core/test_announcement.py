"""The announcement codec: what goes in comes out, and nothing else comes in."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.announcement import MAX_ENCODED, ReplayGuard, decode, encode, fits
from autosync.core.candidates import Candidate, CandidateKind, on_lan
from autosync.core.events import Announcement
from autosync.core.model import Base, CommitId, DeviceId, SnapshotId, TreeId, Version
from autosync.core.moments import LAST_MS

PLAIN = Announcement(
    device=DeviceId("laptop-0a1b2c3d"),
    name="laptop",
    seq=7,
    state="ok",
    snapshot=SnapshotId("a" * 40),
    tree=TreeId("b" * 64),
    base=Base(commit=CommitId("c" * 40), branch="refs/heads/main"),
    version=Version.of({DeviceId("laptop-0a1b2c3d"): 3, DeviceId("desktop-00000000"): 9}),
    candidates=(
        *on_lan(["192.168.1.5:4711", "[fe80::1]:4711"]),
        Candidate(kind=CandidateKind.SSH, address="ann@box.example.org:2222/4711"),
    ),
    certificate=b"\x30\x82cert",
    on_hub=True,
    inline=b"PACK\0\0\0\2",
    sent_at_ms=1_790_000_000_000,
)


def branch_name(raw: bytes) -> str:
    """Return a full branch name with these bytes in it, as Python spells file names."""
    return "refs/heads/" + raw.translate(None, bytes([*range(32), 127])).decode("utf-8", "surrogateescape")


devices = st.from_regex(r"[a-zA-Zäß0-9][a-zA-Z0-9_+ ]{0,20}-[0-9a-f]{8}", fullmatch=True).map(DeviceId)
numbers = st.integers(0, 2**63 - 1)
object_ids = st.text("0123456789abcdef", min_size=40, max_size=40) | st.text(
    "0123456789abcdef", min_size=64, max_size=64
)
announcements = st.builds(
    Announcement,
    device=devices,
    name=st.from_regex(r"[\w .-]{1,40}", fullmatch=True),
    seq=numbers,
    state=st.sampled_from(["ok", "paused", "halted"]),
    snapshot=st.none() | object_ids.map(SnapshotId),
    tree=st.none() | object_ids.map(TreeId),
    base=st.builds(
        Base,
        commit=st.none() | object_ids.map(CommitId),
        branch=st.none() | st.binary(max_size=40).map(branch_name),
    ),
    version=st.dictionaries(devices, st.integers(1, 2**63 - 1), max_size=5).map(Version.of),
    candidates=st.lists(
        st.builds(
            Candidate,
            kind=st.sampled_from([CandidateKind.LAN, CandidateKind.PUBLIC]),
            address=st.sampled_from(["10.0.0.1:1", "[::1]:65535", "box.example.org:4711"]),
        )
        | st.builds(
            Candidate,
            kind=st.just(CandidateKind.SSH),
            address=st.from_regex(r"[a-z]{1,8}@[a-z]{1,8}(:22)?/[1-9][0-9]{0,3}", fullmatch=True),
        )
        | st.builds(
            Candidate,
            kind=st.just(CandidateKind.REFLECTOR),
            address=st.from_regex(r"[a-z]{1,8}:22/[0-9a-f]{32}", fullmatch=True),
        )
        | st.builds(
            Candidate,
            kind=st.just(CandidateKind.XMPP),
            address=st.from_regex(r"[a-zä]{1,8}@[a-z]{1,8}/[a-z0-9]{1,8}", fullmatch=True),
        ),
        max_size=4,
    ).map(tuple),
    certificate=st.binary(max_size=600),
    on_hub=st.booleans(),
    store=st.just("") | st.text("0123456789abcdef", min_size=32, max_size=32),
    remote=st.none() | st.from_regex(r"[\w:/@. -]{0,60}", fullmatch=True),
    inline=st.binary(max_size=3000),
    sent_at_ms=st.integers(0, LAST_MS),
)


@given(announcements)
def test_every_announcement_comes_back_as_it_was(announcement: Announcement) -> None:
    assert decode(encode(announcement)) == announcement


def test_the_inline_pack_is_carried_raw() -> None:
    pack = bytes(range(256)) * 100
    assert len(encode(replace(PLAIN, inline=pack))) - len(encode(replace(PLAIN, inline=b""))) <= len(pack) + 4


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_with_a_reason(noise: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(noise)


@given(
    st.integers(0, 2**32 - 1),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    ),
)
def test_any_json_as_header_is_refused_with_a_reason(length: int, value: object) -> None:
    header = json.dumps(value).encode()
    for claimed in (length, len(header)):
        with pytest.raises(ValueError, match=r"\w"):
            decode(struct.pack(">I", claimed) + header)


@given(announcements, st.data())
def test_a_changed_announcement_is_taken_whole_or_refused(announcement: Announcement, data: st.DataObject) -> None:
    encoded = bytearray(encode(announcement))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                encoded[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del encoded[at : at + data.draw(st.integers(1, 20))]
            case _:
                encoded[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        if not encoded:
            break
    try:
        changed = decode(bytes(encoded))
    except ValueError:
        return
    assert decode(encode(changed)) == changed


def with_header(**fields: Any) -> bytes:
    """Return PLAIN with these header fields instead of its own."""
    encoded = encode(PLAIN)
    (length,) = struct.unpack_from(">I", encoded)
    header = json.loads(encoded[4 : 4 + length]) | {k.replace("_", "-"): v for k, v in fields.items()}
    text = json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text + encoded[4 + length :]


def test_only_who_keeps_a_working_copy_by_commands_tells_a_remote() -> None:
    assert b"remote" not in encode(PLAIN)
    assert b'"remote":""' in encode(replace(PLAIN, remote=""))


def test_unknown_keys_are_ignored() -> None:
    assert decode(with_header(colour="blue")) == PLAIN


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"v": 1}, "format 1 is not known here; this is format 2"),
        ({"v": 3}, "format 3 is not known here; this is format 2"),
        ({"v": True}, "format is not a number"),
        ({"v": "1"}, "format is not a number"),
        ({"remote": 5}, "remote is not a text"),
        ({"remote": "a\x1b[2J"}, "remote is too long or not printable"),
        ({"remote": "x" * 1025}, "remote is too long or not printable"),
        ({"device": 5}, "device is not a text"),
        ({"device": ""}, "device '' is no device id"),
        ({"device": "../../etc"}, "device '../../etc' is no device id"),
        ({"device": "a..b-00000000"}, "is no device id"),
        ({"device": "-x-00000000"}, "is no device id"),
        ({"device": "a/b-00000000"}, "is no device id"),
        ({"device": "a\n-00000000"}, "is no device id"),
        ({"device": "x" * 200}, "is no device id"),
        ({"name": ""}, "name is empty, too long or not printable"),
        ({"name": "a\x1b[31m"}, "name is empty, too long or not printable"),
        ({"name": "\ud800"}, "name is empty, too long or not printable"),
        ({"seq": -1}, "seq is not a number from 0 to"),
        ({"seq": 1.5}, "seq is not a number from 0 to"),
        ({"seq": True}, "seq is not a number from 0 to"),
        ({"seq": 2**63}, "seq is not a number from 0 to"),
        ({"seq": float("inf")}, "seq is not a number from 0 to"),
        ({"state": "rm -rf /"}, "is no state"),
        ({"snapshot": "a" * 39}, "snapshot is not an id of 40 or 64 hex digits"),
        ({"snapshot": "A" * 40}, "snapshot is not an id of 40 or 64 hex digits"),
        ({"snapshot": "--upload-pack=x" + "a" * 25}, "snapshot is not an id"),
        ({"tree": "a" * 41}, "tree is not an id of 40 or 64 hex digits"),
        ({"tree": ["a" * 40]}, "tree is not a text"),
        ({"commit": "HEAD"}, "commit is not an id of 40 or 64 hex digits"),
        ({"branch": "--force"}, "branch is no branch name"),
        ({"branch": ""}, "branch is no branch name"),
        ({"branch": "refs/heads/\x00"}, "branch is no branch name"),
        ({"branch": "refs/heads/\ud800"}, "surrogates not allowed"),
        ({"branch": "x" * 2000}, "branch is no branch name"),
        ({"version": [1]}, "version is not an object"),
        ({"version": {"a/b": 1}}, "device 'a/b' is no device id"),
        ({"version": {"a-00000000": "1"}}, "version is not a number"),
        ({"version": {f"a-{n:08x}": 1 for n in range(600)}}, "version is too large"),
        ({"store": 7}, "store is not a text"),
        ({"store": "/home/ann"}, "store is not a tag of 32 hex digits"),
        ({"candidates": "10.0.0.1:1"}, "candidates are not a list"),
        ({"candidates": [1]}, "a candidate is not a pair of texts"),
        ({"candidates": [["lan"]]}, "a candidate is not a pair of texts"),
        ({"candidates": [["lan", 1]]}, "a candidate is not a pair of texts"),
        ({"candidates": [["lan", "10.0.0.1"]]}, "lan '10.0.0.1' is no address of its kind"),
        ({"candidates": [["public", "10.0.0.1:1\n"]]}, "is no address of its kind"),
        ({"candidates": [["ssh", "-oProxyCommand=x@box/1"]]}, "ssh '-oProxyCommand=x@box/1' is no address"),
        ({"candidates": [["lan", "10.0.0.1:1"]] * 99}, "candidates are not a list of at most 32"),
        ({"on_hub": 1}, "on-hub is neither true nor false"),
        ({"sent_at": None}, "sent-at is not a number"),
        ({"sent_at": LAST_MS + 1}, "sent-at is not a number from 0 to 253402300799999"),
        ({"certificate": 10**6}, "certificate is not a number from 0 to 4096"),
        ({"inline": 7}, "announcement is not as long as its header says"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(with_header(**fields))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "cut short"),
        (b"\0\0\0", "cut short"),
        (b"\xff\xff\xff\xff{}", "cut short or its header is too large"),
        (b"\0\0\0\2[]", "header is not an object"),
        (b"\0\0\0\2\xff\xfe", "codec can't decode"),
        (struct.pack(">I", 30000) + b"[" * 30000, "nested too deeply"),
        (struct.pack(">I", 9000) + b'{"v":' + b"1" * 8994 + b"}", "Exceeds the limit"),
        (bytes(MAX_ENCODED + 1), "too large"),
    ],
)
def test_a_wrong_frame_is_named(encoded: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(encoded)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"device": DeviceId("a/b")}, "device 'a/b' is no device id"),
        ({"seq": 2**63}, "seq is not a number"),
        ({"sent_at_ms": LAST_MS + 1}, "sent-at is not a number"),
        ({"inline": bytes(49 * 1024)}, "inline pack is too large"),
        ({"certificate": bytes(5000)}, "certificate or inline pack is too large"),
        ({"version": Version(((DeviceId("b"), 1), (DeviceId("a"), 1)))}, "not in canonical form"),
        (
            {
                "version": Version.of({DeviceId(f"{'n' * 60}-{n:08x}"): 1 for n in range(500)}),
                "inline": bytes(30 * 1024),
            },
            "announcement of [0-9]+ bytes is too large",
        ),
    ],
)
def test_what_would_not_be_taken_is_not_sent(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode(replace(PLAIN, **changed))


def test_a_replay_is_refused_also_after_a_restart() -> None:
    laptop, desktop = DeviceId("laptop-00000000"), DeviceId("desktop-00000000")
    guard = ReplayGuard()
    assert [guard.accept(laptop, n) for n in (3, 3, 2, 4)] == [True, False, False, True]
    assert guard.accept(desktop, 0)

    again = ReplayGuard(guard.snapshot())
    assert [again.accept(laptop, n) for n in (4, 5)] == [False, True]
    assert not again.accept(desktop, 0)
    assert guard.snapshot() == {laptop: 4, desktop: 0}


def test_a_version_fits_by_its_devices_and_its_bytes() -> None:
    few = Version.of({DeviceId(f"d{n}"): 1 for n in range(256)})
    assert fits(few, share=0.5)
    assert not fits(few.bump(DeviceId("another")), share=0.5)
    long = Version.of({DeviceId(f"{n:03}" + "ü" * 100): 1 for n in range(50)})
    assert not fits(long, share=1.0)


def test_a_kind_of_candidate_of_a_later_release_is_passed_over() -> None:
    later = with_header(candidates=[["pigeon", "coop 7"], ["lan", "10.0.0.1:1"]])
    assert decode(later).candidates == on_lan(["10.0.0.1:1"])


def test_too_many_candidates_are_not_announced() -> None:
    with pytest.raises(ValueError, match="candidates are not a list of at most 32"):
        encode(replace(PLAIN, candidates=on_lan(f"10.0.0.{n}:1" for n in range(33))))
