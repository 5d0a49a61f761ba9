"""The extension `selectivepull`: a working copy pulls what it wants, of any server, and no more goes over the wire."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import figures
from tests.hgext.selective import KINDS, PLAIN, Site, User, write_bookmarks

Command = tuple[str, ...]


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, mercurials: Mapping[str, Command]) -> Iterator[User]:
    """Whoever works on the servers, in their repositories: without the extension."""
    owner = User(mercurials["7.2"], tmp_path_factory.mktemp("owner"), PLAIN)
    yield owner
    owner.close()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, mercurials: Mapping[str, Command]) -> Iterator[dict[str, Site]]:
    made = {kind: Site(mercurials["7.2"], tmp_path_factory.mktemp(kind), config) for kind, config in KINDS.items()}
    yield made
    for site in made.values():
        site.close()


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    return sites[request.param]


@pytest.fixture(scope="module")
def template(owner: User) -> Path:
    """A repository: ``base`` (main), ``one`` to ``three`` upon it (feature/…), a branch, a tag and a secret."""
    owner("init", "template")
    (owner.path("template") / ".hg" / "hgrc").write_text("[phases]\npublish = no\n")

    def commit(name: str, *marks: str) -> None:
        (owner.path("template") / name).write_text(name)
        owner("commit", "-A", "-q", "-m", name, at="template")
        for mark in marks:
            owner("bookmark", "-i", mark, at="template")

    commit("base", "main")
    for name in ("one", "two", "three"):
        owner("update", "-q", "0", at="template")
        commit(name, f"feature/{name}")
    owner("tag", "-r", "desc(two)", "1.0", at="template")
    owner("update", "-q", "0", at="template")
    owner("branch", "-q", "stable", at="template")
    commit("fix")
    commit("hidden", "hidden/secret")
    owner("phase", "-q", "-s", "-f", "desc(hidden)", at="template")
    owner("update", "-q", "null", at="template")
    marks = {name: owner("log", "-r", f"desc({text})", "-T", "{node}", at="template") for name, text in MARKS.items()}
    write_bookmarks(owner.path("template"), marks)
    return owner.path("template")


MARKS = {
    "main": "base",
    "main@elsewhere": "one",
    "feature/one": "one",
    "feature/two": "two",
    "feature/three": "three",
    "hidden/secret": "hidden",
}
"""The bookmarks of the template; others see neither the one that diverged nor the one of a secret changeset."""


@pytest.fixture
def served(site: Site, template: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the name of a repository of its own for each test, on a server."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    shutil.copytree(template, site.root / name)
    site.wire.reset()
    yield name


def clone(user: User, site: Site, served: str) -> str:
    user("clone", "-q", site.url(served), f"{served}-{site.wire.port}")
    return f"{served}-{site.wire.port}"


def work(owner: User, site: Site, served: str, on: str, name: str, *bookmark: str) -> None:
    """Commit a file on a changeset of the server's repository and set bookmarks there."""
    at = str(site.root / served)
    owner("update", "-q", on, at=at)
    (site.root / served / name).write_text(name)
    owner("commit", "-A", "-q", "-m", name, at=at)
    for mark in bookmark:
        owner("bookmark", "-q", "-f", "-i", mark, at=at)
    owner("update", "-q", "null", at=at)


