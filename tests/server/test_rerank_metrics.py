"""What Prometheus is told of reranking: every way a question can go, from the start, and the one it went."""

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from ragsaver.components.rerank_watch import DECISIONS, Sample
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app


def told(client: TestClient) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name.startswith("ragsaver_rerank")
    }


def test_a_question_to_the_reranked_pipeline_is_counted_and_said_on_its_receipt(runtime: Runtime):
    access = Access(LiveRuntime(runtime), "token")
    with TestClient(create_app(access)) as client:
        before = told(client)
        assert {name[1] for name in before if name[0] == "ragsaver_rerank_decisions_total"} == set(DECISIONS)
        assert set(before.values()) == {0.0}
        texts = ["Owls hunt voles at night.", "The office issues permits for fishing.", "Parrots eat seeds."]
        documents = [{"source": f"{n}.md", "text": text} for n, text in enumerate(texts)]
        client.post("/v1/documents", json={"documents": documents})
        answer = client.post("/v1/query", json={"query": "Who issues permits?", "pipeline": "reranked"}).json()
        (line,) = (line for line in answer["receipt"]["lines"] if line["stage"] == "rerank")
        assert told(client)["ragsaver_rerank_decisions_total", line["reason"].split(":")[0]] == 1
        runtime.resources.reranking.watch.note(Sample(moved=True, left_behind=0.5), "acme")
        after = told(client)
        assert after["ragsaver_rerank_skipped_moved_ratio",] == 1 and after["ragsaver_rerank_samples_total",] >= 1
    access.close()
