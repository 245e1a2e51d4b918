from ragsaver.components.favourites import Favourites, Outlined
from ragsaver.index.scope import Scope

MINE, THEIRS = (Scope("acme", "docs", frozenset({group})) for group in ("hr", "law"))


class Corpus:
    """Outlines that can be edited, and a clock that can be turned."""

    def __init__(self) -> None:
        self.at = 0.0
        self.there = {f"p-{name}" for name in "abcd"}
        self.favourites = Favourites(lambda: self.at)
        self.favourites.read_from(self.read)
        self.reads = 0

    def read(self, scope, document_ids, max_tokens):
        self.reads += 1
        return [Outlined(one, f"{one}.md", f"outline of {one}", (f"p-{one}",)) for one in reversed(document_ids)]

    def block(self, scope=MINE, documents=2, behind=None):
        found, ago = self.favourites.block(
            scope,
            documents=documents,
            tokens=100,
            every_s=60.0,
            stands=lambda points: self.there >= set(points),
            behind=behind,
        )
        return "".join(one.document_id for one in found), ago


def test_the_documents_used_most_stand_in_the_order_of_their_sources():
    corpus = Corpus()
    for used in ("c", "c", "c", "a", "a", "b"):
        corpus.favourites.note(MINE, [used])
    assert corpus.block() == ("ac", None)


def test_the_text_stays_until_its_time_is_over_though_others_are_used_more():
    corpus = Corpus()
    corpus.favourites.note(MINE, ["a", "c"])
    assert corpus.block() == ("ac", None)
    for _ in range(5):
        corpus.favourites.note(MINE, ["b", "d"])
    corpus.at = 59.0
    assert corpus.block() == ("ac", 59.0)
    assert corpus.reads == 1, "and is not read again"
    corpus.at = 60.0
    assert corpus.block() == ("bd", None), "a provider has not seen the new one"


def test_a_provider_that_saw_the_text_behind_something_else_has_not_seen_it():
    corpus = Corpus()
    corpus.favourites.note(MINE, ["a", "c"])
    assert corpus.block() == ("ac", None)
    corpus.at = 5.0
    assert corpus.block(behind="a schema") == ("ac", None)
    corpus.at = 7.0
    assert corpus.block(behind="a schema") == ("ac", 2.0)
    assert corpus.block() == ("ac", 7.0)
    corpus.there.discard("p-a")
    assert [corpus.block(behind=one) for one in (None, "a schema")] == [("c", None)] * 2
    for one in range(20):
        corpus.block(behind=one)
    assert corpus.block() == ("c", None), "it was forgotten"


def test_what_no_longer_stands_goes_at_once():
    corpus = Corpus()
    corpus.favourites.note(MINE, ["a", "c"])
    corpus.block()
    corpus.there.discard("p-a")
    assert corpus.block() == ("c", None)
    assert corpus.block() == ("c", 0.0)


def test_readers_of_other_groups_have_favourites_of_their_own():
    corpus = Corpus()
    corpus.favourites.note(MINE, ["a", "c"])
    assert corpus.block(THEIRS) == ("", None)
    corpus.favourites.note(THEIRS, ["d"])
    assert corpus.block(THEIRS)[0] == "d"
    assert corpus.block(MINE)[0] == "ac"


def test_new_favourites_can_take_over_from_old_ones():
    corpus = Corpus()
    for _ in range(900):
        corpus.favourites.note(MINE, ["a"])
    for _ in range(1200):
        corpus.favourites.note(MINE, ["b"])
    assert corpus.block(documents=1)[0] == "b"


def test_without_a_place_to_read_from_there_are_none():
    favourites = Favourites()
    favourites.note(MINE, ["a"])
    assert favourites.block(MINE, documents=2, tokens=100, every_s=1.0, stands=bool) == ((), None)
