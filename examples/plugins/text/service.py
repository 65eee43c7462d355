"""TextService."""

import asyncio
import functools

import grpc

from calculator.v1 import calculator_pb2, calculator_pb2_grpc
from text.v1 import text_pb2, text_pb2_grpc

MAX_LINES = 100


def counted(method):
    """Counts a call as in flight until it has ended."""

    @functools.wraps(method)
    async def call(self, request, context):
        self.in_flight += 1
        self.idle.clear()
        try:
            return await method(self, request, context)
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self.idle.set()

    return call


class Text(text_pb2_grpc.TextServiceServicer):
    def __init__(self, gateway):
        self._gateway = gateway
        self.max_length = None
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()

    @counted
    async def Uppercase(self, request, context):
        await self._check(request.text, context)
        return text_pb2.UppercaseResponse(text=request.text.upper())

    @counted
    async def Lowercase(self, request, context):
        await self._check(request.text, context)
        return text_pb2.LowercaseResponse(text=request.text.lower())

    @counted
    async def Reverse(self, request, context):
        await self._check(request.text, context)
        return text_pb2.ReverseResponse(text=request.text[::-1])

    @counted
    async def WordCount(self, request, context):
        await self._check(request.text, context)
        return text_pb2.WordCountResponse(words=len(request.text.split()))

    @counted
    async def WordTotal(self, request, context):
        if len(request.lines) > MAX_LINES:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"lines: {MAX_LINES} at most")
        total = 0.0
        for line in request.lines:
            await self._check(line, context)
            add = calculator_pb2.AddRequest(a=total, b=len(line.split()))
            stub = calculator_pb2_grpc.CalculatorServiceStub
            total = (await self._gateway.call(stub, "Add", add, context)).value
        return text_pb2.WordTotalResponse(words=int(total))

    async def _check(self, text, context):
        if self.max_length is not None and len(text) > self.max_length:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"the text has {len(text)} characters; {self.max_length} are allowed"
            )
