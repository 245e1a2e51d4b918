"""A real worker and a real server are asked as Prometheus asks: they tell all that is deployed asks for, and it is right."""

import re
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.test_deploy import names, queries
from tests.workers import fleet
from tests.workers.fleet import SCOPE, Project, Running

# Told only where there is a GPU.
OF_A_GPU = "ragsaver_gpu_useful_utilization"
# Any backlog needs more threads, and three seconds without one need fewer.
EAGER = {
    "RAGSAVER_QUEUE__SCALING__TARGET_AGE_S": "0.1",
    "RAGSAVER_QUEUE__SCALING__COOLDOWN_S": "3",
    "RAGSAVER_QUEUE__SCALING__LOOK_EVERY_S": "0.1",
    # so small that what arrived before, which fades in minutes, asks for no second thread
    "RAGSAVER_QUEUE__SCALING__TOKENS_PER_DOCUMENT": "100",
}
WORKER = ("worker", "--metrics-port", "0")


def metrics_url(running: Running) -> str:
    """Where a worker says that it tells its metrics, or where a server does."""
    told = "\n".join(running.said)
    found = re.search(r"its metrics at (\S+)", told)
    return found[1] if found else f"{re.search(r'listens on (.+)', told)[1]}/metrics"


def scrape(url: str) -> dict[tuple[str, ...], float]:
    """Values by the sample's name and its labels' values."""
    answer = httpx.get(url)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def until(url: str, right: Callable[[dict[tuple[str, ...], float]], bool]) -> dict[tuple[str, ...], float]:
    """The first scrape that is right."""
    return fleet.until(lambda: scrape(url), right)


def test_a_backlog_makes_a_worker_grow_and_quiet_makes_it_shrink(project: Project):
    for n in range(40):
        project.write(f"{n}.md", f"animal{n}", sections=1)
    with project.running(*WORKER, "--autoscale", "4,1", "--apply", **EAGER) as worker, project.queue() as queue:
        url = metrics_url(worker)
        assert scrape(url)["ragsaver_worker_threads",] == 1
        job = queue.put(project.order(), SCOPE).job_id
        until(url, lambda seen: seen["ragsaver_worker_threads",] == 4)
        assert project.finished(job).documents.applied == 40
        seen = until(url, lambda seen: seen["ragsaver_worker_threads",] == 1)
    assert [seen["ragsaver_documents_total", state] for state in ("embedded", "applied", "dead")] == [40, 40, 0]
    assert [seen["ragsaver_queue_depth", one] for one in ("convert", "embed", "apply")] == [0, 0, 0]
    assert 0 < seen["ragsaver_embed_tokens_total",] <= seen["ragsaver_embed_padded_tokens_total",]
    assert seen["ragsaver_embed_batch_tokens_count",] == len(project.paid())  # SMALL: a text a batch


def test_a_worker_that_sizes_itself_hands_back_what_it_has_not_begun(project: Project):
    for n in range(20):
        project.write(f"{n}.md", f"animal{n}", sections=1)
    with project.queue() as queue:
        job = queue.put(project.order(), SCOPE).job_id
        with project.running("worker", "--queues", "convert", "--autoscale", "4,1", **EAGER):
            pass  # told to stop as soon as it is ready
        stopped = queue.report(job, "default")
    assert stopped.documents.queued + stopped.documents.converted == 20
    assert {one.attempts for one in stopped.progress} == {0}


def test_a_document_that_is_given_up_is_counted(project: Project):
    project.write("0.md", "animal0")
    project.write("1.md", "animal1")
    poison = {
        "RAGSAVER_TEST_DIE": "+converting:docs/1.md",
        "RAGSAVER_QUEUE__MAX_ATTEMPTS": "1",
        "RAGSAVER_QUEUE__VISIBILITY_TIMEOUT_S": "0.5",
    }
    with (
        project.running(*WORKER, "--apply", "--concurrency", "1", reborn=True, **poison) as worker,
        project.queue() as queue,
    ):
        report = project.finished(queue.put(project.order(), SCOPE).job_id)
        assert report.documents.dead == 1
        worker.ready()
        until(
            re.findall(r"its metrics at (\S+)", "\n".join(worker.said))[-1],
            lambda seen: seen["ragsaver_documents_total", "dead"] == 1,
        )


def test_what_is_deployed_asks_for_nothing_that_no_process_tells(project: Project):
    project.write("0.md", "animal0")
    posted = {"documents": [{"source": "posted.md", "text": "Owls hunt voles."}]}
    unknown = {"RAGSAVER_GENERATION__MODELS": '[{"name": "nobody-knows-this"}]'}
    with project.running(*WORKER) as worker, project.running("serve", "--port", "0", **unknown) as server:
        url = metrics_url(server).removesuffix("/metrics")
        assert httpx.post(f"{url}/v1/documents", json=posted).status_code == 202
        told = until(metrics_url(server), lambda seen: seen["ragsaver_documents_total", "applied"] == 1)
        assert told["ragsaver_documents_total", "queued"] == 1
        # a worker counts a document once it is moved on: the server may have brought it in before that
        of_worker = until(metrics_url(worker), lambda seen: seen["ragsaver_documents_total", "embedded"] == 1)
    asked = set().union(*(names(query) for query in queries())) - {OF_A_GPU}
    # Who owns the index calls models.
    of_models = {"ragsaver_upper_price_charges_total"}
    assert of_models <= {name for name, *_ in told}
    assert asked <= {name for name, *_ in of_worker} | of_models
    # Where it alone is scraped, the rules on queues and documents work too.
    assert {name for name in asked if "queue" in name or "documents" in name} <= {name for name, *_ in told}


def test_a_server_that_ingests_by_itself_tells_what_it_embedded_and_of_no_queue(project: Project):
    with project.running("serve", "--port", "0", REDIS_URL="") as server:
        url = metrics_url(server)
        assert scrape(url)["ragsaver_embed_batch_tokens_count",] == 0  # questions and probes are none
        posted = {"documents": [{"source": "a.md", "text": "Owls hunt voles."}, {"source": "b.md", "text": " "}]}
        assert httpx.post(url.replace("metrics", "v1/documents"), json=posted).status_code == 200
        httpx.get(url.replace("metrics", "readyz"))
        seen = scrape(url)
    assert seen["ragsaver_embed_batch_tokens_count",] == 1
    assert [seen["ragsaver_documents_total", state] for state in ("applied", "failed")] == [1, 1]
    assert not any(name.startswith("ragsaver_queue") for name, *_ in seen)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--autoscale", "9,1", "1 <= MIN <= MAX <= 8"),
        ("--autoscale", "4,0", "1 <= MIN <= MAX <= 8"),
        ("--autoscale", "many", "1 <= MIN <= MAX <= 8"),
    ],
)
def test_bounds_that_the_settings_do_not_allow_are_refused(project: Project, option: str, value: str, said: str):
    done = Running(project, ["worker", option, value])
    done.process.wait(60)
    done._thread.join(60)
    assert done.process.returncode == 2
    assert said in "".join(done.said)


def test_a_port_that_another_has_is_refused_with_the_remedy(project: Project):
    with project.running(*WORKER) as worker:
        port = metrics_url(worker).rsplit(":")[-1].removesuffix("/metrics")
        other = Running(project, ["worker", "--metrics-port", port])
        other.process.wait(60)
        other._thread.join(60)
    assert other.process.returncode == 2
    assert "Choose another --metrics-port" in "".join(other.said)
