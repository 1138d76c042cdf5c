//! What clients have measured, looked after while nobody asks: shared with the other processes of this lobby through the store,
//! kept there over restarts, and put under the systems that a changed database names. All of it is behind the requests: who
//! creates a session is placed by what stands in memory, whether the store answers or not.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::state::Lobby;
use super::store::{Away, Shelf, Wrote};
use crate::decide::networks::{Kept, Unkept};
use crate::process::secret;

/// Between two rounds, and how much of that is chance's: processes take turns.
const EVERY: Duration = Duration::from_secs(5);
/// Networks that are read in one step, and written: some 5 kB each at most.
const READ_AT_ONCE: usize = 100;
const WRITE_AT_ONCE: usize = 32;
/// Steps in which a round writes; what is left over waits for the next.
const WRITES: usize = 16;

/// How far this process has come.
#[derive(Debug, Default)]
struct Place {
    shelf: String,
    after: u64,
}

/// Rounds until `shutdown`. Where the store has no place for it, this process remembers alone.
pub(super) async fn run(lobby: &Lobby, shutdown: &CancellationToken) {
    let (mut place, mut databases) = (Place::default(), 0);
    loop {
        let generation = lobby.origins.geoip.generation();
        if generation != databases {
            databases = generation;
            lobby.origins.look_up_systems();
        }
        if let Some(shelf) = lobby.store.shelf() {
            match shutdown.run_until_cancelled(round(lobby, shelf, &mut place)).await {
                None => return,
                Some(Ok(())) => {}
                // Said by the store itself. What was not written stays in memory and waits.
                Some(Err(Away)) => lobby.origins.shared("away"),
            }
        }
        let pause = EVERY.mul_f64(0.8 + 0.4 * secret::random_fraction());
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn round(lobby: &Lobby, shelf: &dyn Shelf, place: &mut Place) -> Result<(), Away> {
    loop {
        let changed = shelf.changed(place.after, READ_AT_ONCE).await?;
        let is_other = !place.shelf.is_empty() && changed.shelf != place.shelf;
        if is_other || changed.last < place.after {
            tracing::info!("the store has lost what clients have measured: it is told anew");
            lobby.origins.forgotten();
            *place = Place::default();
            if !changed.shelf.is_empty() {
                place.shelf = changed.shelf;
                continue;
            }
            break;
        }
        place.shelf = changed.shelf;
        let count = changed.networks.len();
        for kept in &changed.networks {
            take_in(lobby, kept);
            place.after = place.after.max(kept.number);
        }
        if count < READ_AT_ONCE {
            break;
        }
    }
    for _ in 0..WRITES {
        let unkept = lobby.origins.unkept(WRITE_AT_ONCE);
        if unkept.is_empty() {
            break;
        }
        let texts: Vec<Kept> = unkept.iter().map(Unkept::kept).collect();
        for (unkept, wrote) in unkept.iter().zip(shelf.keep(&texts).await?) {
            match wrote {
                Wrote::Under(number) => {
                    lobby.origins.has_kept(unkept, number);
                    lobby.origins.shared("written");
                }
                Wrote::Other(other) => take_in(lobby, &other),
            }
        }
    }
    Ok(())
}

fn take_in(lobby: &Lobby, kept: &Kept) {
    if lobby.origins.take_in(kept).is_ok() {
        lobby.origins.shared("read");
    } else {
        lobby.origins.shared("garbled");
        tracing::warn!(network = %kept.network, "what the store keeps of a network cannot be read, and is passed over");
    }
}
