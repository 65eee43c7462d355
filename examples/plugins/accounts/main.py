"""The accounts plugin: publishes events with plain grpcio, without an SDK."""

import asyncio
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The generated code, and what the examples in Python share.
sys.path[:0] = [str(HERE / "generated"), str(HERE.parents[1] / "python")]

from accounts.v1 import accounts_pb2, accounts_pb2_grpc
from events.bus import Bus
from plugmesh.event.v1 import event_pb2, event_pb2_grpc
from plugmesh.plugin.v1 import plugin_pb2
from pluginkit import logs
from pluginkit.about import About
from pluginkit.server import Server
from service import ACKS, Accounts

ABOUT = About(
    name="accounts",
    version="0.1.0",
    description="Lets users in and out, and tells who listens",
    config_schema={
        "type": "object",
        "properties": {"ack": {"enum": list(ACKS)}},
        "additionalProperties": False,
    },
    capabilities=[
        plugin_pb2.Capability(
            name="plugmesh.event",
            # A host without a bus is of no use to it.
            required=True,
            detail_json=json.dumps({"publications": ["user.login", "user.logout"]}).encode(),
        )
    ],
)
ACCOUNTS = accounts_pb2.DESCRIPTOR.services_by_name["AccountsService"].full_name
SINK = event_pb2.DESCRIPTOR.services_by_name["EventSinkService"].full_name


async def serve() -> None:
    server = Server(ABOUT)
    bus = Bus(f"{ABOUT.name} {ABOUT.version}", server.gateway)
    accounts = Accounts(bus)
    accounts_pb2_grpc.add_AccountsServiceServicer_to_server(accounts, server.grpc)
    event_pb2_grpc.add_EventSinkServiceServicer_to_server(bus, server.grpc)
    await server.run(accounts, [ACCOUNTS], control=[SINK], close=bus.close)


if __name__ == "__main__":
    logs.start()
    asyncio.run(serve())
