"""A stand-in for a Qdrant server: the client's own local mode behind the REST routes that are used here.

There is no server to install on any machine. This one speaks the same protocol over a real socket, to several
processes at once, and fails on purpose. A real server is tested where RAGSAVER_TEST_QDRANT_URL names one.
"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_UPDATES = TypeAdapter(models.UpdateOperations)


class StandIn:
    """The server's state: what it holds, what it was asked, and how it is to fail.

    :ivar failures: statuses of the next answers, first one first; what was asked is done all the same if it is
        below zero.
    """

    def __init__(self, version: str = "1.19.1", api_key: str | None = None) -> None:
        self.client = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self.version = version
        self.api_key = api_key
        self.url = ""
        self.asked: list[tuple[str, str, Any]] = []
        self.failures: list[int] = []
        self.indexed: dict[str, Any] = {}
        self.one_at_a_time = threading.RLock()

    def requests(self, path: str) -> list[Any]:
        """The bodies that were sent to paths with this ending."""
        return [body for _, asked, body in self.asked if asked.endswith(path)]

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body() or "null")
        return await run_in_threadpool(self._answer, request, body)

    def _answer(self, request: Request, body: Any) -> Response:
        with self.one_at_a_time:
            path = request.url.path
            self.asked.append((request.method, path, body))
            if self.api_key and request.headers.get("api-key") != self.api_key:
                return JSONResponse({"status": {"error": "Invalid API key"}}, 401)
            failure = self.failures.pop(0) if self.failures else 0
            if failure > 0:
                return JSONResponse({"status": {"error": "on purpose"}}, failure, {"retry-after": "0"})
            if path == "/collections":
                return JSONResponse({"result": self.client.get_collections().model_dump(), "status": "ok", "time": 0.0})
            if path == "/":
                return JSONResponse({"title": "qdrant", "version": self.version})
            try:
                result = self._do(request.method, request.path_params["name"], path.split("/", 3)[3:], body)
            except ValueError as error:
                status = 409 if "already exists" in str(error) else 404 if "not found" in str(error) else 400
                return JSONResponse({"status": {"error": str(error)}}, status)
            if failure < 0:
                return JSONResponse({"status": {"error": "on purpose, after it was done"}}, -failure)
            return JSONResponse({"result": result, "status": "ok", "time": 0.0})

    def _do(self, method: str, name: str, rest: list[str], body: Any) -> Any:
        client, what = self.client, rest[0] if rest else ""
        if (method, what) == ("GET", "exists"):
            return {"exists": client.collection_exists(name)}
        if (method, what) == ("GET", ""):
            info = client.get_collection(name).model_dump(mode="json")
            return {**info, "payload_schema": self.indexed.get(name, {})}
        if (method, what) == ("PUT", ""):
            made = models.CreateCollection.model_validate(body)
            return client.create_collection(
                name,
                vectors_config=made.vectors,
                sparse_vectors_config=made.sparse_vectors,
                metadata=made.metadata,
            )
        if (method, what) == ("DELETE", ""):
            return client.delete_collection(name)
        if (method, what) == ("PUT", "index"):
            schema = {"data_type": "keyword", "params": body["field_schema"], "points": 0}
            if isinstance(body["field_schema"], str):
                schema["params"] = None
            self.indexed.setdefault(name, {})[body["field_name"]] = schema
            return _DONE
        return _json(self._points(name, method, what, body))

    def _points(self, name: str, method: str, what: str, body: Any) -> Any:
        client = self.client
        if (method, what) == ("PUT", "points"):
            client.upsert(name, models.PointsList.model_validate(body).points)
            return _DONE
        if what == "points/batch":
            client.batch_update_points(name, _UPDATES.validate_python(body).operations)
            return _DONE_ALL
        if what == "points/query/batch":
            searches = models.QueryRequestBatch.model_validate(body).searches
            return client.query_batch_points(name, searches)
        if what == "points/scroll":
            asked = models.ScrollRequest.model_validate(body)
            records, offset = client.scroll(
                name,
                asked.filter,
                limit=asked.limit,
                offset=asked.offset,
                with_payload=asked.with_payload,
                with_vectors=asked.with_vector,
            )
            return {"points": _json(records), "next_page_offset": offset}
        if what == "points":
            asked = models.PointRequest.model_validate(body)
            return client.retrieve(name, asked.ids, with_payload=asked.with_payload, with_vectors=asked.with_vector)
        if what == "points/count":
            return client.count(name, models.CountRequest.model_validate(body).filter)
        if what == "facet":
            return client.facet(name, body["key"], limit=body["limit"])
        raise ValueError(f"not found: {method} {what}")


_DONE = {"operation_id": 0, "status": "completed"}
_DONE_ALL = [_DONE, _DONE]


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(one) for one in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


@contextmanager
def qdrant_server(version: str = "1.19.1", api_key: str | None = None) -> Iterator[StandIn]:
    """A server on a free port, for the code inside."""
    stand_in = StandIn(version, api_key)
    methods = ["GET", "PUT", "POST", "DELETE"]
    routes = [
        Route("/", stand_in.answer, methods=methods),
        Route("/collections", stand_in.answer, methods=methods),
        Route("/collections/{name}", stand_in.answer, methods=methods),
        Route("/collections/{name}/{rest:path}", stand_in.answer, methods=methods),
    ]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        stand_in.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        listener.listen()
        thread.start()
        try:
            yield stand_in
        finally:
            server.should_exit = True
            thread.join()
