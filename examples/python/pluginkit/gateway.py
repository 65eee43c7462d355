"""Calls to other plugins, and to the host, through the host's gateway."""

from collections.abc import Callable
from typing import Any

import grpc

from plugmesh.plugin.v1 import plugin_pb2

from .context import Context, trace_of

# The mesh allows messages of 64 MiB unless told otherwise, gRPC 4 MiB.
OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]


class NoGateway(Exception):
    """There is no host to call through."""

    def __init__(self) -> None:
        super().__init__("no gateway to call through: attach this plugin to a host")


class Gateway:
    """The channel to the gateway: none before there is a host, another one when the host changes."""

    def __init__(self, address: str) -> None:
        self._callback: plugin_pb2.Callback | None = None
        self._channel: grpc.aio.Channel | None = None
        self._token = ""
        if address:
            self._open(address, "")

    async def follow(self, callback: plugin_pb2.Callback) -> None:
        """Uses the gateway of a handshake from now on."""
        if callback == self._callback:
            return
        await self.close()
        self._callback = callback
        self._token = callback.token
        if callback.address:
            self._open(callback.address, callback.ca_certificates_pem)

    async def call(
        self, stub: Callable[[grpc.aio.Channel], Any], method: str, request: Any, context: Context
    ) -> Any:
        """Calls `method` of `stub` as a part of the call that `context` belongs to, which ends if that fails."""
        try:
            # None where the caller set no deadline, which means the same here.
            return await self.send(stub, method, request, context.time_remaining(), trace_of(context))
        except NoGateway as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), f"{method}: {error.details()}")

    async def send(
        self,
        stub: Callable[[grpc.aio.Channel], Any],
        method: str,
        request: Any,
        timeout: float | None,
        trace: dict[str, str],
    ) -> Any:
        """Calls `method` of `stub` for at most so many seconds.

        Raises NoGateway, or grpc.aio.AioRpcError as the call ended.
        """
        if self._channel is None:
            raise NoGateway()
        metadata = list(trace.items())
        if self._token:
            metadata.append(("plugmesh-token", self._token))
        return await getattr(stub(self._channel), method)(request, timeout=timeout, metadata=metadata)

    async def close(self) -> None:
        """Ends all calls."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _open(self, address: str, ca_certificates_pem: str) -> None:
        if address.startswith("unix://"):
            # gRPC would send the path as the HTTP/2 authority, percent-encoded, which strict servers refuse.
            options = [("grpc.default_authority", "localhost"), *OPTIONS]
            self._channel = grpc.aio.insecure_channel("unix:" + address.removeprefix("unix://"), options)
        elif address.startswith("https://"):
            credentials = grpc.ssl_channel_credentials(ca_certificates_pem.encode() or None)
            self._channel = grpc.aio.secure_channel(address.removeprefix("https://"), credentials, OPTIONS)
        # Anything else would send the token in the clear.
