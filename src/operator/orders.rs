//! Orders to relays. Each may be lost: whether a relay obeys stands in its reports, and until it does it is ordered again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::control::ControlClient;
use crate::wire::control::Server;
use crate::wire::orders::{ORDERS_PATH, Order};

/// Time for an order to be taken.
const WITHIN: Duration = Duration::from_secs(2);
/// Orders on their way at a time; more are dropped, and given again later.
const AT_ONCE: usize = 256;

/// Gives orders, without waiting for them.
pub(crate) struct Orders {
    control: ControlClient,
    metrics: Metrics,
    ended: CancellationToken,
    places: Arc<Semaphore>,
}

impl Orders {
    /// None given yet. All end with `ended`: who no longer leads orders nothing.
    pub(crate) fn new(control: ControlClient, metrics: Metrics, ended: CancellationToken) -> Self {
        Self { control, metrics, ended, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Gives an order to the relay of a pool at this address, if it has one yet.
    pub(crate) fn give(&self, pool: &Server, address: Option<SocketAddr>, order: Order) {
        let Some(address) = address else { return };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.metrics.orders.with_label_values(&["dropped"]).inc();
            return;
        };
        let (http, metrics) = (self.control.client(), self.metrics.clone());
        let url = self.control.url(pool, address, ORDERS_PATH);
        tokio::spawn(self.ended.clone().run_until_cancelled_owned(async move {
            let sent = http.post(&url).timeout(WITHIN).json(&order).send().await;
            let outcome = match sent.and_then(reqwest::Response::error_for_status) {
                Ok(_) => "taken",
                Err(error) => {
                    tracing::debug!(url, %error, ?order, "an order was not taken; it is given again");
                    "failed"
                }
            };
            metrics.orders.with_label_values(&[outcome]).inc();
            drop(place);
        }));
    }
}
