//! A host and a guest who talk all the time and come back through the lobby whenever their relay sends them away; and how
//! long they did not hear one another meanwhile.

use std::time::{Duration, Instant};

use convene::wire::session::{Connect, SessionCreated};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{LobbyApi, Seat};

/// Each says something so often.
const EVERY: Duration = Duration::from_millis(100);
/// Who has not heard the other for so long was cut off, by the project's own definition.
pub(crate) const CUT: Duration = Duration::from_secs(10);

/// What one member went through.
#[derive(Debug)]
pub(crate) struct Told {
    /// How often it was sent away and came back.
    pub(crate) moves: u32,
    /// The longest time in which it did not hear the other.
    pub(crate) longest: Duration,
    /// On which relay it is now.
    pub(crate) relay: String,
}

/// Both, talking.
pub(crate) struct Party {
    pub(crate) session: SessionCreated,
    members: Vec<JoinHandle<Told>>,
    stop: CancellationToken,
}

impl Party {
    /// Begins a session at these coordinates; returns once both have heard one another.
    pub(crate) async fn begin(lobby: &LobbyApi, (latitude, longitude): (f64, f64)) -> Self {
        let session = lobby.create(latitude, longitude).await.expect("a session");
        let joined = lobby.join(&session.session.id, session.join_key.as_ref()).await.expect("a guest joins");
        let mut host = Seat::take(&session.connect).await.expect("the host connects");
        let mut guest = Seat::take(&joined.connect).await.expect("the guest connects");
        crate::client::talk(&mut host, &mut guest).await.expect("they hear one another");
        let (stop, relay) = (CancellationToken::new(), session.session.relay.clone());
        let members = [(host, true), (guest, false)].map(|(seat, is_host)| {
            let way = Way { lobby: lobby.clone(), session: session.clone(), is_host };
            tokio::spawn(member(way, seat, relay.clone(), stop.clone()))
        });
        Self { session, members: members.into(), stop }
    }

    /// Ends it, and tells what both went through. Nobody was cut.
    pub(crate) async fn end(self) -> Vec<Told> {
        self.stop.cancel();
        let mut told = Vec::new();
        for member in self.members {
            told.push(member.await.expect("a member goes on until it is stopped"));
        }
        assert!(told.iter().all(|member| member.longest < CUT), "somebody was cut: {told:?}");
        told
    }
}

/// How a member comes back.
struct Way {
    lobby: LobbyApi,
    session: SessionCreated,
    is_host: bool,
}

impl Way {
    async fn back(&self) -> Result<(Seat, String), String> {
        let id = &self.session.session.id;
        let joined = if self.is_host {
            self.lobby.rejoin(id, &self.session.host_token).await?
        } else {
            self.lobby.join(id, self.session.join_key.as_ref()).await?
        };
        let connect: &Connect = &joined.connect;
        Ok((Seat::take(connect).await?, joined.session.relay))
    }
}

async fn member(way: Way, mut seat: Seat, mut relay: String, stop: CancellationToken) -> Told {
    let (mut moves, mut longest, mut heard) = (0, Duration::ZERO, Instant::now());
    while !stop.is_cancelled() {
        let said = seat.send("still here").await;
        let lost = match seat.receive_within(EVERY).await {
            Ok(_) => {
                longest = longest.max(heard.elapsed());
                heard = Instant::now();
                said.is_err()
            }
            Err(why) => said.is_err() || why != "no message in time",
        };
        while lost && !stop.is_cancelled() {
            match way.back().await {
                Ok(found) => {
                    (seat, relay) = found;
                    moves += 1;
                    break;
                }
                Err(_) => tokio::time::sleep(EVERY).await,
            }
        }
    }
    // The other may have stopped a moment before: that is no silence.
    Told { moves, longest, relay }
}
