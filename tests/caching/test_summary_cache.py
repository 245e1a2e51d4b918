"""Summaries come back as they were kept, within their partition and within the bound."""

import itertools
from pathlib import Path

import pytest

from ragsaver.caching import summaries
from ragsaver.caching.opening import open_summary_cache
from ragsaver.caching.summaries import KeptSummary, SummaryCache
from ragsaver.errors import StorageError
from ragsaver.settings import OutlineSettings


def kept(*numbers: int, text: str = "says so") -> dict[str, KeptSummary]:
    return {f"{n:032x}": KeptSummary(f"{n} {text}", n, 2) for n in numbers}


@pytest.fixture
def cache(tmp_path: Path):
    made = open_summary_cache(tmp_path, OutlineSettings())
    yield made
    made.close()


def test_what_was_kept_comes_back_with_what_it_took_and_stays_as_it_was(cache: SummaryCache):
    cache.put("acme", kept(1, 2))
    cache.put("acme", kept(1, text="another"))
    assert cache.get("acme", [*kept(1, 2, 3)]) == kept(1, 2)
    assert cache.holds("acme", [*kept(2, 3)]) == set(kept(2))


def test_a_partition_never_sees_another_s(cache: SummaryCache):
    cache.put("acme", kept(1))
    assert cache.get("rival", [*kept(1)]) == {} and cache.holds("rival", [*kept(1)]) == set()


def test_it_outlives_its_process(cache: SummaryCache):
    cache.put("acme", kept(1))
    again = SummaryCache(cache.path, 2**20)
    assert again.get("acme", [*kept(1)]) == kept(1)
    again.close()


def test_past_the_bound_the_longest_unused_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count(10_000, 10_000)
    monkeypatch.setattr(summaries.time, "time", lambda: float(next(clock)))
    cache = SummaryCache(tmp_path / "summaries.sqlite", 100_000)
    cache.put("acme", kept(0))
    for n in range(1, 600):
        cache.put("acme", kept(n, text="x" * 300))
        assert cache.get("acme", [*kept(0)])
    left = cache.holds("acme", [*kept(*range(600))])
    assert 60 < len(left) < 250 and f"{599:032x}" in left and f"{1:032x}" not in left
    cache.close()


def test_a_disk_that_refuses_is_told(tmp_path: Path):
    with pytest.raises(StorageError, match="cache of summaries"):
        SummaryCache(tmp_path / "not" / "there" / "summaries.sqlite", 2**20)
