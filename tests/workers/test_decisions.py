"""What the workers decide, as functions of plain values."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import SettingsError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.chunker import Chunk
from ragsaver.ingestion.identity import Carried, identify
from ragsaver.ingestion.job_report import JobState, State, counted, job_state
from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.planning import Change, Reason
from ragsaver.ingestion.staging import Settled, Staged, pack, settle, unpack
from ragsaver.settings import QueueSettings, Settings
from ragsaver.settings_file import load_settings
from ragsaver.workers.app import broker_url, known_queues
from ragsaver.workers.backoff import backoff_s

SCOPE = Scope("acme", "docs")


def record(**more: object) -> DocumentRecord:
    plain = DocumentRecord("d", "a.md", "/a.md", 3, "v", "content", "about", "config", 1, 10.0, ())
    return plain._replace(**more)


def staged(text: str = "Owls.", base: int = 0, **more: object) -> Staged:
    chunks = identify("d", [Chunk(text, "h", 0, None, text)], Carried("a.md", "t", {"k": [1, None]}), "m")
    return Staged.of(Change(record(**more), chunks, record(generation=base) if base else None, Reason.NEW, 7))


@given(st.integers(1, 1000), st.floats(0, 1))
def test_a_backoff_grows_and_never_exceeds_its_bound(attempts: int, chance: float):
    limits = QueueSettings(backoff_s=2.0, max_backoff_s=60.0)
    waited = backoff_s(attempts, limits, lambda: chance)
    assert 1.0 <= waited <= 60.0
    assert waited <= backoff_s(attempts + 1, limits, lambda: chance)


@given(st.dictionaries(st.sampled_from(State), st.integers(0, 5)))
def test_a_job_is_finished_exactly_when_nothing_of_it_waits(by_state: dict[State, int]):
    documents = counted(by_state)
    state = job_state(documents, listed=True)
    waiting = sum(by_state.get(one, 0) for one in (State.QUEUED, State.CONVERTED, State.EMBEDDED))
    assert (state in (JobState.DONE, JobState.INCOMPLETE)) == (waiting == 0)
    assert documents.seen == sum(by_state.values())
    assert job_state(documents, listed=False) is JobState.LISTING


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_staged_comes_back_as_it_was(text: str):
    before = replace(staged(text), record=record())
    assert unpack(pack(before)) == before


def test_what_is_in_already_is_not_brought_in_again():
    assert settle(staged(), record()) is Settled.IS_IN


def test_what_was_read_later_is_not_overwritten_by_what_was_read_before():
    assert settle(staged(content_hash="old"), record(content_hash="new", ingested_at=11.0)) is Settled.SUPERSEDED


def test_a_change_is_planned_on_what_the_manifest_has_by_now():
    now = record(content_hash="other", generation=7, ingested_at=9.0)
    change = settle(staged(base=3), now)
    assert isinstance(change, Change)
    assert (change.old, change.record.generation, len(change.record.chunks)) == (now, 8, 1)
    gone = settle(staged(base=3), None)
    assert isinstance(gone, Change) and gone.record.generation == 1


def test_a_document_is_forgotten_only_as_it_was_when_its_source_was_gone():
    gone = Staged.forgetting(record(generation=2))
    assert settle(gone, record(generation=2)) == record(generation=2)
    assert settle(gone, record(generation=3)) is Settled.SUPERSEDED
    assert settle(gone, None) is Settled.SUPERSEDED


@pytest.mark.parametrize("anew", [{"ingested_at": 11.0}, {"location": None}, {"content_hash": "other"}])
def test_one_that_was_deleted_and_brought_in_again_is_not_forgotten_though_it_begins_anew(anew: dict[str, object]):
    assert settle(Staged.forgetting(record()), record(**anew)) is Settled.SUPERSEDED


def test_another_version_is_noted_of_the_same_content_only():
    touched = Staged.touching(record(version="w", ingested_at=12.0))
    assert settle(touched, record()) == record(version="w", ingested_at=12.0)
    assert settle(touched, record(content_hash="other")) is Settled.SUPERSEDED


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"REDIS_URL": "redis://a"}, "redis://a"),
        ({"REDIS_URL": "redis://a", "CELERY_BROKER_URL": "rediss://b"}, "rediss://b"),
        ({"REDIS_URL": "redis://a", "CELERY_BROKER_URL": "amqp://b"}, "redis://a"),
        ({"REDIS_URL": "redis://a", "RAGSAVER_QUEUE__BROKER_URL": "redis://c"}, "redis://c"),
    ],
)
def test_the_broker_is_taken_from_the_variables_that_other_tools_have(tmp_path, env: dict[str, str], url: str):
    settings = load_settings(tmp_path, env)
    assert broker_url(settings) == url
    assert url not in repr(settings)


def test_without_a_broker_or_with_a_queue_that_is_none_the_remedy_is_told(tmp_path):
    assert load_settings(tmp_path, {"CELERY_BROKER_URL": "amqp://b"}).queue.broker_url is None
    with pytest.raises(SettingsError, match="REDIS_URL"):
        broker_url(Settings())
    with pytest.raises(SettingsError, match="must begin with redis://"):
        load_settings(tmp_path, {"RAGSAVER_QUEUE__BROKER_URL": "amqp://user:secret@b"})
    for names in (["convert", "emebd"], []):
        with pytest.raises(SettingsError, match="convert, embed"):
            known_queues(names)
