"""Do the work here, or let the running server do it: whoever owns the index."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ragsaver.errors import BudgetExceeded, RagSaverError, told
from ragsaver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from pydantic import BaseModel

    from ragsaver.index.ownership import Owner
    from ragsaver.ingestion.holdings import HoldingsReport
    from ragsaver.ingestion.lifecycle import DocumentList, RemovalReport
    from ragsaver.ingestion.order import IngestOrder
    from ragsaver.ingestion.report import IngestReport, OutlineReport, PlanReport, Progress, VerifyReport
    from ragsaver.ingestion.selection import DocumentSelection
    from ragsaver.pipelines.result import AskResult, SearchResult
    from ragsaver.pipelines.runtime import Runtime

    Model = TypeVar("Model", bound=BaseModel)

_LONG_S = 24 * 3600.0


class Backend(Protocol):
    """What the commands ask for."""

    def ingest(self, order: "IngestOrder", progress: "Callable[[Progress], None] | None") -> "IngestReport":
        """Ingest files, folders and addresses."""
        ...

    def optimise(self) -> None:
        """Make searches fast again after much was ingested; a server does that by itself."""
        ...

    def plan(self, order: "IngestOrder") -> "PlanReport":
        """Say what an ingestion would do."""
        ...

    def search(self, question: str, collection: str | None, top_k: int | None, explain: bool = False) -> "SearchResult":
        """Find passages."""
        ...

    def ask(self, question: str, collection: str | None, pipeline: str | None) -> "AskResult":
        """Answer."""
        ...

    def verify(self, collection: str | None, vectors: bool) -> "VerifyReport":
        """Check and repair."""
        ...

    def outline(self, source: str, collection: str | None, budget_tokens: int | None) -> "OutlineReport":
        """A document's headings and what each section says."""
        ...

    def list_documents(self, selection: "DocumentSelection") -> "DocumentList":
        """The documents that are in."""
        ...

    def delete_documents(self, selection: "DocumentSelection", dry_run: bool) -> "RemovalReport":
        """Remove documents."""
        ...

    def expire_documents(self, collection: str | None, dry_run: bool) -> "RemovalReport":
        """Apply the collection's retention."""
        ...

    def report_documents(self, collection: str | None, cold_after_s: float | None) -> "HoldingsReport":
        """What the collection holds."""
        ...


@contextmanager
def backend(settings: Settings, role: str) -> Iterator[Backend]:
    """The owner's server if one runs, else this process; always this process where the index is in a server.

    :raises IndexLocked: if a process that does not serve owns the index.
    """
    from ragsaver.index.ownership import serving_owner

    owner = None if settings.index.shared else serving_owner(settings.home)
    if owner is not None and owner.url is not None:
        yield Remote(owner)
        return
    from ragsaver.pipelines.runtime import open_runtime

    with open_runtime(settings, role) as runtime:
        yield Local(runtime)


def asked_anew(work: Backend, settings: Settings) -> Backend:
    """The same, after an error: a server may have been started again elsewhere. Where none runs it is waited for, not
    replaced: it could not start again if this process took its index.
    """
    from ragsaver.index.ownership import serving_owner

    owner = serving_owner(settings.home) if isinstance(work, Remote) else None
    return Remote(owner) if owner and owner.url else work


class Local:
    """The work done in this process."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime

    def ingest(self, order: "IngestOrder", progress: "Callable[[Progress], None] | None") -> "IngestReport":
        """Ingest files, folders and addresses."""
        return self._runtime.ingestor.ingest(order, self._runtime.scope(order.collection), progress=progress)

    def optimise(self) -> None:
        """Make searches fast again after much was ingested."""
        self._runtime.index.optimise()

    def plan(self, order: "IngestOrder") -> "PlanReport":
        """Say what an ingestion would do."""
        return self._runtime.ingestor.plan(order, self._runtime.scope(order.collection))

    def search(self, question: str, collection: str | None, top_k: int | None, explain: bool = False) -> "SearchResult":
        """Find passages."""
        from ragsaver.cli.logged import logged
        from ragsaver.components.request import Request

        request = Request(self._runtime.reading(collection))
        with logged("search", request.request_id, self._runtime.settings):
            return self._runtime.engine().search(question, request, top_k, explain=explain)

    def ask(self, question: str, collection: str | None, pipeline: str | None) -> "AskResult":
        """Answer."""
        from ragsaver.cli.logged import logged
        from ragsaver.components.request import Request

        request = Request(self._runtime.reading(collection))
        with logged("ask", request.request_id, self._runtime.settings):
            return self._runtime.engine(pipeline).ask(question, request)

    def verify(self, collection: str | None, vectors: bool) -> "VerifyReport":
        """Check and repair."""
        from ragsaver.ingestion.verify import verify

        runtime = self._runtime
        scope = runtime.scope(collection)
        return verify(runtime.manifest, runtime.index, runtime.ingestor, scope, vectors=vectors)

    def outline(self, source: str, collection: str | None, budget_tokens: int | None) -> "OutlineReport":
        """A document's headings and what each section says."""
        return self._runtime.outline(source, collection, budget_tokens)

    def list_documents(self, selection: "DocumentSelection") -> "DocumentList":
        """The documents that are in."""
        return self._runtime.lifecycle.list(selection, self._runtime.scope(selection.collection))

    def delete_documents(self, selection: "DocumentSelection", dry_run: bool) -> "RemovalReport":
        """Remove documents."""
        scope = self._runtime.scope(selection.collection)
        return self._runtime.lifecycle.delete(selection, scope, dry_run=dry_run)

    def expire_documents(self, collection: str | None, dry_run: bool) -> "RemovalReport":
        """Apply the collection's retention."""
        return self._runtime.lifecycle.expire(self._runtime.scope(collection), dry_run=dry_run)

    def report_documents(self, collection: str | None, cold_after_s: float | None) -> "HoldingsReport":
        """What the collection holds."""
        return self._runtime.lifecycle.report(self._runtime.scope(collection), cold_after_s)


