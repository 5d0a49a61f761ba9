"""The Mercurials that the extensions run in, kept from this machine's configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.backends.hg_repos import isolate, versions
from tests.hgext.selective import User

VERSIONS = ("7.2", "6.9.5", "6.3.2")


@pytest.fixture(scope="session")
def mercurials(request: pytest.FixtureRequest) -> Mapping[str, tuple[str, ...]]:
    """Return the command of each version."""
    return versions(request.config.cache.mkdir("hg"))


@pytest.fixture(scope="module", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep this machine's hg config away from all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in isolate(tmp_path_factory.mktemp("own") / "home").items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, mercurials: Mapping[str, tuple[str, ...]]) -> Iterator[User]:
    """Give one who has the extension `selectivepull`."""
    user = User(mercurials["7.2"], tmp_path_factory.mktemp("user"))
    yield user
    user.close()


@pytest.fixture(params=VERSIONS)
def hg(request: pytest.FixtureRequest, mercurials: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the command of an hg, of every version in turn."""
    return mercurials[request.param]