def test_a_working_copy_pulls_what_it_subscribed_to(user: User, owner: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    assert (user.marks(copy), user.described(copy)) == ({"main": "base"}, {"base"})
    assert user("log", "-r", "tip", "-T", "{phase}", at=copy) == "draft"

    user("update", "-q", "feature/one", at=copy)
    assert user.marks(copy) == {"main": "base", "feature/one": "one"}
    user("pull", "-q", "-B", "feature/two", at=copy)
    work(owner, site, served, "feature/one", "more", "feature/one")
    work(owner, site, served, "feature/three", "other", "feature/three")
    user("pull", "-q", at=copy)
    assert user.marks(copy) == {"main": "base", "feature/one": "more", "feature/two": "two"}
    assert user.described(copy) == {"base", "one", "more", "two"}
    assert "listkeys" not in site.wire.commands()

    listed = json.loads(user("subscriptions", "-T", "json", at=copy))
    assert [(row["name"], row["origin"]) for row in listed] == [
        ("feature/one", "list"),
        ("feature/two", "list"),
        ("feature/one", "active"),
        ("@", "default"),
        ("main", "default"),
        ("master", "default"),
    ]


@pytest.mark.parametrize("site", ["plain"], indirect=True)
def test_a_subscription_ends_and_takes_along_what_was_not_touched(user: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    for name in ("one", "two", "three"):
        user("pull", "-q", "-B", f"feature/{name}", at=copy)
    user("bookmark", "-q", "-f", "-r", "desc(base)", "feature/two", at=copy)
    user("update", "-q", "feature/three", at=copy)
    said = user("unsubscribe", "feature/one", "feature/two", "feature/three", at=copy)
    assert said == (
        "kept bookmark feature/three: it is checked out\n"
        "kept bookmark feature/two: it was moved here\n"
        "removed bookmark feature/one\n"
    )
    assert user.marks(copy) == {"main": "base", "feature/two": "base", "feature/three": "three"}
    assert user.described(copy) == {"base", "one", "two", "three"}
    said = user("unsubscribe", "feature/one", at=copy, fails=True)
    assert said == "abort: feature/one is not subscribed to\n(hg subscriptions lists what is)\n"
    assert not (user.path(copy) / ".hg" / "selectivepull").read_text().count("want")


@pytest.mark.parametrize("command", [["update"], ["pull", "-B"]])
def test_of_an_unknown_name_the_error_names_those_that_are_like_it(
    user: User, site: Site, served: str, command: list[str]
) -> None:
    copy = clone(user, site, served)
    said = user(*command, "feature/tow", at=copy, fails=True)
    assert "abort: remote bookmark feature/tow not found!\n" in said
    if (site.root.name).startswith("able"):
        assert "(there are: feature/two" in said
    else:
        assert "cannot list its bookmarks by pattern; hg bookmarks --remote --all lists all of them)" in said
    assert (user.marks(copy), user.described(copy)) == ({"main": "base"}, {"base"})
    assert "want" not in (user.path(copy) / ".hg" / "selectivepull").read_text()
    figures.record("bad inputs refused", 1)


def test_what_a_server_calls_otherwise_is_no_bookmark(
    user: User, sites: dict[str, Site], template: Path, owner: User
) -> None:
    """A vanilla server also looks up tags, branches and prefixes of hashes."""
    site, served = sites["plain"], "otherwise"
    shutil.copytree(template, site.root / served)
    copy = clone(user, site, served)
    user("pull", "-q", "-r", "1.0", at=copy)
    node = owner("log", "-r", "desc(three)", "-T", "{node}", at="template")
    before = user.described(copy)
    for name, said in {
        "stable": "abort: stable is a branch at",
        node[:10]: f"abort: remote bookmark {node[:10]} not found!",
        node: "names no bookmark: hg takes it for a changeset",
        "tip": "names no bookmark: hg takes it for a changeset",
        "0": "names no bookmark: hg takes it for a changeset",
        "hidden/secret": "abort: remote bookmark hidden/secret not found!",
        "a\x1bb": "names no bookmark: it has a control character or a colon",
    }.items():
        assert said in user("pull", "-B", name, at=copy, fails=True), name
        figures.record("bad inputs refused", 1)
    assert (user.marks(copy), user.described(copy)) == ({"main": "base"}, before)


def test_patterns(user: User, owner: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    user("pull", "-q", "-B", "feature/two", at=copy)
    user("subscribe", "feature/t*", at=copy)
    said = user("pull", at=copy)
    if site.root.name.startswith("able"):
        assert set(user.marks(copy)) == {"main", "feature/two", "feature/three"}
        assert "cannot list by pattern" not in said
    else:
        assert set(user.marks(copy)) == {"main", "feature/two"}
        assert "cannot list by pattern: of feature/t* the names known here are pulled)" in said
    assert "listkeys" not in site.wire.commands()
    said = user("unsubscribe", "feature/three", at=copy, fails=True)
    assert said.startswith("abort: feature/three is subscribed to by the pattern feature/t*\n")
    user("unsubscribe", "feature/t*", "feature/two", at=copy)
    assert set(user.marks(copy)) == {"main"}


@pytest.mark.parametrize("site", ["plain"], indirect=True)
def test_bookmarks_that_were_deleted_moved_or_diverged(user: User, owner: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    at = str(site.root / served)
    for name in ("one", "two", "three"):
        user("pull", "-q", "-B", f"feature/{name}", at=copy)
    owner("bookmark", "-q", "-d", "feature/one", at=at)
    owner("bookmark", "-q", "-f", "-r", "desc(one)", "feature/two", at=at)
    work(owner, site, served, "feature/three", "theirs", "feature/three")
    user("update", "-q", "feature/three", at=copy)
    (user.path(copy) / "ours").write_text("ours")
    user("commit", "-A", "-q", "-m", "ours", at=copy)
    said = user("pull", at=copy)
    assert "divergent bookmark feature/three stored as feature/three@default" in said
    assert "divergent bookmark feature/two stored as feature/two@default" in said
    assert "(bookmark feature/one is no longer at" in said
    assert user.marks(copy) == {
        "main": "base",
        "feature/one": "one",
        "feature/two": "two",
        "feature/two@default": "one",
        "feature/three": "ours",
        "feature/three@default": "theirs",
    }


@pytest.mark.parametrize("site", ["plain"], indirect=True)
def test_everything_once_and_bundles(user: User, owner: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    visible = {name: text for name, text in MARKS.items() if name not in ("main@elsewhere", "hidden/secret")}
    assert user("incoming", "-T", "{desc}\n", at=copy, fails=True).endswith("no changes found\n")
    bundle = str(user.path("all.hg"))
    owner("bundle", "-q", "--all", "-r", "desc(three)", bundle, at=str(site.root / served))
    user("pull", "-q", bundle, at=copy)
    assert user.described(copy) == {"base", "three"}
    user("pull", "-q", "--all", at=copy)
    assert user.marks(copy) == visible
    whole = f"whole-{site.wire.port}"
    user("clone", "-q", "--config", "selectivepull.enabled=no", site.url(served), whole)
    assert user.marks(whole) == visible


@pytest.mark.parametrize("site", ["able"], indirect=True)
def test_updating_rebasing_and_pushing(user: User, owner: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    user("update", "-q", "feature/one", at=copy)
    work(owner, site, served, "feature/one", "theirs", "feature/one")
    user("pull", "-q", "-u", at=copy)
    assert user("log", "-r", ".", "-T", "{desc} {activebookmark}", at=copy) == "theirs feature/one"
    work(owner, site, served, "feature/one", "theirs-too", "feature/one")
    (user.path(copy) / "ours").write_text("ours")
    user("commit", "-A", "-q", "-m", "ours", at=copy)
    user("pull", "-q", "--rebase", "--config", "extensions.rebase=", at=copy)
    assert user("log", "-r", ".^", "-T", "{desc}", at=copy) == "theirs-too"
    user("bookmark", "-q", "-i", "mine", at=copy)
    user("push", "-q", "-B", "mine", "-B", "feature/one", at=copy)
    listed = owner("bookmarks", "-T", "{bookmark} {node|short}\n", at=str(site.root / served))
    node = user("log", "-r", ".", "-T", "{node|short}", at=copy)
    assert {f"mine {node}", f"feature/one {node}"} <= set(listed.splitlines())
    user("bookmark", "-q", "-d", "mine", at=copy)
    user("push", "-q", "-B", "mine", at=copy, fails=True)  # hg says 1: no changesets
    assert "mine" not in owner("bookmarks", "-T", "{bookmark} ", at=str(site.root / served)).split()


@pytest.mark.parametrize("site", ["plain"], indirect=True)
def test_shares_have_lists_of_their_own(user: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    share = f"{copy}-share"
    user("share", "-q", "-B", "--config", "extensions.share=", copy, share)
    enabled = ("--config", "extensions.share=")
    user("pull", "-q", "-B", "feature/one", *enabled, at=share)
    assert "feature/one" in (user.path(share) / ".hg" / "selectivepull").read_text()
    assert "feature/one" not in user("subscriptions", at=copy)
    said = user("unsubscribe", "feature/one", *enabled, at=share)
    assert said == "kept bookmark feature/one: other working copies share it\n"


def test_a_list_tells_of_what_hg_would_tell_of(user: User, sites: dict[str, Site], template: Path) -> None:
    """Neither of secret changesets nor of what diverged: as ``listkeys`` does, which the vanilla server is asked."""
    user("init", "told")
    told = {}
    for kind, site in sites.items():
        shutil.copytree(template, site.root / "told")
        remote = ("bookmarks", "--remote", "--all", "--source", site.url("told"))
        told[kind] = [(row["bookmark"], row["node"]) for row in json.loads(user(*remote, "-T", "json", at="told"))]
        assert user(*remote, "hidden/*", "main@*", at="told", fails=True).startswith("no such bookmark at http:")
    assert told["able"] == told["plain"]
    assert [name for name, _ in told["able"]] == ["feature/one", "feature/three", "feature/two", "main"]


@pytest.mark.parametrize("site", ["able"], indirect=True)
def test_a_clone_takes_what_the_hgrc_and_its_options_name(user: User, site: Site, served: str) -> None:
    copy = f"{served}-clone"
    wanted = ("--config", "selectivepull.subscribe=feature/t*, absent")
    user("clone", "-q", *wanted, "-u", "feature/one", site.url(served), copy)
    assert set(user.marks(copy)) == {"main", "feature/one", "feature/two", "feature/three"}
    assert user("log", "-r", ".", "-T", "{desc} {activebookmark}", at=copy) == "one feature/one"
    user("clone", "-q", str(site.root / served), f"{copy}-local")
    assert (user.marks(f"{copy}-local"), user.described(f"{copy}-local")) == ({"main": "base"}, {"base"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("selectivepull 2\n", "was written by another version of selectivepull"),
        ("selectivepull 1\nseen 12 main\n", "is damaged: seen 12 main"),
        ("selectivepull 1\nwant\n", "is damaged: want"),
    ],
)
def test_a_damaged_list_is_told(user: User, content: str, said: str, tmp_path: Path) -> None:
    user("init", str(tmp_path / "repo"))
    (tmp_path / "repo" / ".hg" / "selectivepull").write_text(content)
    told = user("subscriptions", at=str(tmp_path / "repo"), fails=True)
    assert said in told
    assert "Traceback" not in told
    figures.record("bad inputs refused", 1)


def test_a_subrepository_is_pulled_whole(user: User, owner: User, tmp_path: Path) -> None:
    """It needs a changeset that may be no bookmark's ancestor."""
    for name in ("inner", "outer"):
        owner("init", str(tmp_path / name))
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    (inner / "file").write_text("one")
    owner("commit", "-A", "-q", "-m", "one", at=str(inner))
    owner("bookmark", "-i", "main", at=str(inner))
    (inner / "file").write_text("two")
    owner("commit", "-q", "-m", "two", at=str(inner))
    owner("clone", "-q", str(inner), str(outer / "sub"))
    (outer / ".hgsub").write_text(f"sub = {inner}\n")
    owner("commit", "-A", "-q", "-m", "outer", at=str(outer))
    user("clone", "-q", str(outer), str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "sub" / "file").read_text() == "two"


def test_a_bookmark_here_is_not_moved_to_a_branch_of_the_same_name(
    user: User, owner: User, sites: dict[str, Site], template: Path
) -> None:
    site, served = sites["plain"], "same-name"
    shutil.copytree(template, site.root / served)
    copy = clone(user, site, served)
    user("bookmark", "-q", "stable", at=copy)
    user("pull", "-q", at=copy)
    assert user.marks(copy) == {"main": "base", "stable": "base"}


@pytest.mark.parametrize("site", ["plain"], indirect=True)
def test_a_path_that_mirrors_keeps_what_the_server_has(user: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    user("pull", "-q", "--all", at=copy)
    user("bookmark", "-q", "-i", "-r", "desc(base)", "mine", at=copy)
    (user.path(copy) / ".hg" / "hgrc").write_text(
        f"[paths]\ndefault = {site.url(served)}\ndefault:bookmarks.mode = mirror\n"
    )
    user("pull", "-q", "-B", "main", at=copy)
    assert set(user.marks(copy)) == {"main", "feature/one", "feature/two", "feature/three"}


def test_an_update_that_nothing_answers_says_what_hg_says(user: User, tmp_path: Path) -> None:
    user("init", str(tmp_path / "alone"))
    (tmp_path / "alone" / ".hg" / "hgrc").write_text(f"[paths]\ndefault = {tmp_path}/gone\n")
    said = user("update", "feature/one", at=str(tmp_path / "alone"), fails=True)
    assert said.startswith("(cannot ask the default path: repository ")
    assert said.endswith("abort: unknown revision 'feature/one'\n")


def test_hundreds_of_names_are_asked_for_in_portions(user: User, site: Site, served: str) -> None:
    copy = clone(user, site, served)
    user("subscribe", "feature/two", *(f"absent/{number}-{'/' * 60}" for number in range(600)), at=copy)
    site.wire.reset()
    user("pull", "-q", at=copy)
    assert user.marks(copy) == {"main": "base", "feature/two": "two"}
    assert site.wire.commands().count("batch" if site.root.name.startswith("plain") else "listkeyspatterns") > 2
