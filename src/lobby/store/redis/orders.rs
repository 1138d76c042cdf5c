//! The orders for relays that are linked at this process: they wait in a list of its own, and are taken as they come.

use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::connection::garbled;
use super::{Redis, codec};

/// How long the list of orders is waited at, in whole seconds; the answer may take a little longer.
const WAIT_SECONDS: u64 = 2;
const ANSWER_WITHIN: Duration = Duration::from_secs(6);
/// Orders taken at once.
const AT_ONCE: usize = 1000;
/// Pause before the list of orders is dialled again.
const PAUSE: Duration = Duration::from_millis(500);

/// Name of a list, and what stood in it.
type FromList = (String, Vec<u8>);

impl Redis {
    /// Takes the orders for relays that are linked here, for ever.
    pub(super) async fn take_orders(&self) {
        let mut missed = false;
        loop {
            let address = self.connection.address();
            if let Ok(mut connection) = self.connection.dial(ANSWER_WITHIN).await {
                if std::mem::take(&mut missed) {
                    // What was taken last may have been lost on the way: relays tell what they hold, and hear the rest.
                    self.links.cut_all();
                }
                let Err(error) = self.take_orders_from(&mut connection, address).await else {
                    // Another address: all links are cut when it is connected to.
                    continue;
                };
                tracing::warn!(%error, "cannot take orders from the store");
                missed = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Until the address is another.
    async fn take_orders_from(&self, connection: &mut MultiplexedConnection, address: u64) -> Result<(), RedisError> {
        let mut both = redis::pipe();
        both.cmd("BLPOP").arg(&self.orders).arg(WAIT_SECONDS);
        both.cmd("LPOP").arg(&self.orders).arg(AT_ONCE);
        while self.connection.address() == address {
            let (first, rest): (Option<FromList>, Option<Vec<Vec<u8>>>) = both.query_async(connection).await?;
            for order in first.map(|(_, order)| order).into_iter().chain(rest.unwrap_or_default()) {
                match codec::order(&order) {
                    Ok((link, order)) => {
                        self.near.order(&order);
                        self.links.send_over(link, order);
                    }
                    Err(error) => drop(garbled(error)),
                }
            }
        }
        Ok(())
    }
}
