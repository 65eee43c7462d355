"""The server of a plugin, from the first call to the last."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from plugmesh.plugin.v1 import plugin_pb2, plugin_pb2_grpc

from . import listen
from .about import About
from .contract import Contract, Service
from .gateway import Gateway

# The mesh allows messages of 64 MiB unless told otherwise, gRPC 4 MiB.
MAX_MESSAGE = 64 << 20
# How long calls may go on after SIGTERM, and when the host is gone.
DRAIN_SECONDS = 30
ORPHAN_DRAIN_SECONDS = 5

PLUGIN = plugin_pb2.DESCRIPTOR.services_by_name["PluginService"].full_name

log = logging.getLogger("plugin")


async def nothing() -> None:
    """The end of a plugin that has nothing to end."""


class Server:
    """Add services to `grpc`, then `run`."""

    def __init__(self, about: About) -> None:
        self.gateway = Gateway(os.environ.get("PLUGMESH_HOST", ""))
        self.grpc = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_send_message_length", MAX_MESSAGE),
                # A second plugin on the same port is an error, and not a share of its calls.
                ("grpc.so_reuseport", 0),
            ]
        )
        self._about = about
        self._health = health.aio.HealthServicer()

    async def run(
        self,
        service: Service,
        names: Sequence[str],
        control: Sequence[str] = (),
        close: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        """Serves until somebody ends the plugin or the host is gone.

        `names` are the services that calls are routed to, and `control` those that only the host calls.
        `close` ends what calls use, when none is left.
        """

        async def set_serving(serving: bool) -> None:
            status = health_pb2.HealthCheckResponse
            for name in ("", *names):
                await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

        contract = Contract(self._about, service, names, self.gateway, set_serving)
        plugin_pb2_grpc.add_PluginServiceServicer_to_server(contract, self.grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        known = [*names, *control, PLUGIN, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(known, self.grpc)

        # Before anybody can know of the plugin, and end it.
        loop = asyncio.get_running_loop()
        ending: asyncio.Future[tuple[float, str]] = loop.create_future()

        def end(seconds: float, reason: str) -> None:
            if not ending.done():
                ending.set_result((seconds, reason))

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, DRAIN_SECONDS, number.name)

        # Set before anybody can ask: a host takes SERVING as the sign to shake hands.
        await set_serving(True)
        address = listen.bind(self.grpc, self._about.name)
        await self.grpc.start()
        listen.announce(address, self._about.name)

        lifeline = listen.watch_lifeline(lambda: end(ORPHAN_DRAIN_SECONDS, "the host is gone"))
        seconds, reason = await ending
        log.info("ending", extra={"fields": {"reason": reason}})
        await set_serving(False)
        # Health watches of the host have no end, so the server's own grace would always be used up.
        await service.in_flight.drained(seconds)
        await close()
        await self.grpc.stop(0.2)
        await self.gateway.close()
        del lifeline
