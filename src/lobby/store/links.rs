//! The relay links that end in this process, and the way of orders to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::decide::sessions::{Order, Outrun};

/// The way to one run of one relay.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its number, another for each link of any lobby process.
    pub number: u64,
    /// Number of the dial that it came by.
    pub dial: u64,
    /// Name of the run.
    pub boot_id: String,
    /// What is to be sent.
    pub orders: mpsc::Sender<Order>,
    /// Ends the link.
    pub cut: CancellationToken,
}

/// All links of this process.
#[derive(Clone, Debug, Default)]
pub struct Links(Arc<Mutex<HashMap<String, Link>>>);

impl Links {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A relay has a new link. One of an earlier dial is cut; beside one of a later dial there is no other.
    pub(super) fn put(&self, pod_uid: &str, link: Link) -> Result<(), Outrun> {
        let mut links = self.lock();
        if links.get(pod_uid).is_some_and(|known| known.dial > link.dial) {
            return Err(Outrun);
        }
        if let Some(before) = links.insert(pod_uid.to_owned(), link) {
            before.cut.cancel();
        }
        Ok(())
    }

    /// A link has ended.
    pub(super) fn remove(&self, pod_uid: &str, number: u64) {
        let mut links = self.lock();
        if links.get(pod_uid).is_some_and(|link| link.number == number) {
            links.remove(pod_uid);
        }
    }

    /// Whether the relay of a Pod is linked here.
    pub(in crate::lobby) fn has(&self, pod_uid: &str) -> bool {
        self.lock().contains_key(pod_uid)
    }

    /// Cuts a link: its relay dials again and tells anew what it holds.
    pub(super) fn cut(&self, pod_uid: &str, number: u64) {
        if let Some(link) = self.lock().get(pod_uid).filter(|link| link.number == number) {
            link.cut.cancel();
        }
    }

    /// Cuts all links.
    pub(super) fn cut_all(&self) {
        for link in self.lock().values() {
            link.cut.cancel();
        }
    }

    /// Sends an order that was given to one link of a relay and no other.
    pub(super) fn send_over(&self, number: u64, order: Order) {
        let links = self.lock();
        if let Some(link) = links.get(&order.pod_uid).filter(|link| link.number == number)
            && link.orders.try_send(order).is_err()
        {
            link.cut.cancel();
        }
    }

    /// Sends orders to those who are linked here. A relay that takes none is cut off; it gets them on its next link.
    pub(super) fn send(&self, orders: impl IntoIterator<Item = Order>) {
        let links = self.lock();
        for order in orders {
            // An order for another run of that Pod is for nobody.
            let Some(link) = links.get(&order.pod_uid).filter(|link| link.boot_id == order.boot_id) else { continue };
            if link.orders.try_send(order).is_err() {
                link.cut.cancel();
            }
        }
    }
}
