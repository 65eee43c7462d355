//! `CalculatorService`.

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::details::invalid_field;
use crate::v1::calculator_service_server::CalculatorService;
use crate::v1::{
    AccumulateRequest, AccumulateResponse, AddRequest, AddResponse, DivideRequest, DivideResponse,
    FibonacciRequest, FibonacciResponse, MultiplyRequest, MultiplyResponse,
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service; it has no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calculator;

#[tonic::async_trait]
impl CalculatorService for Calculator {
    type FibonacciStream = Answers<FibonacciResponse>;
    type AccumulateStream = Answers<AccumulateResponse>;

    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        let AddRequest { a, b } = request.into_inner();
        Ok(Response::new(AddResponse { value: a + b }))
    }

    async fn multiply(
        &self,
        request: Request<MultiplyRequest>,
    ) -> Result<Response<MultiplyResponse>, Status> {
        let MultiplyRequest { a, b } = request.into_inner();
        Ok(Response::new(MultiplyResponse { value: a * b }))
    }

    async fn divide(&self, request: Request<DivideRequest>) -> Result<Response<DivideResponse>, Status> {
        let DivideRequest { a, b } = request.into_inner();
        if b == 0.0 {
            return Err(invalid_field("b", "division by zero"));
        }
        Ok(Response::new(DivideResponse { value: a / b }))
    }

    async fn fibonacci(
        &self,
        request: Request<FibonacciRequest>,
    ) -> Result<Response<Self::FibonacciStream>, Status> {
        let count = request.into_inner().count;
        let (mut this, mut next) = (Some(0_u64), Some(1_u64));
        let numbers = (0..count).map(move |index| {
            let value = this.ok_or_else(|| Status::out_of_range("the next number does not fit 64 bits"))?;
            (this, next) = (next, next.and_then(|next| next.checked_add(value)));
            Ok(FibonacciResponse { index, value })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(until_error(numbers)))))
    }

    async fn accumulate(
        &self,
        request: Request<Streaming<AccumulateRequest>>,
    ) -> Result<Response<Self::AccumulateStream>, Status> {
        let mut total = 0.0;
        let totals = request.into_inner().map(move |number| {
            total += number?.value;
            Ok(AccumulateResponse { total })
        });
        Ok(Response::new(Box::pin(totals)))
    }
}

/// `results` up to and including the first error.
fn until_error<T>(
    results: impl Iterator<Item = Result<T, Status>>,
) -> impl Iterator<Item = Result<T, Status>> {
    let mut failed = false;
    results.take_while(move |result| !std::mem::replace(&mut failed, result.is_err()))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tonic::Code;

    use super::*;
    use crate::details::{BadRequest, RpcStatus};

    #[tokio::test]
    async fn dividing_by_zero_names_the_field_in_its_details() {
        let status = Calculator.divide(Request::new(DivideRequest { a: 1.0, b: 0.0 })).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = RpcStatus::decode(status.details()).unwrap();
        let bad_request = BadRequest::decode(details.details[0].value.as_slice()).unwrap();
        assert_eq!(bad_request.field_violations[0].field, "b");
    }

    #[tokio::test]
    async fn fibonacci_ends_where_64_bits_do() {
        let answer = Calculator.fibonacci(Request::new(FibonacciRequest { count: 1000 })).await.unwrap();
        let numbers: Vec<_> = answer.into_inner().collect().await;
        let (last, good) = numbers.split_last().unwrap();
        assert_eq!(last.as_ref().unwrap_err().code(), Code::OutOfRange);
        assert_eq!(good[7].as_ref().unwrap().value, 13);
        assert_eq!(good.last().unwrap().as_ref().unwrap().value, 12_200_160_415_121_876_738);
    }
}