class Remote:
    """The work done by the server that owns the index, over HTTP on this machine."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner

    def ingest(self, order: "IngestOrder", progress: "Callable[[Progress], None] | None") -> "IngestReport":
        """Ingest files, folders and addresses."""
        from ragsaver.server.schemas import IngestEvent

        with self._asked("/v1/local/ingest", order.model_dump(mode="json")) as answer:
            for line in answer.iter_lines():
                event = IngestEvent.model_validate_json(line)
                if event.problem:
                    error = _problem(event.problem.model_dump())
                    if isinstance(error, BudgetExceeded):
                        error.report = event.report
                    raise error
                if event.report:
                    return event.report
                if event.progress and progress:
                    progress(event.progress)
        raise self._silent("it ended before the ingestion did")

    def optimise(self) -> None:
        """The server does that by itself."""

    def plan(self, order: "IngestOrder") -> "PlanReport":
        """Say what an ingestion would do."""
        from ragsaver.ingestion.report import PlanReport

        return self._post("/v1/local/plan", order.model_dump(mode="json"), PlanReport)

    def search(self, question: str, collection: str | None, top_k: int | None, explain: bool = False) -> "SearchResult":
        """Find passages."""
        from ragsaver.pipelines.result import SearchResult

        body = {"query": question, "collection": collection, "top_k": top_k, "debug": explain}
        return self._post("/v1/search", body, SearchResult)

    def ask(self, question: str, collection: str | None, pipeline: str | None) -> "AskResult":
        """Answer."""
        from ragsaver.pipelines.result import AskResult

        body = {"query": question, "collection": collection, "pipeline": pipeline}
        return self._post("/v1/query", body, AskResult)

    def verify(self, collection: str | None, vectors: bool) -> "VerifyReport":
        """Check and repair."""
        from ragsaver.ingestion.report import VerifyReport

        return self._post("/v1/local/verify", {"collection": collection, "vectors": vectors}, VerifyReport)

    def outline(self, source: str, collection: str | None, budget_tokens: int | None) -> "OutlineReport":
        """A document's headings and what each section says."""
        from ragsaver.ingestion.report import OutlineReport

        body = {"source": source, "collection": collection, "budget_tokens": budget_tokens}
        return self._post("/v1/local/outline", body, OutlineReport)

    def list_documents(self, selection: "DocumentSelection") -> "DocumentList":
        """The documents that are in."""
        from ragsaver.ingestion.lifecycle import DocumentList

        return self._post("/v1/local/documents/list", selection.model_dump(mode="json"), DocumentList)

    def delete_documents(self, selection: "DocumentSelection", dry_run: bool) -> "RemovalReport":
        """Remove documents."""
        from ragsaver.ingestion.lifecycle import RemovalReport

        body = {"selection": selection.model_dump(mode="json"), "dry_run": dry_run}
        return self._post("/v1/local/documents/delete", body, RemovalReport)

    def expire_documents(self, collection: str | None, dry_run: bool) -> "RemovalReport":
        """Apply the collection's retention."""
        from ragsaver.ingestion.lifecycle import RemovalReport

        body = {"collection": collection, "dry_run": dry_run}
        return self._post("/v1/local/documents/expire", body, RemovalReport)

    def report_documents(self, collection: str | None, cold_after_s: float | None) -> "HoldingsReport":
        """What the collection holds."""
        from ragsaver.ingestion.holdings import HoldingsReport

        body = {"collection": collection, "cold_after_s": cold_after_s}
        return self._post("/v1/local/documents/report", body, HoldingsReport)

    def _post(self, path: str, body: dict[str, Any], model: "type[Model]") -> "Model":
        with self._asked(path, body) as answer:
            return model.model_validate_json(answer.read())

    @contextmanager
    def _asked(self, path: str, body: dict[str, Any]) -> "Iterator[httpx.Response]":
        import httpx

        headers = {"authorization": f"Bearer {self._owner.token}"}
        url = f"{self._owner.url}{path}"
        try:
            with httpx.stream("POST", url, json=body, headers=headers, timeout=_LONG_S) as answer:
                if not answer.is_success:
                    raise _problem(json.loads(answer.read()))
                yield answer
        except httpx.HTTPError as error:
            raise self._silent(str(error)) from error

    def _silent(self, reason: str) -> RagSaverError:
        return RagSaverError(
            f"the server that owns the index does not answer: {reason}",
            where=str(self._owner.url),
            remedy="Look at its log, or stop it and run the command again",
        )


def _problem(document: dict[str, Any]) -> RagSaverError:
    """The error that the server told, as if it had happened here."""
    error = told(
        str(document.get("type")),
        str(document.get("problem") or document.get("detail") or document.get("title")),
        where=document.get("where"),
        remedy=document.get("remedy"),
    )
    error.retry_after_s = document.get("retry_after_s")
    error.cost_usd = document.get("cost_usd")
    return error
