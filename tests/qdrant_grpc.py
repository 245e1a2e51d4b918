"""The stand-in for a Qdrant server once more, by gRPC: the client's own messages, over a real socket."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from qdrant_client import grpc as messages
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import collections_service_pb2_grpc, points_service_pb2_grpc, qdrant_pb2_grpc

from tests.qdrant_server import StandIn

_CODES = {
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    401: grpc.StatusCode.UNAUTHENTICATED,
    400: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Service:
    """The methods that are used here, on a stand-in's points."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._client = stand_in.client

    def handling(self, name: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            stand_in = self._stand_in
            with stand_in.one_at_a_time:
                stand_in.asked.append(("GRPC", name, request))
                key = dict(context.invocation_metadata()).get("api-key")
                if stand_in.api_key and key != stand_in.api_key:
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key")
                failure = stand_in.failures.pop(0) if stand_in.failures else 0
                if failure > 0:
                    context.abort(_CODES[failure], "on purpose")
                try:
                    answer = getattr(self, f"_{name}")(request)
                except ValueError as error:
                    there = "already exists" in str(error)
                    context.abort(
                        grpc.StatusCode.ALREADY_EXISTS if there else grpc.StatusCode.INVALID_ARGUMENT, str(error)
                    )
                if failure < 0:
                    context.abort(_CODES[-failure], "on purpose, after it was done")
                return answer

        return handle

    def _HealthCheck(self, _: Any) -> Any:
        return messages.HealthCheckReply(title="qdrant", version=self._stand_in.version)

    def _CollectionExists(self, request: Any) -> Any:
        exists = self._client.collection_exists(request.collection_name)
        return messages.CollectionExistsResponse(result=messages.CollectionExists(exists=exists))

    def _Create(self, request: Any) -> Any:
        self._client.create_collection(
            request.collection_name,
            vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
            sparse_vectors_config=GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config),
            metadata=GrpcToRest.convert_payload(request.metadata),
        )
        return messages.CollectionOperationResponse(result=True)

    def _Delete(self, request: Any) -> Any:
        return messages.CollectionOperationResponse(result=self._client.delete_collection(request.collection_name))

    def _GetInfo(self, request: Any) -> Any:
        info = RestToGrpc.convert_collection_info(self._client.get_collection(request.collection_name))
        for field in self._stand_in.indexed.get(request.collection_name, {}):
            info.payload_schema[field].data_type = messages.PayloadSchemaType.Keyword
        return messages.GetCollectionInfoResponse(result=info)

    def _CreateFieldIndex(self, request: Any) -> Any:
        self._stand_in.indexed.setdefault(request.collection_name, {})[request.field_name] = request
        return messages.PointsOperationResponse(result=_DONE)

    def _Upsert(self, request: Any) -> Any:
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        self._client.upsert(request.collection_name, points)
        return messages.PointsOperationResponse(result=_DONE)

    def _UpdateBatch(self, request: Any) -> Any:
        operations = [GrpcToRest.convert_points_update_operation(one) for one in request.operations]
        self._client.batch_update_points(request.collection_name, operations)
        return messages.UpdateBatchResponse(result=[_DONE for _ in operations])

    def _Get(self, request: Any) -> Any:
        found = self._client.retrieve(
            request.collection_name,
            [GrpcToRest.convert_point_id(one) for one in request.ids],
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        return messages.GetResponse(result=[RestToGrpc.convert_retrieved_point(one) for one in found])

    def _Scroll(self, request: Any) -> Any:
        found, offset = self._client.scroll(
            request.collection_name,
            GrpcToRest.convert_filter(request.filter),
            limit=request.limit,
            offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        return messages.ScrollResponse(
            result=[RestToGrpc.convert_retrieved_point(one) for one in found],
            next_page_offset=None if offset is None else RestToGrpc.convert_extended_point_id(offset),
        )

    def _Count(self, request: Any) -> Any:
        count = self._client.count(request.collection_name, GrpcToRest.convert_filter(request.filter)).count
        return messages.CountResponse(result=messages.CountResult(count=count))

    def _Facet(self, request: Any) -> Any:
        hits = self._client.facet(request.collection_name, request.key, limit=request.limit).hits
        return messages.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in hits])

    def _QueryBatch(self, request: Any) -> Any:
        asked = [GrpcToRest.convert_query_points(one) for one in request.query_points]
        answers = self._client.query_batch_points(request.collection_name, asked)
        return messages.QueryBatchResponse(
            result=[
                messages.BatchResult(result=[RestToGrpc.convert_scored_point(point) for point in answer.points])
                for answer in answers
            ]
        )


_DONE = messages.UpdateResult(operation_id=0, status=messages.UpdateStatus.Completed)
_COLLECTIONS = {"CollectionExists": "CollectionExists", "Create": "Create", "Delete": "Delete", "Get": "GetInfo"}
_POINTS = ("CreateFieldIndex", "Upsert", "UpdateBatch", "Get", "Scroll", "Count", "Facet", "QueryBatch")


@contextmanager
def grpc_port(stand_in: StandIn) -> Iterator[int]:
    """The port where the stand-in speaks gRPC too, for the code inside."""
    service = Service(stand_in)
    server = grpc.server(ThreadPoolExecutor(8))
    points, collections, root = (type("Servicer", (), {})() for _ in range(3))
    for name in _POINTS:
        setattr(points, name, service.handling(name))
    for name, method in _COLLECTIONS.items():
        setattr(collections, name, service.handling(method))
    root.HealthCheck = service.handling("HealthCheck")
    _fill(points, points_service_pb2_grpc.PointsServicer)
    _fill(collections, collections_service_pb2_grpc.CollectionsServicer)
    points_service_pb2_grpc.add_PointsServicer_to_server(points, server)
    collections_service_pb2_grpc.add_CollectionsServicer_to_server(collections, server)
    qdrant_pb2_grpc.add_QdrantServicer_to_server(root, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def _fill(made: Any, whole: type) -> None:
    """What is not used here is not implemented, as the generated class has it."""
    for name in vars(whole):
        if not name.startswith("_") and not hasattr(made, name):
            setattr(made, name, getattr(whole(), name))


def created(stand_in: StandIn) -> models.CreateCollection:
    """The first collection that was made by gRPC."""
    request = next(body for _, name, body in stand_in.asked if name == "Create")
    return models.CreateCollection(
        vectors=GrpcToRest.convert_vectors_config(request.vectors_config),
        sparse_vectors=GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config),
        shard_number=request.shard_number,
        replication_factor=request.replication_factor,
        write_consistency_factor=request.write_consistency_factor,
        quantization_config=GrpcToRest.convert_quantization_config(request.quantization_config)
        if request.HasField("quantization_config")
        else None,
        metadata=GrpcToRest.convert_payload(request.metadata),
    )
