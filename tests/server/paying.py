"""A server whose questions are paid."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from fastapi.testclient import TestClient

from ragsaver.components.resources import Resources
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings
from ragsaver.spend.prices import PriceBook

QUESTION = {"query": "Who issues the export permit for parrots?"}
PERMIT = "The permit is issued by the veterinary office."
GUIDE = f"# Parrots\n\nParrots need an export permit before they may cross a border. {PERMIT}\n"


@contextmanager
def served(
    runtime: Runtime, models: Sequence[dict], more: Mapping[str, Any] | None = None, **generation
) -> Iterator[tuple[TestClient, Access]]:
    values = runtime.settings.model_dump()
    values["generation"] = {"extractive_first": False, "models": list(models), **generation}
    price = {"input_per_mtok": 1, "cached_input_per_mtok": "0.5", "output_per_mtok": 10}
    values["spend"]["prices"] = {"tiny": price, "huge": {name: 10 * float(one) for name, one in price.items()}}
    values["spend"]["budgets"] = [
        {"scope": "tenant", "period": "month", "limit_usd": "1"},
        {"scope": "principal", "period": "month", "limit_usd": "0.5"},
    ]
    values["spend"]["pacing"]["enabled"] = False
    values["cache"]["answers"] = "off"  # each question is paid
    for section, wishes in (more or {}).items():
        values[section] = values[section] | wishes if isinstance(wishes, dict) else wishes
    changed = Settings.model_validate(values)
    for tenant in ("acme", "default", "umbrella"):
        scope = Scope(tenant, "default")
        runtime.ingestor.ingest_texts([PostedDocument("parrots.md", GUIDE, "markdown")], scope)
    resources: Resources = replace(runtime.resources, settings=changed, prices=PriceBook.of(changed.spend))
    access = Access(LiveRuntime(Runtime(resources)), "token")
    try:
        yield TestClient(create_app(access), raise_server_exceptions=False), access
    finally:
        access.close()
        resources.till.close()


def tiny(url: str, **more) -> dict:
    return {"name": "tiny", "base_url": url, "max_retries": 0, **more}


def micro(usd: float) -> int:
    return int(Decimal(str(usd)) * 1_000_000)
