"""The REST surface over one runtime."""

from fastapi import FastAPI

from ragsaver import __version__
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server import problems
from ragsaver.server.access import Access
from ragsaver.server.request_id import RequestId
from ragsaver.server.routes import documents, health, local, query


def create_app(runtime: Runtime, token: str) -> FastAPI:
    """The ASGI app.

    :param runtime: owns the index; the caller closes it after the app has stopped.
    :param token: lets the commands of this user in.
    """
    app = FastAPI(title="RAGSaver", version=__version__)
    app.state.access = Access(runtime, token)
    for routes in (query, documents, local, health):
        app.include_router(routes.router)
    problems.register(app)
    app.add_middleware(RequestId, max_body_bytes=runtime.settings.server.max_body_mb * 2**20)
    return app
