"""HEAD, branch and index move as a whole or not at all, and no file is touched."""

from __future__ import annotations

import io

import pytest

from autosync.core.model import Base, CommitId, Entry, RelPath
from autosync.errors import Busy, Diverged, Missing
from contract.fleet import Fleet, Site, entries, look, pair, rel, snap


def history_of(source: Site, target: Site) -> None:
    """Bring what ``source`` has committed to ``target``'s store."""
    snapshot = snap(source)
    out = io.BytesIO()
    source.backend.serve(snapshot.id, target.backend.haves(), out)
    out.seek(0)
    target.backend.receive(snapshot.id, out)


def changed_commit(site: Site, content: bytes) -> CommitId:
    """Return the id of a new commit that changes ``a.txt``."""
    site.write("a.txt", content)
    commit = site.commit(content.decode().strip()).commit
    assert commit is not None
    return commit


def state(site: Site) -> tuple[object, ...]:
    """Return everything that a refused landing must leave as it was."""
    return site.files(), site.status(), site.backend.base(), site.tip(site.names.main), site.tip(site.names.topic)


def set_down(site: Site, old: Base, new: Base) -> None:
    """Land ``new`` without local changes."""
    site.backend.land(old, new, tree=site.backend.tree_of(new.commit), message="contract")


def land(site: Site, new: Base) -> None:
    """Land ``new`` from where the site is, and check that no file was touched."""
    files, old = site.files(), site.backend.base()
    site.backend.check_landing(old, new)
    assert site.backend.base() == old
    set_down(site, old, new)
    assert site.backend.base() == new
    assert site.files() == files
    assert site.backend.busy() is None


