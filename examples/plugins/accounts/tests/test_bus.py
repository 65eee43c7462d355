"""Publishing through streams that come and go."""

import asyncio
import unittest
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc

from events.bus import Bus
from events.errors import Lost, Refused
from pluginkit.context import Context
from pluginkit.gateway import Gateway
from plugmesh.cloudevents.v1.cloudevents_pb2 import CloudEvent
from plugmesh.event.v1 import event_pb2
from plugmesh.event.v1.event_pb2 import ACK_ACCEPTED, BusFrame, ClientFrame, Credit, EventResult

EVENT = CloudEvent(id="1", source="/test", spec_version="1.0", type="a")
LIMITS = event_pb2.Limits(event_bytes=1 << 20, frame_bytes=4 << 20, frame_events=1000, subscriptions=1)
DEADLINE = 10


class Calls:
    """A gateway that publishes whatever it gets."""

    def __init__(self) -> None:
        self.requests: list[event_pb2.PublishRequest] = []

    async def send(self, _stub: Any, _method: str, request: event_pb2.PublishRequest, *_: object) -> Any:
        self.requests.append(request)
        return event_pb2.PublishResponse(results=[EventResult(duplicate=True)])


class Host:
    """A host that has attached the plugin."""

    def __init__(self, bus: Bus) -> None:
        self._said: asyncio.Queue[BusFrame | None] = asyncio.Queue()
        self._frames = bus.Attach(self._listen(), cast(Context, None))
        self.say(BusFrame(welcome=event_pb2.Welcome(limits=LIMITS, credit=Credit(events=9, bytes=1 << 20))))

    async def _listen(self) -> AsyncIterator[BusFrame]:
        while (frame := await self._said.get()) is not None:
            yield frame

    def say(self, frame: BusFrame | None) -> None:
        self._said.put_nowait(frame)

    async def frame(self) -> ClientFrame:
        return await asyncio.wait_for(anext(self._frames), DEADLINE)

    async def published(self) -> event_pb2.Publish:
        while (frame := await self.frame()).WhichOneof("frame") != "publish":
            pass
        return frame.publish

    def answer(self, sequence: int, *results: EventResult) -> None:
        self.say(BusFrame(published=event_pb2.Published(sequence=sequence, results=results)))

    async def end(self) -> None:
        """Says that this is all, and waits until the plugin has ended its side."""
        self.say(None)
        with unittest.TestCase().assertRaises(StopAsyncIteration):
            while True:
                await self.frame()


class BusTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.calls = Calls()
        self.bus = Bus("test", cast(Gateway, self.calls))

    def publish(self, within: float = DEADLINE) -> "asyncio.Task[EventResult]":
        return asyncio.create_task(self.bus.publish(EVENT, ACK_ACCEPTED, within))

    async def test_it_waits_for_a_stream_no_longer_than_it_may(self) -> None:
        with self.assertRaisesRegex(Lost, "no host") as error:
            await self.publish(within=0.01)
        self.assertEqual(error.exception.code, grpc.StatusCode.UNAVAILABLE)
        publishing = self.publish()
        host = Host(self.bus)
        host.answer((await host.published()).sequence)
        await host.end()
        self.assertFalse((await publishing).duplicate)

    async def test_what_a_stream_did_not_answer_is_published_on_the_next(self) -> None:
        publishing = self.publish()
        first = Host(self.bus)
        self.assertEqual((await first.published()).events[0], EVENT)
        await first.end()
        second = Host(self.bus)
        again = await second.published()
        self.assertEqual(list(again.events), [EVENT])
        second.answer(again.sequence, EventResult(duplicate=True))
        await second.end()
        self.assertTrue((await publishing).duplicate)

    async def test_what_may_work_later_is_tried_again_and_nothing_else(self) -> None:
        full = EventResult(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="full")
        wrong = EventResult(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="wrong")
        publishing = self.publish()
        host = Host(self.bus)
        host.answer((await host.published()).sequence, full)
        host.answer((await host.published()).sequence, wrong)
        third = asyncio.create_task(host.published())
        with self.assertRaisesRegex(Refused, "wrong"):
            await publishing
        self.assertFalse(third.done())
        third.cancel()

    async def test_while_its_host_drains_it_publishes_by_call(self) -> None:
        publishing = self.publish()
        host = Host(self.bus)
        await host.published()
        host.say(BusFrame(draining=event_pb2.Draining()))
        await host.end()
        self.assertTrue((await publishing).duplicate)
        self.assertEqual([list(request.events) for request in self.calls.requests], [[EVENT]])

    async def test_another_stream_takes_the_place_of_the_first(self) -> None:
        first = Host(self.bus)
        await first.frame()
        second = Host(self.bus)
        await second.frame()
        with self.assertRaises(StopAsyncIteration):
            await first.frame()
        publishing = self.publish()
        second.answer((await second.published()).sequence)
        await second.end()
        await publishing


if __name__ == "__main__":
    unittest.main()
