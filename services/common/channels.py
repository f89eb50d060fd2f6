"""How one process of this project connects to another."""

from __future__ import annotations

import grpc

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Both ends. The largest message is a voice's features, a few MiB."""

HARD_MESSAGE_BYTES = 2 * MAX_MESSAGE_BYTES
"""What a server reads before gRPC itself ends the call, without a word that programs can test for."""

KEEPALIVE_SECONDS = 30
"""A client pings a silent connection this often. Servers permit pings down to a third of it:
gRPC's own limit is 5 minutes, and closes the connection with `too_many_pings`."""

_BOTH_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

CLIENT_OPTIONS = [
    *_BOTH_OPTIONS,
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Channels to one address otherwise share their back-off: a worker that is back would stay refused.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Retries are the gateway's business: it knows what was already heard.
    ("grpc.enable_retries", 0),
]

SERVER_OPTIONS = [
    *_BOTH_OPTIONS,
    ("grpc.max_receive_message_length", HARD_MESSAGE_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_SECONDS * 1000 // 3),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_SECONDS * 1000 // 3),
    # With it, a second process on the same port starts without a word and takes half of the calls.
    ("grpc.so_reuseport", 0),
]


def open_channel(address: str) -> grpc.aio.Channel:
    """Open a plaintext channel; it connects at the first call and reconnects by itself within 2 s."""
    return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