class TestLanding:
    def test_fast_forward(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        second = changed_commit(one, b"second\n")
        history_of(one, two)
        land(two, Base(commit=second, branch=two.names.main))
        assert two.tip(two.names.main) == second
        assert two.status() != one.status()
        two.write("a.txt", b"second\n")
        assert two.status() == one.status()
        two.write("a.txt", b"third\n")
        third = two.commit("third").commit
        assert third is not None
        assert two.backend.is_ancestor(second, third)

    def test_files_added_and_removed_by_the_commit_show_as_such(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.remove("d")
        one.write("e/new", b"new\n")
        one.chmod("a.txt", executable=True)
        new = one.commit("second")
        history_of(one, two)
        land(two, new)
        two.remove("d")
        two.write("e/new", b"new\n")
        two.chmod("a.txt", executable=True)
        assert two.status() == one.status()
        assert look(two).tree == two.backend.tree_of(new.commit)

    def test_to_a_new_branch(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        first = one.backend.base().commit
        one.branch("topic")
        one.checkout("topic")
        second = changed_commit(one, b"second\n")
        history_of(one, two)
        land(two, Base(commit=second, branch=two.names.topic))
        assert (two.tip(two.names.topic), two.tip(two.names.main)) == (second, first)

    def test_to_another_branch_that_is_behind(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        second = changed_commit(one, b"second\n")
        history_of(one, two)
        two.branch("topic")
        land(two, Base(commit=second, branch=two.names.topic))
        assert two.tip(two.names.topic) == second

    def test_back_to_an_older_commit_of_the_same_branch(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        first = one.backend.base()
        changed_commit(one, b"second\n")
        land(one, first)
        assert one.tip(one.names.main) == first.commit

    def test_to_an_amended_commit(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        changed_commit(one, b"second\n")
        history_of(one, two)
        land(two, one.backend.base())
        one.write("a.txt", b"amended\n")
        amended = one.amend("amended")
        history_of(one, two)
        land(two, amended)
        assert two.tip(two.names.main) == amended.commit
        two.write("a.txt", b"amended\n")
        assert two.status() == one.status()

    def test_to_a_detached_head_and_back(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        start = two.backend.base()
        second = changed_commit(one, b"second\n")
        history_of(one, two)
        land(two, Base(commit=second, branch=two.names.detached))
        assert two.tip(two.names.main) == start.commit
        land(two, start)
        assert two.tip(two.names.main) == start.commit

    def test_from_nothing_to_the_first_commit(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        empty = fleet.new("empty")
        history_of(one, empty)
        empty.write("a.txt", b"a\n")
        land(empty, one.backend.base())
        empty.write("d/b.txt", b"b\n")
        empty.write("d/c.txt", b"c\n")
        assert empty.status() == one.status()

    def test_a_branch_with_commits_of_its_own_has_diverged(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.branch("topic")
        one.checkout("topic")
        theirs = changed_commit(one, b"theirs\n")
        history_of(one, two)
        two.branch("topic")
        two.checkout("topic")
        changed_commit(two, b"two's own\n")
        two.checkout("main")
        before = state(two)
        target = Base(commit=theirs, branch=two.names.topic)
        for attempt in (two.backend.check_landing, lambda a, b: set_down(two, a, b)):
            with pytest.raises(Diverged):
                attempt(two.backend.base(), target)
            assert state(two) == before

    def test_in_the_middle_of_an_operation_it_is_busy(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        second = changed_commit(one, b"second\n")
        history_of(one, two)
        two.begin_operation()
        before = state(two)
        target = Base(commit=second, branch=two.names.main)
        for attempt in (two.backend.check_landing, lambda a, b: set_down(two, a, b)):
            with pytest.raises(Busy):
                attempt(two.backend.base(), target)
            assert state(two) == before
        two.end_operation()
        land(two, target)

    def test_a_base_that_moved_meanwhile_is_busy(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        second = changed_commit(one, b"second\n")
        history_of(one, two)
        old = two.backend.base()
        two.write("d/b.txt", b"two's own\n")
        two.commit("two's own")
        before = state(two)
        with pytest.raises(Busy):
            set_down(two, old, Base(commit=second, branch=two.names.main))
        assert state(two) == before

    def test_a_commit_that_is_not_here_is_missing(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        second = changed_commit(one, b"second\n")
        before = state(two)
        with pytest.raises(Missing):
            set_down(two, two.backend.base(), Base(commit=second, branch=two.names.main))
        assert state(two) == before

    def test_what_was_brought_is_found_by_the_user(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        second = changed_commit(one, b"second\n")
        history_of(one, two)
        two.backend.bring(second)
        two.checkout(second)
        assert two.files() == one.files()


class TestCommitting:
    def committed(self, site: Site, paths: list[RelPath] | None, parent: CommitId | None = None) -> Base:
        """Return the base after a commit of what stands in the working copy."""
        snapshot, files = snap(site), site.files()
        base = site.backend.commit(paths, message="auto: a.txt\n\nbody\n", tree=snapshot.tree, extra_parent=parent)
        assert site.backend.base() == base
        assert site.backend.tree_of(base.commit) == snapshot.tree
        assert site.files() == files
        return base

    @pytest.mark.parametrize("named", [True, False])
    def test_the_state_is_committed_on_the_branch(self, fleet: Fleet, named: bool) -> None:
        one, _ = pair(fleet)
        before, clean = one.backend.base(), one.status()
        one.write("a.txt", b"edited\n")
        one.remove("d/b.txt")
        one.write("e/new", b"new\n")
        base = self.committed(one, [rel("a.txt"), rel("d/b.txt"), rel("e/new")] if named else None)
        assert base.branch == one.names.main
        assert base.commit is not None
        assert before.commit is not None
        assert one.tip(one.names.main) == base.commit != before.commit
        assert one.backend.is_ancestor(before.commit, base.commit)
        assert one.status() == clean

    def test_the_first_commit(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        site.write("a", b"1")
        base = self.committed(site, [rel("a")])
        assert site.tip(site.names.main) == base.commit

    def test_a_merge(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        theirs = changed_commit(two, b"theirs\n")
        history_of(two, one)
        one.write("d/b.txt", b"ours\n")
        ours = one.commit("ours").commit
        assert ours is not None
        one.write("a.txt", b"theirs\n")
        base = self.committed(one, [rel("a.txt")], theirs)
        assert base.commit is not None
        assert one.backend.is_ancestor(ours, base.commit)
        assert one.backend.is_ancestor(theirs, base.commit)
        one.checkout("main")
        assert one.files()[rel("a.txt")] == two.files()[rel("a.txt")]

    def test_only_the_tree_given_is_committed(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        start = look(one)
        one.write("a.txt", b"edited\n")
        edited = entries(one, snap(one).tree)[rel("a.txt")]
        one.write("d/b.txt", b"later\n")
        edits: dict[RelPath, Entry | None] = {rel("a.txt"): edited}
        tree = one.backend.splice(start.tree, edits)
        base = one.backend.commit([rel("a.txt")], message="one file", tree=tree)
        assert one.backend.tree_of(base.commit) == tree
        assert one.files()[rel("d/b.txt")][1] == b"later\n"
        assert set(one.backend.changes(tree, look(one).tree)) != set()

    def test_nothing_new_is_no_commit(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        before = state(one)
        tree = one.backend.tree_of(one.backend.base().commit)
        assert one.backend.commit(None, message="auto", tree=tree) == one.backend.base()
        assert state(one) == before

    def test_in_the_middle_of_an_operation_it_is_busy(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        one.write("a.txt", b"edited\n")
        tree = snap(one).tree
        one.begin_operation()
        before = state(one)
        with pytest.raises(Busy):
            one.backend.commit(None, message="auto", tree=tree)
        assert state(one) == before


class TestDescribing:
    def test_only_the_message_changes(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        changed_commit(one, b"second\n")
        history_of(one, two)
        land(two, one.backend.base())
        two.write("a.txt", b"second\n")
        one.write("b.txt", b"pending\n")
        one.remove("d")
        old, files, status, tree = one.backend.base(), one.files(), one.status(), look(one).tree
        assert old.commit is not None
        assert one.backend.message(old.commit).strip() == "second"
        assert not one.backend.is_published(old.commit)
        one.backend.secure(old.commit)
        new = one.backend.reword(old, "Why caf\u00e9\n\nand more\n")
        assert new == one.backend.base()
        assert (new.branch, new.commit != old.commit) == (old.branch, True)
        assert one.tip(one.names.main) == new.commit
        assert new.commit is not None
        assert one.backend.message(new.commit).strip() == "Why caf\u00e9\n\nand more"
        assert (one.files(), one.status(), look(one).tree) == (files, status, tree)
        assert one.backend.tree_of(new.commit) == one.backend.tree_of(old.commit)
        history_of(one, two)
        land(two, new)

    def test_not_in_the_middle_of_something_nor_elsewhere(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        old = one.backend.base()
        one.begin_operation()
        before = state(one)
        with pytest.raises(Busy):
            one.backend.reword(old, "no\n")
        one.end_operation()
        changed_commit(one, b"second\n")
        before = state(one)
        with pytest.raises(Busy):
            one.backend.reword(old, "no\n")
        assert state(one) == before
