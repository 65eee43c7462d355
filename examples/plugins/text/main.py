"""The text plugin: plain grpcio against the plugmesh contract, without an SDK."""

import asyncio
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The generated code, and what the examples in Python share.
sys.path[:0] = [str(HERE / "generated"), str(HERE.parents[1] / "python")]

from plugmesh.plugin.v1 import plugin_pb2
from pluginkit import logs
from pluginkit.about import About
from pluginkit.server import Server
from service import Text
from text.v1 import text_pb2, text_pb2_grpc

ABOUT = About(
    name="text",
    version="0.1.0",
    description="Changes and counts texts",
    config_schema={
        "type": "object",
        "properties": {"max_length": {"type": "integer", "minimum": 1}},
        "additionalProperties": False,
    },
    # Only WordTotal calls it.
    dependencies=[plugin_pb2.Dependency(plugin="calculator", version_range="^0.1", optional=True)],
)
TEXT = text_pb2.DESCRIPTOR.services_by_name["TextService"].full_name


async def serve() -> None:
    server = Server(ABOUT)
    text = Text(server.gateway)
    text_pb2_grpc.add_TextServiceServicer_to_server(text, server.grpc)
    await server.run(text, [TEXT])


if __name__ == "__main__":
    logs.start()
    asyncio.run(serve())
