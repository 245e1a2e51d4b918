"""A hit does not look into the index again for a moment, and yet never outlives a change of its collection."""

from pathlib import Path

import pytest

from ragsaver.caching.entries import Key, Place
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines import checked_answers
from ragsaver.pipelines.checked_answers import CheckedAnswers
from ragsaver.pipelines.kept_answer import KeptAnswer
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings

QUESTION = "Who issues the export permit for parrots?"
TEXT = "# Parrots\n\nThe export permit for parrots is issued by the veterinary office."


def put(runtime: Runtime, text: str) -> None:
    report = runtime.ingestor.ingest_texts([PostedDocument("parrots.md", text)], runtime.scope())
    assert not report.errors


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every answer that is held against the index."""
    looked: list[str] = []
    holds = KeptAnswer.holds

    def looking(self: KeptAnswer, *rest: object) -> bool:
        looked.append(self.asked)
        return holds(self, *rest)

    monkeypatch.setattr(KeptAnswer, "holds", looking)
    return looked


def test_the_index_is_asked_once_until_the_collection_changes(tmp_path: Path, looks: list[str]):
    with open_runtime(Settings(home=tmp_path), "a test") as runtime:
        put(runtime, TEXT)
        ways = [runtime.engine().ask(QUESTION).route.cache for _ in range(4)]
        assert (ways, len(looks)) == (["miss", "hit", "hit", "hit"], 1)
        put(runtime, TEXT.replace("veterinary", "customs"))
        fresh = runtime.engine().ask(QUESTION)
        assert (fresh.route.cache, len(looks)) == ("miss", 2) and "customs" in fresh.answer
        assert runtime.engine().ask(QUESTION).route.cache == "hit"


def test_the_index_is_asked_again_after_a_moment(tmp_path: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checked_answers, "GOOD_FOR_S", 0.0)
    with open_runtime(Settings(home=tmp_path), "a test") as runtime:
        put(runtime, TEXT)
        assert [runtime.engine().ask(QUESTION).route.cache for _ in range(3)] == ["miss", "hit", "hit"]
        assert len(looks) == 2
        points = [one for one, _ in runtime.index.ids(runtime.scope())]
        runtime.index.list_and_delete(runtime.scope(), [], points)  # which the manifest does not know of
        assert runtime.engine().ask(QUESTION).route.cache == "miss"


def kept(asked: str) -> KeptAnswer:
    place = Place("acme", "default", None)
    return KeptAnswer(asked, place, "So.", None, [], "free", "", 0, (), 0, 0, 0, {}, {}, None, 0.0)


def test_what_is_known_of_an_entry_falls_with_the_entry_and_with_its_mark():
    checked, key = CheckedAnswers(), Key("answer", "acme", "1")
    checked.put(key, b"one", kept("one"), "mark")
    known = checked.get(key, b"one")
    assert known is not None and known.holds("mark") and not known.holds("another")
    assert checked.get(key, b"two") is None and checked.get(Key("answer", "acme", "2"), b"one") is None
    checked.put(key, b"one", kept("one"), "")  # of a collection that nobody marks
    assert not checked.get(key, b"one").holds("")


def test_no_more_is_remembered_than_fits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checked_answers, "_MOST_BYTES", 100)
    checked = CheckedAnswers()
    keys = [Key("answer", "acme", str(n)) for n in range(30)]
    for key in keys:
        checked.put(key, b"x" * 10, kept("x"), "mark")
        assert checked.get(keys[0], b"x" * 10) is not None  # what is asked for stays
    assert [checked.get(key, b"x" * 10) is not None for key in keys] == [True] + [False] * 20 + [True] * 9
