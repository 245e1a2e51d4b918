"""Do the work here, or let the running server do it: whoever owns the index."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ragsaver.errors import RagSaverError
from ragsaver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from ragsaver.index.ownership import Owner
    from ragsaver.ingestion.ingest import Progress
    from ragsaver.ingestion.report import IngestReport, VerifyReport
    from ragsaver.pipelines.result import AskResult, SearchResult
    from ragsaver.pipelines.runtime import Runtime

    Model = TypeVar("Model", bound=BaseModel)

_LONG_S = 24 * 3600.0


class Backend(Protocol):
    """What the commands ask for."""

    def ingest(
        self,
        paths: Sequence[Path],
        collection: str | None,
        prune: bool,
        progress: "Callable[[Progress], None] | None",
    ) -> "IngestReport":
        """Ingest files and folders."""
        ...

    def search(self, question: str, collection: str | None, top_k: int | None) -> "SearchResult":
        """Find passages."""
        ...

    def ask(self, question: str, collection: str | None, pipeline: str | None) -> "AskResult":
        """Answer."""
        ...

    def verify(self, collection: str | None) -> "VerifyReport":
        """Check and repair."""
        ...


@contextmanager
def backend(settings: Settings, role: str) -> Iterator[Backend]:
    """The owner's server if one runs, else this process.

    :raises IndexLocked: if a process that does not serve owns the index.
    """
    from ragsaver.index.ownership import current_owner

    owner = current_owner(settings.home)
    if owner is not None and owner.url is not None:
        yield Remote(owner)
        return
    from ragsaver.pipelines.runtime import open_runtime

    with open_runtime(settings, role) as runtime:
        yield Local(runtime)


class Local:
    """The work done in this process."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime

    def ingest(
        self,
        paths: Sequence[Path],
        collection: str | None,
        prune: bool,
        progress: "Callable[[Progress], None] | None",
    ) -> "IngestReport":
        """Ingest files and folders."""
        scope = self._runtime.scope(collection)
        return self._runtime.ingestor.ingest(list(paths), scope, prune=prune, progress=progress)

    def search(self, question: str, collection: str | None, top_k: int | None) -> "SearchResult":
        """Find passages."""
        from ragsaver.components.request import Request

        return self._runtime.engine().search(question, Request(self._runtime.scope(collection)), top_k)

    def ask(self, question: str, collection: str | None, pipeline: str | None) -> "AskResult":
        """Answer."""
        from ragsaver.components.request import Request

        return self._runtime.engine(pipeline).ask(question, Request(self._runtime.scope(collection)))

    def verify(self, collection: str | None) -> "VerifyReport":
        """Check and repair."""
        from ragsaver.ingestion.verify import verify

        runtime = self._runtime
        return verify(runtime.manifest, runtime.index, runtime.ingestor, runtime.scope(collection))


class Remote:
    """The work done by the server that owns the index, over HTTP on this machine."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner

    def ingest(
        self,
        paths: Sequence[Path],
        collection: str | None,
        prune: bool,
        progress: "Callable[[Progress], None] | None",
    ) -> "IngestReport":
        """Ingest files and folders."""
        from ragsaver.ingestion.report import IngestReport

        body = {
            "paths": [str(path) for path in paths],
            "cwd": str(Path.cwd()),
            "collection": collection,
            "prune": prune,
        }
        return self._post("/v1/local/ingest", body, IngestReport)

    def search(self, question: str, collection: str | None, top_k: int | None) -> "SearchResult":
        """Find passages."""
        from ragsaver.pipelines.result import SearchResult

        body = {"query": question, "collection": collection, "top_k": top_k}
        return self._post("/v1/search", body, SearchResult)

    def ask(self, question: str, collection: str | None, pipeline: str | None) -> "AskResult":
        """Answer."""
        from ragsaver.pipelines.result import AskResult

        body = {"query": question, "collection": collection, "pipeline": pipeline}
        return self._post("/v1/query", body, AskResult)

    def verify(self, collection: str | None) -> "VerifyReport":
        """Check and repair."""
        from ragsaver.ingestion.report import VerifyReport

        return self._post("/v1/local/verify", {"collection": collection}, VerifyReport)

    def _post(self, path: str, body: dict[str, Any], model: "type[Model]") -> "Model":
        import httpx

        headers = {"authorization": f"Bearer {self._owner.token}"}
        try:
            answer = httpx.post(f"{self._owner.url}{path}", json=body, headers=headers, timeout=_LONG_S)
        except httpx.HTTPError as error:
            raise RagSaverError(
                f"the server that owns the index does not answer: {error}",
                where=str(self._owner.url),
                remedy="Look at its log, or stop it and run the command again",
            ) from error
        if answer.is_success:
            return model.model_validate_json(answer.content)
        raise _problem(answer.json())


def _problem(document: dict[str, Any]) -> RagSaverError:
    """The error that the server told, as if it had happened here."""
    return RagSaverError(
        str(document.get("problem") or document.get("detail") or document.get("title")),
        where=document.get("where"),
        remedy=document.get("remedy"),
    )
