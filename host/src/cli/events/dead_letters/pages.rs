//! Dead letters, a page at a time.

use plugmesh::event::v1::event_bus_service_client::EventBusServiceClient;
use plugmesh::event::v1::{DeadLetter, ListDeadLettersRequest, ListDeadLettersResponse};
use tonic::transport::Channel;

use crate::cli::connect::Host;
use crate::cli::error::CliError;

/// Dead letters of a page: each is up to the largest event, so that many of them are more than an answer may have.
const PAGE: u32 = 64;

/// The pages of a list.
pub(super) struct Pages {
    client: EventBusServiceClient<Channel>,
    /// For the next one; `None` behind the last.
    next: Option<ListDeadLettersRequest>,
}

impl Pages {
    /// Those of a subscription, or of all if the name is empty.
    pub(super) fn of(host: &Host, subscription: &str) -> Self {
        let subscription = subscription.to_owned();
        let first = ListDeadLettersRequest { subscription, page_size: PAGE, page_token: String::new() };
        Self { client: host.events(), next: Some(first) }
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<DeadLetter>>, CliError> {
        let Some(request) = self.next.take() else { return Ok(None) };
        let subscription = request.subscription.clone();
        let ListDeadLettersResponse { letters, next_page_token: page_token } =
            self.client.list_dead_letters(request).await?.into_inner();
        if !page_token.is_empty() {
            self.next = Some(ListDeadLettersRequest { subscription, page_size: PAGE, page_token });
        }
        Ok(Some(letters))
    }
}
