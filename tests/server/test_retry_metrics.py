"""What Prometheus is told of retries, and what is said of a failure that was not retried."""

from dataclasses import replace

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings
from tests.openai_server import Script, openai_server

GUIDE = "# Parrots\n\nThe export permit for parrots is issued by the veterinary office.\n"
QUESTION = {"query": "Who issues the export permit for parrots?"}


def told(client: TestClient) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("ragsaver_model_").removesuffix("_total"), sample.labels["tier"]): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name.startswith("ragsaver_model")
    }


def test_a_failure_beyond_the_share_is_not_retried_goes_up_and_is_counted(runtime: Runtime):
    small, large = Script(statuses=[503] * 9), Script()
    with openai_server(small) as low, openai_server(large) as high:
        wishes = {"retry_share": 0, "max_retries": 1}
        models = [
            {"name": "little", "base_url": low, "retry_least": 1, **wishes},
            {"name": "great", "base_url": high, "retry_least": 0, **wishes},
        ]
        values = runtime.settings.model_dump() | {"generation": {"extractive_first": False, "models": models}}
        values["cache"]["answers"] = "off"
        settings = Settings.model_validate(values)
        runtime.ingestor.ingest_texts([PostedDocument("parrots.md", GUIDE, "markdown")], runtime.scope())
        access = Access(LiveRuntime(Runtime(replace(runtime.resources, settings=settings))), "token")
        with TestClient(create_app(access)) as client:
            names = ("first_attempts", "retries", "retries_refused")
            assert told(client) == {(name, tier): 0 for name in names for tier in ("small", "large")}
            for _ in range(2):
                answer = client.post("/v1/query", json=QUESTION).json()
                assert answer["route"]["tier"] == "large"
            counts = told(client)
            assert [counts[name, "small"] for name in names] == [2, 1, 1]
            assert [counts[name, "large"] for name in names] == [2, 0, 0]
            large.statuses = [500]
            problem = client.post("/v1/query", json=QUESTION).json()
            assert problem["status"] == 502 and "retry_share" in problem["remedy"]
        access.close()
        assert len(small.requests) == 4
