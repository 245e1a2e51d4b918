"""Prometheus is told of charges at an upper price."""

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


def told(client: TestClient) -> dict[str, float]:
    return {
        sample.labels["model"]: sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "ragsaver_upper_price_charges_total"
    }


def test_charges_at_an_upper_price_are_counted_by_model_and_those_of_known_models_are_not(runtime: Runtime):
    unknown, known = Script(statuses=[429], reply="It is [1]."), Script(reply="The veterinary office issues it [1].")
    with openai_server(unknown) as low, openai_server(known) as high:
        models = [
            {"name": "nobody-knows-this", "base_url": low, "max_retries": 0},
            {"name": "gpt-4o", "base_url": high, "max_retries": 0},
        ]
        values = runtime.settings.model_dump() | {"generation": {"extractive_first": False, "models": models}}
        values["cache"]["answers"] = "off"
        settings = Settings.model_validate(values)
        runtime.ingestor.ingest_texts(
            [PostedDocument("parrots.md", "The permit is issued by the veterinary office.", "markdown")],
            runtime.scope(),
        )
        resources = replace(runtime.resources, settings=settings)
        access = Access(LiveRuntime(Runtime(resources)), "token")
        with TestClient(create_app(access)) as client:
            assert told(client) == {"nobody-knows-this": 0}
            for _ in range(3):
                assert client.post("/v1/query", json={"query": "Who issues the permit?"}).status_code == 200
            # the first attempt was refused, and so was not charged
            assert told(client) == {"nobody-knows-this": 2}
        access.close()
        resources.till.close()
