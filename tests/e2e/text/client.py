"""Calls the calculator at each address given, with grpcio as it comes."""

import sys

import grpc

from calculator.v1 import calculator_pb2 as messages
from calculator.v1 import calculator_pb2_grpc as stubs

for target in sys.argv[1:]:
    with grpc.insecure_channel(target) as channel:
        calculator = stubs.CalculatorServiceStub(channel)
        print("sum", calculator.Add(messages.AddRequest(a=40, b=2), timeout=30).value)
        numbers = calculator.Fibonacci(messages.FibonacciRequest(count=7), timeout=30)
        print("fibonacci", *(number.value for number in numbers))
        values = (messages.AccumulateRequest(value=value) for value in (1, 2, 3))
        print("totals", *(answer.total for answer in calculator.Accumulate(values, timeout=30)))
        try:
            calculator.Divide(messages.DivideRequest(a=1), timeout=30)
        except grpc.RpcError as error:
            print("error", error.code().name, error.details())
