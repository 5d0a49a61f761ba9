"""Trees are compared and spliced exactly; history is walked as the user's own tool does."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosync.core.model import CommitId, Entry, Kind, ObjectId, RelPath, parent_directories
from autosync.errors import Missing
from contract.fleet import Fleet, Site, brief, contents, entries, look, pair, record, rel, snap

NAMES = st.sampled_from([b"a", b"b", b"a.b", b"a-b", b"B", b"\xff", b"a0"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: RelPath(b"/".join(names)))


def consistent(listing: dict[RelPath, Entry]) -> dict[RelPath, Entry]:
    """Return ``listing`` without what stands below one of its own files."""
    return {path: entry for path, entry in listing.items() if not any(up in listing for up in parent_directories(path))}


class TestTrees:
    def test_splicing_the_changes_gives_the_other_tree(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        for number in range(3):
            site.write(f"{number}", b"%d" % number)
        site.chmod("1", executable=True)
        site.symlink("link", b"0")
        pool = list(entries(site, look(site).tree).values())
        listings = st.dictionaries(PATHS, st.sampled_from(pool), max_size=10).map(consistent)

        @settings(max_examples=60, deadline=None)
        @given(listings, listings)
        def check(old: dict[RelPath, Entry], new: dict[RelPath, Entry]) -> None:
            before, after = site.backend.splice(None, old), site.backend.splice(None, new)
            assert entries(site, before) == old
            assert (before == after) == (old == new)
            there, back = site.backend.changes(before, after), site.backend.changes(after, before)
            assert [c.path for c in there] == sorted(p for p in {*old, *new} if old.get(p) != new.get(p))
            assert [(c.path, c.new, c.old) for c in back] == [(c.path, c.old, c.new) for c in there]
            assert site.backend.splice(before, {c.path: c.new for c in there}) == after
            assert site.backend.splice(after, {c.path: c.old for c in there}) == before

        check()

    def test_nothing_is_the_empty_tree(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        empty = one.backend.tree_of(None)
        tree = look(one).tree
        assert one.backend.splice(None, {}) == empty
        assert one.backend.splice(tree, dict.fromkeys(entries(one, tree))) == empty
        assert one.backend.changes(None, empty) == one.backend.changes(tree, tree) == ()
        assert one.backend.changes(None, None) == ()

    def test_removing_what_is_not_there_changes_nothing(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        tree = look(one).tree
        assert one.backend.splice(tree, {rel("no"): None, rel("no/such"): None, rel("a.txt/x"): None}) == tree

    def test_removing_a_directory_removes_all_below_it(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        tree = look(one).tree
        assert set(entries(one, one.backend.splice(tree, {rel("d"): None}))) == {b"a.txt"}
        kept = entries(one, tree)[rel("a.txt")]
        assert set(entries(one, one.backend.splice(tree, {rel("d"): None, rel("d/new"): kept}))) == {b"a.txt", b"d/new"}

    def test_a_file_takes_the_place_of_a_directory_and_back(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        tree = look(one).tree
        entry = entries(one, tree)[rel("a.txt")]
        as_file = one.backend.splice(tree, {rel("d/b.txt"): None, rel("d/c.txt"): None, rel("d"): entry})
        assert set(entries(one, as_file)) == {b"a.txt", b"d"}
        back = one.backend.splice(as_file, {rel("d"): None, rel("d/x/y"): entry})
        assert set(entries(one, back)) == {b"a.txt", b"d/x/y"}

    def test_changes_of_a_spliced_tree_are_there_before_it_is_recorded(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        tree = look(one).tree
        entry = entries(one, tree)[rel("a.txt")]
        spliced = one.backend.splice(tree, {rel("d/z"): entry})
        assert brief(one.backend.changes(tree, spliced)) == [(b"d/z", None, Kind.FILE)]
        snapshot = record(one, spliced)
        one.reopen()
        assert contents(one, snapshot.tree)[rel("d/z")] == (Kind.FILE, b"a\n")

    def test_a_content_is_as_it_was_saved_wherever_it_is_kept(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        site.write("committed", b"a\r\n\0")
        site.commit("first")
        site.write("new", b"n" * 100)
        tree = look(site).tree
        found = entries(site, tree)
        site.backend.pin("kept", record(site, tree).id)
        for name, content in ((b"committed", b"a\r\n\0"), (b"new", b"n" * 100)):
            oid = found[RelPath(name)].oid
            assert site.backend.content(oid, limit=len(content)) == content
            assert site.backend.content(oid, limit=len(content) - 1) is None

    def test_a_content_that_is_not_here_is_missing(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        known = entries(one, look(one).tree)[rel("a.txt")].oid
        with pytest.raises(Missing):
            one.backend.content(ObjectId(known[::-1]), limit=100)


class TestHistory:
    def merged(self, site: Site, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        """Return the merge of three texts, after checking that the sides may be exchanged."""
        oids: list[ObjectId] = []
        for name, content in (("base", base), ("ours", ours), ("theirs", theirs)):
            site.write(name, content)
        tree = entries(site, snap(site).tree)
        oids = [tree[rel(name)].oid for name in ("base", "ours", "theirs")]
        merged = site.backend.merge_text(oids[0], oids[1], oids[2])
        assert site.backend.merge_text(oids[0], oids[2], oids[1]) == merged
        if merged is None:
            return None
        entry = Entry(kind=Kind.FILE, oid=merged)
        snapshot = record(site, site.backend.splice(None, {rel("merged"): entry}))
        return contents(site, snapshot.tree)[rel("merged")][1]

    @pytest.mark.parametrize(
        ("base", "ours", "theirs", "expected"),
        [
            (b"1\n2\n3\n4\n5\n", b"x\n2\n3\n4\n5\n", b"1\n2\n3\n4\ny\n", b"x\n2\n3\n4\ny\n"),
            (b"1\n2\n3\n4\n5", b"1\n2\n3\n4\n5", b"1\n2\n3\n4\n5\n6", b"1\n2\n3\n4\n5\n6"),
            (b"1\n2\n3\n4\n5\n", b"2\n3\n4\n5\n", b"1\n2\n3\n4\n", b"2\n3\n4\n"),
            (b"1\n", b"same\n", b"same\n", b"same\n"),
            (b"1\n2\n3\n", b"1\nx\n3\n", b"1\ny\n3\n", None),
            (b"1\n2\n3\n", b"1\n3\n", b"1\nx\n3\n", None),
            (b"", b"x\n", b"y\n", None),
            (b"1\0\n2\n3\n4\n", b"x\0\n2\n3\n4\n", b"1\0\n2\n3\ny\n", None),
        ],
    )
    def test_texts_are_merged_cleanly_or_not_at_all(
        self, fleet: Fleet, base: bytes, ours: bytes, theirs: bytes, expected: bytes | None
    ) -> None:
        assert self.merged(fleet.new("one"), base, ours, theirs) == expected

    def test_history_is_known(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        site.write("a", b"1")
        first = site.commit("first").commit
        site.branch("topic")
        site.write("a", b"2")
        second = site.commit("second").commit
        site.checkout("topic")
        site.write("b", b"3")
        third = site.commit("third").commit
        assert first is not None
        assert second is not None
        assert third is not None
        backend = site.backend
        assert backend.is_ancestor(first, second)
        assert backend.is_ancestor(second, second)
        assert not backend.is_ancestor(second, first)
        assert not backend.is_ancestor(second, third)
        assert backend.merge_base(second, third) == first
        assert backend.merge_base(first, third) == first
        assert backend.merge_base(third, third) == third
        assert set(entries(site, backend.tree_of(third))) == {b"a", b"b"}
        assert set(entries(site, backend.tree_of(second))) == {b"a"}
        assert entries(site, backend.tree_of(None)) == {}
        assert all(backend.has_commit(commit) for commit in (first, second, third))

    def test_a_changeset_that_is_not_here_is_missing(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"2\n")
        commit = one.commit("second").commit
        assert commit is not None
        absent = CommitId("0" * len(commit))
        assert one.backend.has_commit(commit)
        assert not two.backend.has_commit(commit)
        assert not one.backend.has_commit(absent)
        first = two.backend.base().commit
        assert first is not None
        with pytest.raises(Missing):
            two.backend.tree_of(commit)
        assert not two.backend.is_ancestor(commit, first)
        with pytest.raises(Missing):
            two.backend.is_ancestor(first, commit)
        with pytest.raises(Missing):
            two.backend.merge_base(first, commit)

    def test_unrelated_histories_have_no_merge_base(self, fleet: Fleet) -> None:
        one, two = fleet.new("one"), fleet.new("two")
        for site in (one, two):
            site.write("a", site.name.encode())
            site.commit("first")
        snapshot = snap(two)
        with tempfile.TemporaryFile() as pipe:
            two.backend.serve(snapshot.id, one.backend.haves(), pipe)
            pipe.seek(0)
            one.backend.receive(snapshot.id, pipe)
        ours, theirs = one.backend.base().commit, snapshot.base.commit
        assert ours is not None
        assert theirs is not None
        assert one.backend.merge_base(ours, theirs) is None
        assert not one.backend.is_ancestor(ours, theirs)
