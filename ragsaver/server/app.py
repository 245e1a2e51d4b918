"""The REST surface over one runtime."""

from fastapi import FastAPI

from ragsaver import __version__
from ragsaver.access.keyring import Keyring
from ragsaver.server import problems
from ragsaver.server.access import Access
from ragsaver.server.allowance import Allowance
from ragsaver.server.cache_reading import CacheReading
from ragsaver.server.door import Door, Doorkeeper
from ragsaver.server.receipt_reading import ReceiptReading
from ragsaver.server.request_id import RequestId
from ragsaver.server.request_log import RequestLog
from ragsaver.server.rerank_reading import RerankReading
from ragsaver.server.retry_reading import RetryReading
from ragsaver.server.routes import documents, health, jobs, local, local_documents, metrics, money, openai, query
from ragsaver.workers.backlog import Backlog
from ragsaver.workers.metrics import IngestionMetrics
from ragsaver.workers.price_reading import PriceReading, upper_charges
from ragsaver.workers.queueing import IngestQueue
from ragsaver.workers.readings import QueueReading


def create_app(access: Access, queue: IngestQueue | None = None, told: IngestionMetrics | None = None) -> FastAPI:
    """The ASGI app.

    :param access: the runtime in use and what lets the commands of this user in; the caller closes both.
    :param queue: where documents go if workers ingest them; the caller closes it.
    :param told: what `/metrics` tells, besides the queues and reranking.
    """
    app = FastAPI(title="RAGSaver", version=__version__)
    app.state.access = access
    app.state.queue = queue
    app.state.metrics = told or IngestionMetrics()
    app.state.metrics.registry.register(RerankReading(access.live))
    app.state.metrics.registry.register(CacheReading(access.live))
    app.state.metrics.registry.register(RetryReading(access.live))
    app.state.metrics.registry.register(ReceiptReading(access.live))
    app.state.metrics.registry.register(PriceReading(lambda: upper_charges(access.live)))
    if queue is not None:
        app.state.metrics.registry.register(QueueReading(Backlog(queue.jobs)))
    for routes in (query, openai, money, documents, jobs, local, local_documents, health, metrics):
        app.include_router(routes.router)
    problems.register(app)
    settings = access.live.settings
    # The last one that is added is the first that a request meets.
    app.add_middleware(Allowance, settings=settings.server)
    app.add_middleware(Door, keeper=Doorkeeper(settings, Keyring(access.keys), access.token, access.host))
    app.add_middleware(RequestId, max_body_bytes=settings.server.max_body_mb * 2**20)
    app.add_middleware(RequestLog, content=access.content)
    return app
