"""Prometheus reads what the workers say: right names, bounded labels, all processes together, a GPU only where one is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ragsaver.errors import UsageError
from ragsaver.workers.metrics import WorkerMetrics, forget_process


def samples(exposition: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition.decode())
        for sample in family.samples
    }


def test_what_was_counted_is_exposed():
    metrics = WorkerMetrics()
    metrics.queue("embed", 7, 12.5)
    metrics.batch(300, 400)
    metrics.batch(500, 500)
    metrics.document("applied", 3)
    seen = samples(metrics.exposition())
    assert seen["ragsaver_queue_depth", "embed"] == 7
    assert seen["ragsaver_queue_oldest_age_seconds", "embed"] == 12.5
    assert seen["ragsaver_embed_tokens_total",] == 800
    assert seen["ragsaver_embed_padded_tokens_total",] == 900
    assert seen["ragsaver_embed_batch_tokens_count",] == 2
    assert seen["ragsaver_embed_batch_tokens_sum",] == 900
    assert seen["ragsaver_embed_padding_ratio_sum",] == pytest.approx(0.25)
    assert seen["ragsaver_documents_total", "applied"] == 3


def test_a_state_that_never_came_is_zero_so_that_its_first_time_is_an_increase():
    assert samples(WorkerMetrics().exposition())["ragsaver_documents_total", "dead"] == 0


def test_an_empty_batch_is_none():
    metrics = WorkerMetrics()
    metrics.batch(0, 0)
    assert samples(metrics.exposition())["ragsaver_embed_batch_tokens_count",] == 0


def test_a_label_that_is_not_known_is_refused():
    metrics = WorkerMetrics()
    with pytest.raises(UsageError, match="convert, embed"):
        metrics.queue("a-tenant", 1, 1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`lost`"):
        metrics.document("lost")  # type: ignore[arg-type]


def test_there_is_no_gpu_metric_without_a_gpu():
    assert b"gpu" not in WorkerMetrics().exposition()


def test_a_gpu_is_useful_for_the_part_that_is_not_padding_and_not_for_others_work():
    metrics = WorkerMetrics(gpu=lambda: [0.8, 0.5])
    metrics.batch(300, 400)
    seen = samples(metrics.exposition())
    assert seen["ragsaver_gpu_useful_utilization", "0"] == pytest.approx(0.6)
    assert seen["ragsaver_gpu_useful_utilization", "1"] == pytest.approx(0.375)
    assert samples(metrics.exposition())["ragsaver_gpu_useful_utilization", "0"] == 0


PROCESS = """
import sys
from ragsaver.workers.metrics import WorkerMetrics
metrics = WorkerMetrics()
metrics.queue("embed", int(sys.argv[1]), 1.0)
metrics.batch(300, 400)
metrics.document("applied")
"""
EXPOSE = """
import pathlib, sys
from ragsaver.workers.metrics import WorkerMetrics
metrics = WorkerMetrics(gpu=lambda: [1.0])
sys.stdout.buffer.write(metrics.exposition(pathlib.Path(sys.argv[1])))
"""


def test_processes_that_share_a_folder_are_exposed_together(tmp_path: Path):
    shared = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for depth in ("5", "3"):
        subprocess.run([sys.executable, "-c", PROCESS, depth], env=shared, check=True)
    done = subprocess.run([sys.executable, "-c", EXPOSE, str(tmp_path)], env=shared, check=True, capture_output=True)
    seen = samples(done.stdout)
    assert seen["ragsaver_embed_tokens_total",] == 600
    assert seen["ragsaver_documents_total", "applied"] == 2
    # the queue is one: what was seen last holds, and not the sum
    assert seen["ragsaver_queue_depth", "embed"] == 3
    assert seen["ragsaver_gpu_useful_utilization", "0"] == pytest.approx(0.75)


def test_a_process_that_is_gone_can_be_forgotten(tmp_path: Path):
    (tmp_path / "gauge_livesum_77.db").touch()
    (tmp_path / "counter_77.db").touch()
    forget_process(77, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["counter_77.db"]
