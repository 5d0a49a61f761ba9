"""The keys that say how a device is reached from afar, and how much of its lines may be used."""

from __future__ import annotations

import pytest

from autosync.config.loading import parse
from autosync.config.model import Config
from autosync.errors import ConfigError
from tests import figures


def parsed(text: str) -> Config:
    return parse(text, "/etc/autosync.yaml", {"HOME": "/home/ann"})


@pytest.mark.parametrize(
    ("written", "limit"), [("none", None), ("8k", 8192), ("1.5m", 1_572_864), ("1000000", 1_000_000)]
)
def test_limits_are_bytes_per_second(written: str, limit: int | None) -> None:
    config = parsed(f"limit-upload: {written}\nlimit-download: {written}\n")
    assert (config.limit_upload, config.limit_download) == (limit, limit)


def test_none_is_as_if_the_key_were_not_there() -> None:
    keys = ("reflector", "fanout", "public-address", "ssh-address")
    assert parsed("".join(f"{key}: none\n" for key in keys)) == parsed("")


@pytest.mark.parametrize("key", ["poll", "hub-interval", "mode", "inline-limit", "brakes"])
def test_a_key_of_a_working_copy_that_stands_above_them_is_told(key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(f"device: laptop\n{key}: 60\n")
    assert refused.value.title == f"/etc/autosync.yaml, line 2: {key}: belongs to a working copy"
    assert refused.value.hint == "Write it below `paths:`, in the entry that it is about."
    figures.record("bad inputs refused", 1)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("home.example.org", ("home.example.org", 0)),
        ("home.example.org:4711", ("home.example.org", 4711)),
        ("203.0.113.7:1", ("203.0.113.7", 1)),
        ('"[2001:db8::1]"', ("2001:db8::1", 0)),
        ('"[2001:db8::1]:4711"', ("2001:db8::1", 4711)),
    ],
)
def test_a_public_address_may_have_a_port(written: str, address: tuple[str, int]) -> None:
    assert parsed(f"public-address: {written}\n").public_address == address


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("limit-upload: 1k", "limit-upload: must be at least 8k"),
        ("limit-upload: fast", "limit-upload: must be a size"),
        ("public-address: 2001:db8::1", "public-address: must be a host"),
        ("public-address: -oProxyCommand=x", "public-address: must be a host"),
        ("public-address: box:99999", "public-address: must be a host"),
        ("public-address: ''", "public-address: must not be empty"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(written: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(f"{written}\n")
    assert said in caught.value.title
    figures.record("bad inputs refused", 1)
