"""A stream against a bus that says what the contract lets it say."""

import asyncio
import unittest

import grpc

from events.errors import Lost, Refused
from events.stream import FRAME_BYTES, Stream
from plugmesh.cloudevents.v1.cloudevents_pb2 import CloudEvent
from plugmesh.event.v1 import event_pb2
from plugmesh.event.v1.event_pb2 import ACK_ACCEPTED, ACK_DURABLE, BusFrame, Credit, EventResult, Publish

LIMITS = event_pb2.Limits(event_bytes=1 << 20, frame_bytes=4 << 20, frame_events=3, subscriptions=1)
DEADLINE = 10


def event(id: str, size: int = 0) -> CloudEvent:
    return CloudEvent(id=id, source="/test", spec_version="1.0", type="a", binary_data=bytes(size))


class Scene:
    """A stream, what it sends, and publishers."""

    def __init__(self) -> None:
        self.stream = Stream("test 1.0")
        self._frames = self.stream.frames()

    async def frame(self) -> event_pb2.ClientFrame:
        return await asyncio.wait_for(anext(self._frames), DEADLINE)

    async def published(self) -> Publish:
        return (await self.frame()).publish

    def welcome(self, events: int = 100, bytes: int = 1 << 20) -> None:
        welcome = event_pb2.Welcome(epoch=7, limits=LIMITS, credit=Credit(events=events, bytes=bytes))
        self.stream.take(BusFrame(welcome=welcome))

    def answer(self, sequence: int, *results: EventResult) -> None:
        self.stream.take(BusFrame(published=event_pb2.Published(sequence=sequence, results=results)))

    async def publish(self, *events: CloudEvent, ack: event_pb2.Ack = ACK_DURABLE) -> "list[asyncio.Task[EventResult]]":
        tasks = [asyncio.create_task(self.stream.publish(event, ack)) for event in events]
        # Each has begun, and waits for its answer.
        await asyncio.sleep(0)
        return tasks


async def settled() -> None:
    """Lets every task go as far as it can: none here waits for anything but another."""
    for _ in range(20):
        await asyncio.sleep(0)


def ids(publish: Publish) -> str:
    return " ".join(event.id for event in publish.events)


class StreamTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.scene = Scene()
        self.assertEqual((await self.scene.frame()).hello.name, "test 1.0")

    async def outcome(self, task: "asyncio.Task[EventResult]") -> EventResult:
        return await asyncio.wait_for(task, DEADLINE)

    async def test_nothing_is_sent_before_the_welcome_and_beyond_the_credit(self) -> None:
        await self.scene.publish(event("1"), event("2"))
        sending = asyncio.create_task(self.scene.published())
        await settled()
        self.assertFalse(sending.done())
        self.scene.welcome(events=1)
        self.assertEqual(ids(await sending), "1")
        sending = asyncio.create_task(self.scene.published())
        # That of a subscription is not ours.
        self.scene.stream.take(BusFrame(credit=Credit(subscription=1, events=9, bytes=9)))
        await settled()
        self.assertFalse(sending.done())
        self.scene.stream.take(BusFrame(credit=Credit(events=1)))
        self.assertEqual(ids(await sending), "2")

    async def test_the_last_event_may_be_larger_than_what_is_left(self) -> None:
        self.scene.welcome(bytes=1)
        await self.scene.publish(event("1", 100), event("2"))
        self.assertEqual(ids(await self.scene.published()), "1")
        sending = asyncio.create_task(self.scene.published())
        # What the first took too much is still missing.
        self.scene.stream.take(BusFrame(credit=Credit(bytes=50)))
        await settled()
        self.assertFalse(sending.done())
        self.scene.stream.take(BusFrame(credit=Credit(bytes=100)))
        self.assertEqual(ids(await sending), "2")

    async def test_frames_keep_to_the_limits_and_to_one_ack_each(self) -> None:
        self.scene.welcome()
        await self.scene.publish(*(event(id) for id in "1234"))
        await self.scene.publish(event("5"), ack=ACK_ACCEPTED)
        await self.scene.publish(event("6", FRAME_BYTES), event("7"), ack=ACK_ACCEPTED)
        frames = [await self.scene.published() for _ in range(5)]
        self.assertEqual([ids(frame) for frame in frames], ["1 2 3", "4", "5", "6", "7"])
        self.assertEqual([frame.ack for frame in frames], [ACK_DURABLE] * 2 + [ACK_ACCEPTED] * 3)
        self.assertEqual([frame.sequence for frame in frames], [1, 2, 3, 4, 5])

    async def test_results_are_of_single_events(self) -> None:
        self.scene.welcome()
        first, second, third = await self.scene.publish(event("1"), event("2"), event("3"))
        await self.scene.published()
        full = EventResult(index=1, code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="full")
        self.scene.answer(1, full, EventResult(index=2, duplicate=True))
        self.assertEqual((await self.outcome(first)).duplicate, False)
        self.assertEqual((await self.outcome(third)).duplicate, True)
        with self.assertRaises(Refused) as refused:
            await self.outcome(second)
        self.assertEqual((refused.exception.code, str(refused.exception)), (grpc.StatusCode.RESOURCE_EXHAUSTED, "full"))
        self.assertTrue(refused.exception.is_transient)

    async def test_a_problem_with_a_frame_is_its_answer(self) -> None:
        self.scene.welcome()
        (task,) = await self.scene.publish(event("1"))
        await self.scene.published()
        with self.assertLogs("accounts.events"):
            self.scene.stream.take(BusFrame(problem=event_pb2.Problem(code=3, message="no", sequence=1)))
        with self.assertRaises(Refused) as refused:
            await self.outcome(task)
        self.assertEqual(refused.exception.code, grpc.StatusCode.INVALID_ARGUMENT)

    async def test_an_event_that_is_too_large_is_not_sent(self) -> None:
        self.scene.welcome(bytes=8 << 20)
        large, small = await self.scene.publish(event("1", 2 << 20), event("2"))
        self.assertEqual(ids(await self.scene.published()), "2")
        with self.assertRaises(Refused) as refused:
            await self.outcome(large)
        self.assertFalse(refused.exception.is_transient)
        self.assertFalse(small.done())

    async def test_who_gave_up_is_not_published_and_not_answered(self) -> None:
        self.scene.welcome()
        gone, there = await self.scene.publish(event("1"), event("2"))
        gone.cancel()
        await asyncio.sleep(0)
        self.assertEqual(ids(await self.scene.published()), "2")
        there.cancel()
        await asyncio.sleep(0)
        self.scene.answer(1)

    async def test_draining_lets_answers_through_and_nothing_else(self) -> None:
        self.scene.welcome(events=1)
        sent, waiting = await self.scene.publish(event("1"), event("2"))
        await self.scene.published()
        self.scene.stream.take(BusFrame(draining=event_pb2.Draining()))
        for lost in (waiting, *await self.scene.publish(event("3"))):
            with self.assertRaises(Lost):
                await self.outcome(lost)
        self.scene.answer(1)
        self.assertEqual((await self.outcome(sent)).code, 0)

    async def test_the_end_tells_everybody_and_ends_what_is_sent(self) -> None:
        self.scene.welcome(events=1)
        tasks = await self.scene.publish(event("1"), event("2"))
        await self.scene.published()
        self.scene.stream.end("gone")
        for lost in tasks:
            with self.assertRaises(Lost) as error:
                await self.outcome(lost)
            self.assertTrue(error.exception.is_transient)
        with self.assertRaises(StopAsyncIteration):
            await self.scene.frame()


if __name__ == "__main__":
    unittest.main()
