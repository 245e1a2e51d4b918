"""What routes share: the runtime in use, the thread pools that keep queries and ingestion apart, the owner's token."""

import asyncio
import hmac
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.types import Receive

from ragsaver.access.identity import Identity, Permission
from ragsaver.access.key_store import KeyStore, open_keys
from ragsaver.components.caller import Caller
from ragsaver.errors import RUN_AGAIN, BudgetExceeded, IndexMoved, Stopped
from ragsaver.index.scope import Scope
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.report import IngestReport, Progress
from ragsaver.logs.content_log import ContentLog
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.pump import CallerLeft, left
from ragsaver.server.workplaces import Workplaces
from ragsaver.workers.moves import Moved, nobody

T = TypeVar("T")

# Most of them wait for the embedding model's next shared run.
_AT_WORK = 32
# With those that wait for an endpoint that generates.
_THREADS = 256

_MOVES_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Access:
    """The runtime behind the routes. Ingestion has one thread: the index has one writer.

    Work gets the runtime when it begins, and keeps none: another may take its place (`pipelines.live`).

    :param stopping: set once the server is told to stop.
    :param moved: told of the documents that were brought in.
    :param host: that the server listens at; who comes from elsewhere needs a key.
    """

    live: LiveRuntime
    token: str
    stopping: threading.Event = field(default_factory=threading.Event)
    moved: Moved = nobody
    host: str = "127.0.0.1"
    keys: KeyStore = field(init=False)
    content: ContentLog = field(init=False)
    working: Workplaces = field(default_factory=lambda: Workplaces(_AT_WORK))
    queries: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS, "query"))
    ingestion: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "ingestion"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", open_keys(self.live.settings))
        object.__setattr__(self, "content", ContentLog(self.live.settings))

    def caller(self, receive: Receive) -> Caller:
        """Who waits for an answer that is not streamed.

        :param receive: of the request, whose body is read.
        """
        return Caller(lambda: left(receive), self.working.left)

    async def query(self, work: Callable[[Runtime], T]) -> T:
        """Run a query's work in a thread of its own pool.

        :raises CallerLeft: if the request's caller has left meanwhile, and the work was cancelled for that.
        """

        def reading() -> T:
            with self.working.taken(), self.live.use() as runtime:
                try:
                    return work(runtime)
                except asyncio.CancelledError:  # of something that it waited for; nobody has cancelled the route
                    raise CallerLeft from None

        return await asyncio.get_running_loop().run_in_executor(self.queries, copy_context().run, reading)

    async def ingest(self, work: Callable[[Runtime], T]) -> T:
        """Run ingestion's work; never on the queries' threads."""
        return await asyncio.get_running_loop().run_in_executor(self.ingestion, copy_context().run, self.writing, work)

    def writing(self, work: Callable[[Runtime], T]) -> T:
        """Run work of ingestion; called on its thread. Where another index is in use by now, this process moves to it
        within seconds, and the work is done there.
        """
        while True:
            try:
                with self.live.write() as runtime:
                    return work(runtime)
            except IndexMoved:
                if not self.live.replaced(runtime, _MOVES_WITHIN_S):
                    raise

    def counted(self, ingest: Callable[[], IngestReport]) -> IngestReport:
        """Ingest, and tell what became of the documents; returns the report.

        :raises BudgetExceeded: if some wait for a budget; it has the report of the others.
        """
        try:
            report = ingest()
        except BudgetExceeded as error:
            if isinstance(error.report, IngestReport):
                self._count(error.report)
            raise
        self._count(report)
        return report

    def _count(self, report: IngestReport) -> None:
        documents = report.documents
        self.moved(State.APPLIED, documents.added + documents.changed)
        self.moved(State.UNCHANGED, documents.unchanged)
        self.moved(State.FAILED, documents.failed)

    def go_on(self, _: Progress) -> None:
        """Called between an ingestion's documents, so that a server that stops need not wait for its end.

        :raises Stopped: once the server is told to stop.
        """
        if self.stopping.is_set():
            raise Stopped("the server was told to stop", remedy=RUN_AGAIN)

    def close(self) -> None:
        """Wait for the work under way; nothing of it may touch the index after this."""
        self.ingestion.shutdown()
        self.queries.shutdown()
        self.keys.close()
        self.content.close()


# Dependencies are coroutines: FastAPI takes a thread for each plain function, and that costs more than all of these.
async def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


async def _local_access(access: Annotated[Access, Depends(_access)], request: Request) -> Access:
    """Only the user who runs the server can read the token."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), access.token.encode()):
        raise HTTPException(401, "this route is for the server's own user")
    return access


def identity_of(request: Request) -> Identity:
    """In whose name a request is made; the door has let it in."""
    identity: Identity = request.state.identity
    return identity


def _for(*permissions: Permission) -> Callable[[Request], Awaitable[Identity]]:
    async def allowed(request: Request) -> Identity:
        identity = identity_of(request)
        identity.require(*permissions)
        return identity

    return allowed


def reading(runtime: Runtime, identity: Identity, collection: str | None) -> Scope:
    """What a question may see."""
    return Scope(identity.tenant, collection or runtime.settings.collection, identity.groups)


def all_of(runtime: Runtime, identity: Identity, collection: str | None) -> Scope:
    """What one who may ingest works on: all of a tenant's collection."""
    return Scope(identity.tenant, collection or runtime.settings.collection)


Shared = Annotated[Access, Depends(_access)]
Local = Annotated[Access, Depends(_local_access)]
Asker = Annotated[Identity, Depends(_for(Permission.QUERY))]
Ingester = Annotated[Identity, Depends(_for(Permission.INGEST))]
Spender = Annotated[Identity, Depends(_for(Permission.QUERY, Permission.ADMIN))]
Lister = Annotated[Identity, Depends(_for(Permission.QUERY, Permission.INGEST))]
