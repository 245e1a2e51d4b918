"""Prometheus reads what is told: right names, bounded labels, all processes together, a GPU only where one is."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ragsaver.index.scope import Scope
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.queued_document import NewDocument
from ragsaver.models.registry import load_encoder
from ragsaver.settings import EmbeddingSettings
from ragsaver.workers.backlog import Backlog
from ragsaver.workers.gpu import GpuReading, nvidia_reader
from ragsaver.workers.metrics import IngestionMetrics
from ragsaver.workers.readings import QueueReading, ThreadsReading


def samples(exposition: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition.decode())
        for sample in family.samples
    }


def test_what_was_counted_is_exposed():
    metrics = IngestionMetrics()
    metrics.batch(300, 400)
    metrics.batch(500, 500)
    metrics.document(State.APPLIED, 3)
    metrics.registry.register(ThreadsReading(lambda: (4, 2)))
    seen = samples(metrics.exposition())
    assert seen["ragsaver_embed_tokens_total",] == 800
    assert seen["ragsaver_embed_padded_tokens_total",] == 900
    assert seen["ragsaver_embed_batch_tokens_count",] == 2
    assert seen["ragsaver_embed_batch_tokens_sum",] == 900
    assert seen["ragsaver_embed_padding_ratio_sum",] == pytest.approx(0.25)
    assert seen["ragsaver_documents_total", "applied"] == 3
    assert (seen["ragsaver_worker_threads",], seen["ragsaver_worker_threads_busy",]) == (4, 2)
    assert metrics.embedded() == (800, 900)


def test_what_waits_is_told_for_every_queue_and_left_out_where_the_store_cannot_be_read(tmp_path: Path):
    jobs = JobStore(tmp_path / "jobs.sqlite")
    job = jobs.create(Scope("a", "b"), None, 10)
    jobs.add(job, [NewDocument("a.md", text="Owls."), NewDocument("b.md", text="Owls.")], first=0, lease_s=60)
    metrics = IngestionMetrics()
    metrics.registry.register(QueueReading(Backlog(jobs, 0.0)))
    seen = samples(metrics.exposition())
    assert [seen["ragsaver_queue_depth", queue] for queue in ("convert", "embed", "apply")] == [2, 0, 0]
    assert (
        seen["ragsaver_queue_oldest_age_seconds", "convert"] > 0 == seen["ragsaver_queue_oldest_age_seconds", "embed"]
    )
    with sqlite3.connect(tmp_path / "jobs.sqlite") as file:
        file.execute("DROP TABLE documents")
    seen = samples(metrics.exposition())
    assert ("ragsaver_embed_tokens_total",) in seen
    assert not any(name.startswith("ragsaver_queue") for name, *_ in seen)
    jobs.close()


def test_an_encoder_tells_of_its_own_batches_and_not_of_questions():
    metrics = IngestionMetrics()
    encoder = load_encoder(EmbeddingSettings(batch_tokens=64), metrics.batch)
    encoder.encode(["what do owls hunt"], query=True)
    assert metrics.embedded() == (0, 0)
    told: list[int] = []
    encoder.encode(["owls " * 20, "owls " * 10, "voles", "mice"], progress=told.append)
    seen = samples(metrics.exposition())
    # with a start and an end: 22, 12, 3 and 3 or so tokens, the long ones together
    assert seen["ragsaver_embed_batch_tokens_count",] == len(told) > 1
    tokens, padded = metrics.embedded()
    assert (
        sum(encoder.count_tokens(["owls " * 20, "owls " * 10, "voles", "mice"])) + 2 * 4
        == tokens
        < padded
        <= 64 * len(told)
    )


def test_a_state_that_never_came_is_zero_so_that_its_first_time_is_an_increase():
    assert samples(IngestionMetrics().exposition())["ragsaver_documents_total", "dead"] == 0


def test_an_empty_batch_is_none():
    metrics = IngestionMetrics()
    metrics.batch(0, 0)
    assert samples(metrics.exposition())["ragsaver_embed_batch_tokens_count",] == 0


def test_there_is_no_gpu_metric_without_a_gpu():
    assert b"gpu" not in IngestionMetrics().exposition()


def test_a_gpu_is_useful_for_the_part_that_is_not_padding_and_not_for_others_work():
    metrics = IngestionMetrics()
    metrics.registry.register(GpuReading(lambda: [0.8, 0.5], metrics.embedded))
    metrics.batch(300, 400)
    seen = samples(metrics.exposition())
    assert seen["ragsaver_gpu_useful_utilization", "0"] == pytest.approx(0.6)
    assert seen["ragsaver_gpu_useful_utilization", "1"] == pytest.approx(0.375)
    assert samples(metrics.exposition())["ragsaver_gpu_useful_utilization", "0"] == 0


class StubError(Exception):
    """The driver refuses."""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two GPUs, by the part of `pynvml` that is used; `busy` is what each says, in percent."""
    made = SimpleNamespace(busy=[80, 50], NVMLError=StubError, nvmlInit=lambda: None)
    made.nvmlDeviceGetCount = lambda: len(made.busy)
    made.nvmlDeviceGetHandleByIndex = lambda index: f"device {index}"

    def rates(device: str) -> SimpleNamespace:
        if not made.busy:
            raise StubError("fell off the bus")
        return SimpleNamespace(gpu=made.busy[int(device.split()[1])], memory=1)

    made.nvmlDeviceGetUtilizationRates = rates
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_the_driver_is_asked_anew_each_time_and_one_that_falls_silent_takes_no_other_metric_along(
    driver: SimpleNamespace, caplog: pytest.LogCaptureFixture
):
    read = nvidia_reader()
    assert read is not None and read() == [0.8, 0.5]
    driver.busy = [100, 0]
    assert read() == [1.0, 0.0]
    metrics = IngestionMetrics()
    metrics.registry.register(GpuReading(read, metrics.embedded))
    metrics.batch(300, 400)
    assert samples(metrics.exposition())["ragsaver_gpu_useful_utilization", "0"] == pytest.approx(0.75)
    driver.busy = []
    metrics.batch(300, 400)
    seen = samples(metrics.exposition())
    assert seen["ragsaver_embed_tokens_total",] == 600
    assert not any(name == "ragsaver_gpu_useful_utilization" for name, *_ in seen)
    assert "fell off the bus" in caplog.text


def test_a_machine_without_driver_without_gpu_or_with_one_that_does_not_tell_has_no_reader(
    driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise StubError("not supported")

    with monkeypatch.context() as one:
        one.setattr(driver, "nvmlDeviceGetUtilizationRates", refuse)
        assert nvidia_reader() is None
    with monkeypatch.context() as one:
        one.setattr(driver, "nvmlInit", refuse)
        assert nvidia_reader() is None
    driver.busy = []
    assert nvidia_reader() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvidia_reader() is None


PROCESS = """
from ragsaver.ingestion.job_report import State
from ragsaver.workers.gpu import GpuReading
from ragsaver.workers.metrics import IngestionMetrics
metrics = IngestionMetrics.of_process()
metrics.registry.register(GpuReading(lambda: [1.0], metrics.embedded))
metrics.batch(300, 400)
metrics.document(State.APPLIED)
print(metrics.exposition().decode())
"""


def test_processes_that_share_a_folder_are_exposed_together(tmp_path: Path):
    shared = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", PROCESS], env=shared, check=True, capture_output=True)
    seen = samples(done.stdout)
    assert seen["ragsaver_embed_tokens_total",] == 600
    assert seen["ragsaver_documents_total", "applied"] == 2
    assert seen["ragsaver_gpu_useful_utilization", "0"] == pytest.approx(0.75)
