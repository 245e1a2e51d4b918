"""The REST surface over one runtime."""

from fastapi import FastAPI

from ragsaver import __version__
from ragsaver.server import problems
from ragsaver.server.access import Access
from ragsaver.server.request_id import RequestId
from ragsaver.server.routes import documents, health, local, local_documents, query


def create_app(access: Access) -> FastAPI:
    """The ASGI app.

    :param access: the runtime and what lets the commands of this user in; the caller closes both.
    """
    app = FastAPI(title="RAGSaver", version=__version__)
    app.state.access = access
    for routes in (query, documents, local, local_documents, health):
        app.include_router(routes.router)
    problems.register(app)
    app.add_middleware(RequestId, max_body_bytes=access.runtime.settings.server.max_body_mb * 2**20)
    return app
