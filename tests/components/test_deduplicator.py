import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.deduplicator import NearDuplicateFilter, drop_near_duplicates, shingles
from ragsaver.components.explain import explaining
from ragsaver.components.passages import Passages
from ragsaver.spend.receipt import open_receipt

TEXT = "The quick brown fox jumps over the lazy dog and then sleeps all day in the warm sun."
words = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]), max_size=12).map(" ".join)


def kept(*texts: str) -> list[str]:
    documents = [Document(id=str(n), content=text) for n, text in enumerate(texts)]
    return [d.content for d in NearDuplicateFilter().run(documents)["documents"]]


def test_a_copy_with_other_spacing_and_case_goes_and_the_better_one_stays():
    assert kept(TEXT, "Something else entirely, about cats and mice.", TEXT.upper().replace(" ", "  ")) == [
        TEXT,
        "Something else entirely, about cats and mice.",
    ]


def test_a_passage_inside_a_better_one_goes():
    assert kept(TEXT, "the quick brown fox jumps over the lazy dog") == [TEXT]


def test_a_longer_passage_that_says_more_stays():
    longer = TEXT + " " + "But in winter it hunts hares across the frozen fields far beyond the northern hills." * 2
    assert kept(TEXT, longer) == [TEXT, longer]


def test_one_edited_sentence_is_not_lost():
    assert len(kept("The limit is 5 requests per second.", "The limit is 9 requests per second.")) == 2


@given(st.lists(words, max_size=8))
def test_the_first_always_stays_and_a_second_run_changes_nothing(texts):
    once = kept(*texts)
    assert once[:1] == texts[:1]
    assert kept(*once) == once


@given(st.lists(words, max_size=6))
def test_whoever_goes_names_one_that_stayed(texts):
    verdicts = drop_near_duplicates(texts, resembles_at_least=0.8, contained_at_least=0.9)
    stayed = {position for position, twin in verdicts if twin is None}
    assert all(twin in stayed for _, twin in verdicts if twin is not None)


@given(st.lists(words, max_size=10))
def test_a_text_goes_exactly_when_one_that_stayed_holds_or_resembles_it(texts):
    stayed: list[frozenset[int]] = []
    for text, (_, twin) in zip(
        texts, drop_near_duplicates(texts, resembles_at_least=0.8, contained_at_least=0.9), strict=True
    ):
        mine = shingles(text, "")
        repeats = [
            len(mine & theirs) >= 0.8 * len(mine | theirs) or len(mine & theirs) >= 0.9 * len(mine) for theirs in stayed
        ]
        assert (twin is not None) == any(repeats)
        if twin is None:
            stayed.append(mine)


def test_the_places_of_what_went_are_kept_with_what_stayed():
    def place(name):
        return {"source": name, "heading": "h", "page": None}

    documents = [Document(id=name, content=TEXT, meta={"source": name, "heading": "h", "n": 1}) for name in "abc"]
    (only,) = NearDuplicateFilter().run(documents)["documents"]
    assert only.meta == {"source": "a", "heading": "h", "n": 1, "also_in": [place("b"), place("c")]}
    assert "also_in" not in documents[0].meta
    (again,) = NearDuplicateFilter().run([Document(id="z", content=TEXT, meta=place("z")), only])["documents"]
    assert again.meta["also_in"] == [place("a"), place("b"), place("c")]


def test_the_receipt_says_how_many_went():
    with open_receipt() as receipt:
        result = NearDuplicateFilter().run([Document(id="a", content=TEXT), Document(id="b", content=TEXT)])
    assert isinstance(result["documents"], Passages)
    assert [(line.stage, line.quantity) for line in receipt.lines] == [("deduplicate", 1)]


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        NearDuplicateFilter(resembles_at_least=share)


def test_what_was_dropped_is_told_to_who_asks_why():
    def passage(name: str, text: str, score: float) -> Document:
        return Document(id=name, content=text, score=score, meta={"source": f"{name}.md", "heading": "h"})

    documents = [passage("a", TEXT, 0.9), passage("b", TEXT, 0.8), passage("c", "Cats and mice sleep as well.", 0.7)]
    with explaining(True) as explanation:
        NearDuplicateFilter().run(documents)
    a, b, c = explanation.told().passages
    assert [(one.rank, one.left_out) for one in (a, b, c)] == [(1, None), (None, "says the same as a.md"), (2, None)]
    assert [[place.source for place in one.also_in] for one in (a, b, c)] == [["b.md"], [], []]
