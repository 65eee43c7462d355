"""Calls to other plugins through the host's gateway."""

import grpc

# What a call hands on to the calls made for it.
TRACE = ("traceparent", "tracestate")

# The mesh allows messages of 64 MiB unless told otherwise, gRPC 4 MiB.
OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]


class Gateway:
    """The channel to the gateway: none before there is a host, another one when the host changes."""

    def __init__(self, address):
        self._callback = None
        self._channel = None
        self._token = None
        if address:
            self._open(address, "")

    async def follow(self, callback):
        """Uses the gateway of a handshake from now on."""
        if callback == self._callback:
            return
        await self.close()
        self._callback = callback
        self._token = callback.token
        if callback.address:
            self._open(callback.address, callback.ca_certificates_pem)

    async def call(self, stub, method, request, context):
        """Calls `method` of `stub` as a part of the call that `context` belongs to."""
        if self._channel is None:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "no gateway to call through: attach this plugin to a host"
            )
        metadata = [(key, value) for key, value in context.invocation_metadata() if key in TRACE]
        if self._token:
            metadata.append(("plugmesh-token", self._token))
        try:
            # None where the caller set no deadline, which means the same here.
            left = context.time_remaining()
            return await getattr(stub(self._channel), method)(request, timeout=left, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), f"{method}: {error.details()}")

    async def close(self):
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _open(self, address, ca_certificates_pem):
        if address.startswith("unix://"):
            # gRPC would send the path as the HTTP/2 authority, percent-encoded, which strict servers refuse.
            options = [("grpc.default_authority", "localhost"), *OPTIONS]
            self._channel = grpc.aio.insecure_channel("unix:" + address.removeprefix("unix://"), options)
        elif address.startswith("https://"):
            credentials = grpc.ssl_channel_credentials(ca_certificates_pem.encode() or None)
            self._channel = grpc.aio.secure_channel(address.removeprefix("https://"), credentials, OPTIONS)
        # Anything else would send the token in the clear.
