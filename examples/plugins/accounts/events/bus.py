"""EventSinkService: the host attaches the plugin to its bus, and the plugin publishes through that."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator

import grpc

from pluginkit.context import Context
from pluginkit.gateway import Gateway, NoGateway
from plugmesh.cloudevents.v1.cloudevents_pb2 import CloudEvent
from plugmesh.event.v1 import event_pb2, event_pb2_grpc

from .errors import Lost, PublishError, Refused
from .stream import Stream

# The pause before an event is published again: it doubles from one to the next, up to the longest.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0

log = logging.getLogger("accounts.events")


class Bus(event_pb2_grpc.EventSinkServiceServicer):
    """The bus of whichever host there is, from one stream to the next."""

    def __init__(self, name: str, gateway: Gateway) -> None:
        self._name = name
        self._gateway = gateway
        self._stream: Stream | None = None
        self._attached = asyncio.Event()

    async def Attach(
        self, request_iterator: AsyncIterator[event_pb2.BusFrame], _: Context
    ) -> AsyncIterator[event_pb2.ClientFrame]:
        stream = Stream(self._name)
        # A host opens another stream when it has given up the one before, which this plugin may not know yet.
        if self._stream is not None:
            self._stream.end("the host has opened another stream of events")
        self._stream = stream
        self._attached.set()
        log.info("attached to the event bus")
        reading = asyncio.create_task(_read(stream, request_iterator))
        try:
            async for frame in stream.frames():
                yield frame
        finally:
            # Either side has ended it, or the host is gone: those who wait for an answer are told in any case.
            stream.end("the stream of events broke off")
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def publish(self, event: CloudEvent, ack: event_pb2.Ack, within: float) -> event_pb2.EventResult:
        """Publishes an event until the bus has it as safe as `ack` says, for at most so many seconds.

        It is the same event at each try, by its source and id: a durable topic takes it once.
        Raises PublishError: the last, or one that trying again does not help.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + within
        pause = FIRST_PAUSE
        is_open = self._stream is not None and self._stream.is_open
        why = "the event bus did not answer in time" if is_open else "no host has this plugin attached to its event bus"
        error: PublishError = Lost(why)
        while True:
            try:
                return await asyncio.wait_for(self._publish(event, ack, deadline - clock()), deadline - clock())
            except asyncio.TimeoutError:
                raise error from None
            except PublishError as latest:
                error = latest
            if not error.is_transient or clock() + pause >= deadline:
                raise error
            log.info("an event is published again", extra={"fields": {"id": event.id, "error": str(error)}})
            # Between half of it and all, so that many publishers do not come back at the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def close(self) -> None:
        """Ends the stream, for when nothing is published any more."""
        if self._stream is not None:
            self._stream.end("this plugin ends")

    async def _publish(self, event: CloudEvent, ack: event_pb2.Ack, within: float) -> event_pb2.EventResult:
        """One try."""
        while self._stream is None or not self._stream.is_open:
            if self._stream is not None and self._stream.is_draining:
                return await self._publish_by_call(event, ack, within)
            self._attached.clear()
            await self._attached.wait()
        return await self._stream.publish(event, ack)

    async def _publish_by_call(self, event: CloudEvent, ack: event_pb2.Ack, within: float) -> event_pb2.EventResult:
        """One try without a stream: for calls that this plugin still answers after its host has ended that."""
        request = event_pb2.PublishRequest(events=[event], ack=ack)
        try:
            stub = event_pb2_grpc.EventBusServiceStub
            response = await self._gateway.send(stub, "Publish", request, within, {})
        except NoGateway as error:
            raise Lost(str(error)) from error
        except grpc.aio.AioRpcError as error:
            raise Refused(error.code(), error.details() or "") from error
        result: event_pb2.EventResult = response.results[0]
        if result.code != grpc.StatusCode.OK.value[0]:
            raise Refused.by_number(result.code, result.message)
        return result


async def _read(stream: Stream, frames: AsyncIterator[event_pb2.BusFrame]) -> None:
    """Reads until the host has said all, which ends the stream."""
    try:
        async for frame in frames:
            stream.take(frame)
    finally:
        stream.end("the host has ended the stream of events")
