"""Server reflection that grpcurl and ghz can work by alone: v1 beside v1alpha, and an answer for methods.

Stock grpcio-reflection 1.85 has v1alpha only and does not find `pkg.Service.Method`; drop this module when
it has both.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class MethodReflectionServicer(reflection.aio.ReflectionServicer):
    """Answers for a method with the file of its service."""

    # types-grpcio-reflection takes the asynchronous generator for a coroutine.
    async def ServerReflectionInfo(  # type: ignore[override]  # noqa: N802 (gRPC names its methods)
        self, request_iterator: AsyncIterable[Request], unused_context: Any
    ) -> AsyncIterator[Response]:
        async for request in request_iterator:
            asked = Request()
            asked.CopyFrom(request)
            if request.HasField("file_containing_symbol"):
                asked.file_containing_symbol = _findable(request.file_containing_symbol)
            answers: AsyncIterator[Response] = super().ServerReflectionInfo(_only(asked), unused_context)  # type: ignore[assignment]
            async for answer in answers:
                answer.original_request.CopyFrom(request)
                yield answer


def _findable(symbol: str) -> str:
    """Return the service of a method, and any other symbol as it is."""
    parent, _, method = symbol.rpartition(".")
    try:
        service = descriptor_pool.Default().FindServiceByName(parent)
    except KeyError:
        return symbol
    return parent if method in service.methods_by_name else symbol


async def _only(request: Request) -> AsyncIterator[Request]:
    yield request


def add_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Serve the descriptors of the named services and of reflection itself."""
    _add_v1_descriptor()
    servicer = MethodReflectionServicer([*service_names, *SERVICES])
    # The two versions differ in their package name only, so one set of messages serves both.
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=Request.FromString,
        response_serializer=Response.SerializeToString,
    )
    for name in SERVICES:
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": info})])


def _add_v1_descriptor() -> None:
    """Make v1 describable: `grpcurl describe` asks for every service that is listed."""
    pool = descriptor_pool.Default()
    proto = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(proto)
    renamed = text_format.MessageToString(proto).replace("v1alpha", "v1")
    proto = text_format.Parse(renamed, descriptor_pb2.FileDescriptorProto())
    try:
        pool.FindFileByName(proto.name)
    except KeyError:
        pool.AddSerializedFile(proto.SerializeToString())
