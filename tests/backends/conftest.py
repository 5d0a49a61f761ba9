"""Real hg working copies, whose users run Debian's hg and whose agents the one of our own environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("contract")

from hg_repos import DEBIAN, isolate  # noqa: E402
from hgfleet import HgFleet, Users  # noqa: E402


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    """Give the hg of all users of a module, kept from this machine's configuration, as are the agents'."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("users")
        for name, value in isolate(place / "home").items():
            patch.setenv(name, value)
        users = Users(bytes(place))
        yield users
        users.close()


@pytest.fixture
def hg_fleet(tmp_path: Path, users: Users) -> Iterator[HgFleet]:
    directory = tmp_path / "fleet"
    directory.mkdir()
    fleet = HgFleet(directory, users, {}, (DEBIAN, None))
    yield fleet
    fleet.close()
