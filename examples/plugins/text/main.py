"""The text plugin: plain grpcio against the plugmesh contract, without an SDK."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "generated"))

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from plugmesh.plugin.v1 import plugin_pb2, plugin_pb2_grpc
from text.v1 import text_pb2, text_pb2_grpc

import listen
import logs
from contract import Contract
from gateway import Gateway
from service import Text

# The mesh allows messages of 64 MiB unless told otherwise, gRPC 4 MiB.
MAX_MESSAGE = 64 << 20
# How long calls may go on after SIGTERM, and when the host is gone.
DRAIN_SECONDS = 30
ORPHAN_DRAIN_SECONDS = 5

TEXT = text_pb2.DESCRIPTOR.services_by_name["TextService"].full_name
PLUGIN = plugin_pb2.DESCRIPTOR.services_by_name["PluginService"].full_name

log = logging.getLogger("text")


async def set_health(servicer, status):
    for service in ("", TEXT):
        await servicer.set(service, status)


async def serve():
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            # A second plugin on the same port is an error, and not a share of its calls.
            ("grpc.so_reuseport", 0),
        ]
    )
    health_servicer = health.aio.HealthServicer()
    gateway = Gateway(os.environ.get("PLUGMESH_HOST", ""))
    text = Text(gateway)
    contract = Contract(
        text,
        gateway,
        services=[TEXT],
        serving=lambda: set_health(health_servicer, health_pb2.HealthCheckResponse.SERVING),
        not_serving=lambda: set_health(health_servicer, health_pb2.HealthCheckResponse.NOT_SERVING),
    )
    text_pb2_grpc.add_TextServiceServicer_to_server(text, server)
    plugin_pb2_grpc.add_PluginServiceServicer_to_server(contract, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection([TEXT, PLUGIN, health.SERVICE_NAME, reflection.SERVICE_NAME], server)

    # Before anybody can know of the plugin, and end it.
    loop = asyncio.get_running_loop()
    ending = loop.create_future()

    def end(seconds, reason):
        if not ending.done():
            ending.set_result((seconds, reason))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, DRAIN_SECONDS, number.name)

    # Set before anybody can ask: a host takes SERVING as the sign to shake hands.
    await set_health(health_servicer, health_pb2.HealthCheckResponse.SERVING)
    address = listen.bind(server)
    await server.start()
    listen.announce(address)

    lifeline = listen.watch_lifeline(lambda: end(ORPHAN_DRAIN_SECONDS, "the host is gone"))
    seconds, reason = await ending
    log.info("ending", extra={"fields": {"reason": reason}})
    await set_health(health_servicer, health_pb2.HealthCheckResponse.NOT_SERVING)
    # Health watches of the host have no end, so the server's own grace would always be used up.
    await contract.drained(seconds)
    await server.stop(0.2)
    await gateway.close()
    del lifeline


if __name__ == "__main__":
    logs.start()
    asyncio.run(serve())
