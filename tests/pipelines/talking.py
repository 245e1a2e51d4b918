"""A project whose conversations a second model helps with: the first answers, both are real HTTP servers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from ragsaver.components.request import Request
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from ragsaver.spend.receipt import Receipt
from ragsaver.spend.tables import entries
from tests.openai_server import Script, openai_server

ISLANDS = ["Arran", "Bute", "Eigg"]


def pages(islands: Sequence[str]) -> list[PostedDocument]:
    """What there is to say about each of them."""
    return [
        PostedDocument(f"{name}-{part}.md", f"# {title}\n\n{text}")
        for n, name in enumerate(islands)
        for part, title, text in (
            ("light", f"The lighthouse of {name}", f"The lighthouse of {name} was lit in 18{10 + n}. "
             f"Its keeper is called {name}son. It is {20 + n} metres tall."),
            ("farms", f"Farming on {name}", f"On {name} {n + 3}00 sheep graze. People grow barley and kale."),
            ("ferry", f"Getting to {name}", f"The ferry to {name} leaves on day {n}."),
        )
    ]  # fmt: skip


class Talk:
    """The project, and what its two models were asked."""

    def __init__(self, runtime: Runtime, answers: Script, helper: Script) -> None:
        self.runtime, self.answers, self.helper = runtime, answers, helper

    def request(self, *said: str, tenant: str | None = None, **wishes: Any) -> Request:
        roles = ("user", "assistant") * len(said)
        scope = self.runtime.reading()
        if tenant is not None:
            scope = Scope(tenant, scope.collection, scope.groups)
        return Request(scope, history=tuple(zip(roles, said, strict=False)), **wishes)

    def told_helper(self, place: int = -1) -> str:
        """What the helper was sent as data."""
        return str(self.helper.requests[place]["messages"][1]["content"])

    def prompt(self) -> list[str]:
        """What the answering model was sent last."""
        return [str(one["content"]) for one in self.answers.requests[-1]["messages"]]

    def ledger(self) -> list[tuple[str, str]]:
        """Tier and outcome of every call that was charged."""
        with self.runtime.resources.till.ledger.database.reading() as connection:
            calls = sa.select(entries.c.tier, entries.c.outcome).where(entries.c.tier != "")
            rows = connection.execute(calls.order_by(entries.c.id))
            return [tuple(row) for row in rows]


def lines(receipt: Receipt, stage: str) -> list[str]:
    return [f"{line.item}: {line.reason}" for line in receipt.lines if line.stage == stage]


@contextmanager
def talking(folder: Path, answers: Script, helper: Script, **settings: Any) -> Iterator[Talk]:
    """Open it; `settings` are sections, `generation` among them."""
    with openai_server(answers) as url, openai_server(helper) as other:
        model = {"max_retries": 0, "api_key": SecretStr("k"), "rest_after_failures": 0}
        generation = {
            "models": [
                {"name": "tiny", "base_url": url, **model},
                {"name": "helper", "base_url": other, "tier": "helper", **model},
            ],
            "conversation": {"tier": "helper", **settings.get("conversation", {})},
            "extractive_first": False,
            "max_escalations": 0,
            "fallback": "none",
            "router": "never",
            **settings.get("generation", {}),
        }
        price = {"input_per_mtok": "10", "output_per_mtok": "10"}
        made = Settings.model_validate(
            {
                "home": folder / "home",
                "generation": generation,
                "cache": {"answers": "off", **settings.get("cache", {})},
                "spend": {
                    "prices": {"tiny": price, "helper": {"input_per_mtok": "1", "output_per_mtok": "1"}},
                    **settings.get("spend", {}),
                },
            }
        )
        with open_runtime(made, "a test") as opened:
            for tenant in (None, "other"):
                opened.ingestor.ingest_texts(pages(ISLANDS), opened.scope(tenant=tenant))
            yield Talk(opened, answers, helper)
