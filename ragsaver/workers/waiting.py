"""Wait for a job to be done, and bring its documents in meanwhile where nobody else owns the index."""

import time
from collections.abc import Callable

from ragsaver.errors import IndexLocked
from ragsaver.index.ownership import current_owner
from ragsaver.ingestion.job_report import JobReport
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import Settings
from ragsaver.workers.draining import Drainer
from ragsaver.workers.queueing import IngestQueue
from ragsaver.workers.tending import requeue

_LOOK_S = 0.1


def wait_for(
    queue: IngestQueue, settings: Settings, job_id: str, tenant: str, step: Callable[[JobReport], None]
) -> JobReport:
    """The job when nothing of it waits any more.

    :param step: called now and then with how far it is.
    :raises BrokerUnavailable: if the broker is gone; the job goes on once it is back.
    """
    report = _report(queue, job_id, tenant)
    while not report.finished:
        if current_owner(settings.home) is None:
            try:
                with open_runtime(settings, "ragsaver ingest --queue --wait") as runtime:
                    drainer = Drainer(runtime, queue.jobs)
                    while not report.finished:
                        drainer.drain()
                        requeue(queue.jobs, queue.broker, settings.queue.visibility_timeout_s)
                        report = _waited(queue, job_id, tenant, step)
            except IndexLocked:  # somebody else was quicker, and brings it in
                continue
        else:
            report = _waited(queue, job_id, tenant, step)
    return report


def _waited(queue: IngestQueue, job_id: str, tenant: str, step: Callable[[JobReport], None]) -> JobReport:
    report = _report(queue, job_id, tenant)
    step(report)
    if not report.finished:
        time.sleep(_LOOK_S)
    return report


def _report(queue: IngestQueue, job_id: str, tenant: str) -> JobReport:
    report = queue.report(job_id, tenant, limit=0)
    assert report is not None
    return report
