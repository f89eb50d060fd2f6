"""Server reflection that grpcurl and ghz can work by alone: v1 beside v1alpha, and an answer for methods.

Stock grpcio-reflection 1.85 has v1alpha only and does not find `pkg.Service.Method`. Drop this module when it does.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class MethodReflectionServicer(ReflectionServicer):
    """Answers for a method with the file of its service."""

    def _file_containing_symbol(
        self, request: reflection_pb2.ServerReflectionRequest, fully_qualified_name: str
    ) -> reflection_pb2.ServerReflectionResponse:
        service_name, _, method = fully_qualified_name.rpartition(".")
        try:
            service = descriptor_pool.Default().FindServiceByName(service_name)
        except KeyError:
            service = None
        is_method = service is not None and method in service.methods_by_name
        symbol = service_name if is_method else fully_qualified_name
        answer: reflection_pb2.ServerReflectionResponse = super()._file_containing_symbol(request, symbol)
        return answer


def add_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Serve the descriptors of the named services and of reflection itself."""
    _add_v1_descriptor()
    servicer = MethodReflectionServicer([*service_names, *SERVICES])
    # The two versions differ in their package name only, so one set of messages serves both.
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in SERVICES:
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": info})]
        )


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
