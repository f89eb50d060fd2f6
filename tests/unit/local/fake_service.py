"""A process with a health service, or one that dies: `python fake_service.py ADDRESS [die|deaf]`."""

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

print("here is the log", flush=True)
mode = sys.argv[2] if len(sys.argv) > 2 else ""
if mode == "die":
    sys.exit("no weights anywhere")
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
if mode != "deaf":
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("tts.v1.TextToSpeech", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(sys.argv[1])
    server.start()
ended.wait()
