//! The store of any number of lobby processes: Redis, in which each step is one script.
//!
//! Every process keeps a view of all relays, a fraction of a second old, and corrects it by the replies to its grants.
//! Orders for a relay wait in a list of the process that has its link, which takes them as they come. While Redis is
//! away nothing that runs is touched: links stay, sessions of relays that are linked here can be joined, all else is
//! refused for the moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Away, Link, Links, Shelf, Store, Via};
use crate::decide::cuts::Came;
use crate::decide::sessions::{
    Dial, Grant, Home, Keyed, Known, Limits, LinkUp, NotAsked, OrderKind, Outrun, Party, Present, Recall, Refused,
    Seen, Session, Shift, Swept, View,
};
use crate::process::secret;
use crate::wire::link::Load;
use crate::wire::session::{Guest, GuestState};
use crate::wire::stats::RelayStats;

mod address;
mod codec;
mod connection;
mod latest;
mod near;
mod orders;
mod scripts;
mod shelf;

pub use address::{Files, Unusable};
use codec::{Garbled, Reply};
pub use connection::Settings;
use connection::{Connection, garbled, prefix};
use latest::Latest;
use near::Near;
use scripts::Scripts;

/// How often the view is made anew.
const VIEW_EVERY: Duration = Duration::from_millis(250);
/// Things of one kind that one sweep ends, so that none keeps the server for long; there are more sweeps if need be.
const SWEEP_AT_ONCE: usize = 500;
/// Sessions that are looked at in one step.
const LOOK_AT_ONCE: usize = 100;
/// Sweeps in a row.
const SWEEPS: usize = 20;

/// A store in Redis.
#[derive(Debug)]
pub struct Redis {
    connection: Connection,
    scripts: Scripts,
    silent: Duration,
    replica: String,
    orders: String,
    latest: Mutex<Latest>,
    changed: Notify,
    /// One view is asked for at a time, so that none is overwritten by an older one that was answered later.
    refreshing: tokio::sync::Mutex<()>,
    near: Near,
    links: Links,
}

impl Redis {
    /// A store that is not connected yet; [`Store::run`] does that. Fails if there is no address in the files.
    pub async fn new(settings: &Settings, limits: Limits, links: Links) -> Result<Self, Unusable> {
        let replica = secret::random_id();
        Ok(Self {
            connection: Connection::new(settings).await?,
            scripts: Scripts::new(&limits),
            silent: limits.silent,
            orders: format!("{}o:{replica}", prefix(&settings.prefix)),
            replica,
            latest: Mutex::new(Latest::new(View { silent: limits.silent, ..View::default() })),
            changed: Notify::new(),
            refreshing: tokio::sync::Mutex::default(),
            near: Near::default(),
            links,
        })
    }

    /// Makes the view anew.
    pub async fn refresh(&self) -> Result<(), Away> {
        let _one = self.refreshing.lock().await;
        let (_, mut reply) = self.connection.step(&self.scripts.view, |_| {}).await?;
        let view = self.read_view(&mut reply).map_err(garbled)?;
        self.latest().replace(view, reply.stamp);
        self.changed.notify_one();
        Ok(())
    }

    fn read_view(&self, reply: &mut Reply) -> Result<View, Garbled> {
        // The server's clock may have been set back.
        let age = Duration::from_millis(reply.number::<i64>()?.try_into().unwrap_or(0));
        let mut runs = HashMap::new();
        for run in reply.list()?.lists() {
            if let (pod_uid, Some(run)) = codec::run(run?)? {
                runs.insert(pod_uid, run);
            }
        }
        Ok(View { runs, age, silent: self.silent })
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a step says of a run.
    fn correct(&self, reply: &mut Reply) -> Result<(), Garbled> {
        let (pod_uid, run) = codec::run(reply.list()?)?;
        self.latest().correct(pod_uid, run, reply.stamp);
        self.changed.notify_one();
        Ok(())
    }

    fn granted(&self, id: &str, outcome: &str, mut reply: Reply) -> Result<Result<Session, Refused>, Garbled> {
        let why = match outcome {
            "ok" => {
                self.correct(&mut reply)?;
                return Ok(Ok(codec::session(id.to_owned(), reply.list()?)?));
            }
            "not" => {
                self.correct(&mut reply)?;
                Refused::NotThere
            }
            "answered" => Refused::Answered(recall(&mut reply)?),
            "changed" => Refused::Changed,
            "unknown" => Refused::Unknown,
            "many" => Refused::TooManySessions,
            _ => return Err(Garbled),
        };
        Ok(Err(why))
    }

    /// Says something of a relay; one whose link is no longer counted is cut, so that it tells all anew.
    async fn say(
        &self,
        via: Via<'_>,
        script: &Script,
        arguments: impl FnOnce(&mut redis::ScriptInvocation<'_>) + Send,
    ) -> Result<(), Away> {
        let said = self.connection.step(script, |call| {
            call.arg(via.pod_uid).arg(via.link);
            arguments(call);
        });
        let (outcome, _) = said.await?;
        if outcome == "gone" {
            self.links.cut(via.pod_uid, via.link);
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("these types are JSON")
}

fn recall(reply: &mut Reply) -> Result<Recall, Garbled> {
    match reply.text()?.as_str() {
        "new" => Ok(Recall::New),
        "mismatch" => Ok(Recall::Mismatch),
        "gone" => Ok(Recall::Gone),
        "same" => {
            serde_json::from_str(&reply.text()?).map(|answer| Recall::Same(Box::new(answer))).map_err(|_| Garbled)
        }
        _ => Err(Garbled),
    }
}

#[async_trait]
impl Store for Redis {
    fn view(&self) -> Arc<View> {
        self.latest().whole()
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn is_away(&self) -> bool {
        self.connection.is_away()
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        Some(self)
    }

    async fn run(&self, shutdown: CancellationToken) {
        let look = async {
            loop {
                let _ = self.refresh().await;
                tokio::time::sleep(VIEW_EVERY).await;
            }
        };
        let all =
            async { tokio::join!(self.connection.keep(&self.scripts.begin, &self.links), look, self.take_orders()) };
        shutdown.run_until_cancelled(all).await;
    }

    async fn grant(&self, grant: Grant) -> Result<Result<Session, Refused>, Away> {
        let Grant { session, capacity, keyed } = grant;
        let (key, request, answer) = match keyed {
            Some(Keyed { key, request, answer }) => (key, request, json(&answer)),
            None => Default::default(),
        };
        let step = self.connection.step(&self.scripts.grant, |call| {
            call.arg(&session.id).arg(session.created_at);
            call.arg(&session.secrets.host_token).arg(&session.secrets.join_key).arg(codec::place_text(&session.place));
            call.arg(&session.home.pod_uid).arg(&session.home.boot_id).arg(json(&session.home)).arg(capacity);
            call.arg(key).arg(request).arg(answer).arg(session.name.as_deref().unwrap_or_default());
            call.arg(u8::from(session.approval));
        });
        let (outcome, reply) = step.await?;
        self.granted(&session.id, &outcome, reply).map_err(garbled)
    }

    async fn shift(&self, shift: Shift) -> Result<Result<Session, Refused>, Away> {
        let Shift { id, from, home, capacity, at } = shift;
        let step = self.connection.step(&self.scripts.shift, |call| {
            call.arg(&id).arg(from).arg(&home.pod_uid).arg(&home.boot_id).arg(json(&home)).arg(capacity).arg(at);
        });
        let (outcome, reply) = step.await?;
        self.granted(&id, &outcome, reply).map_err(garbled)
    }

    async fn renew(&self, id: &str, epoch: u64) -> Result<Result<Session, Refused>, Away> {
        let (outcome, reply) = self
            .connection
            .step(&self.scripts.renew, |call| {
                call.arg(id).arg(epoch);
            })
            .await?;
        self.granted(id, &outcome, reply).map_err(garbled)
    }

    async fn meet(&self, session: &str, guest: Party) -> Result<Result<Session, Refused>, Away> {
        let step = self.connection.step(&self.scripts.meet, |call| {
            call.arg(session).arg(&guest.id).arg(guest.since).arg(codec::place_text(&guest.place));
        });
        let (outcome, reply) = step.await?;
        self.granted(session, &outcome, reply).map_err(garbled)
    }

    async fn rename(&self, id: &str, name: String) -> Result<Result<Session, Refused>, Away> {
        let step = self.connection.step(&self.scripts.rename, |call| {
            call.arg(id).arg(&name);
        });
        let (outcome, reply) = step.await?;
        self.granted(id, &outcome, reply).map_err(garbled)
    }

    async fn close(&self, id: &str) -> Result<(), Away> {
        let step = self.connection.step(&self.scripts.close, |call| {
            call.arg(id);
        });
        step.await.map(|_| ())
    }

    async fn find(&self, id: &str) -> Result<Known, Away> {
        let step = self.connection.step(&self.scripts.find, |call| {
            call.arg(id);
        });
        let mut reply = match step.await {
            Ok((_, reply)) => reply,
            Err(Away) => return self.near.find(id).map(|session| Known::Live(Box::new(session))).ok_or(Away),
        };
        let mut known = || match reply.text()?.as_str() {
            "live" => Ok(Known::Live(Box::new(codec::session(id.to_owned(), reply.list()?)?))),
            "closed" => Ok(Known::Closed { host_token: reply.text()? }),
            "nothing" => Ok(Known::Nothing),
            _ => Err(Garbled),
        };
        known().map_err(garbled)
    }

    async fn recall(&self, key: &str, request: &str) -> Result<Recall, Away> {
        let step = self.connection.step(&self.scripts.recall, |call| {
            call.arg(key).arg(request);
        });
        let (_, mut reply) = step.await?;
        recall(&mut reply).map_err(garbled)
    }

    async fn ask(
        &self,
        session: &str,
        guest: &str,
        name: Option<&str>,
        at: i64,
    ) -> Result<Result<Guest, NotAsked>, Away> {
        let step = self.connection.step(&self.scripts.ask, |call| {
            call.arg(session).arg(guest).arg(at).arg(name.unwrap_or_default());
        });
        let (outcome, mut reply) = step.await?;
        match outcome.as_str() {
            "ok" => reply.list().and_then(codec::guest).map(Ok).map_err(garbled),
            "unknown" => Ok(Err(NotAsked::Unknown)),
            "many" => Ok(Err(NotAsked::TooMany)),
            _ => Err(garbled(Garbled)),
        }
    }

    async fn admit(&self, session: &str, guest: &str, approve: bool) -> Result<Option<Guest>, Away> {
        let state = if approve { GuestState::Approved } else { GuestState::Refused };
        let step = self.connection.step(&self.scripts.admit, |call| {
            call.arg(session).arg(guest).arg(state.as_str());
        });
        match step.await? {
            (outcome, _) if outcome == "unknown" => Ok(None),
            (_, mut reply) => reply.list().and_then(codec::guest).map(Some).map_err(garbled),
        }
    }

    async fn look(&self, ids: &[String]) -> Result<Vec<Seen>, Away> {
        let mut all = Vec::with_capacity(ids.len());
        for ids in ids.chunks(LOOK_AT_ONCE) {
            let step = self.connection.step(&self.scripts.look, |call| {
                call.arg(ids);
            });
            let (_, mut reply) = step.await?;
            let mut seen = reply.list().map_err(garbled)?.lists();
            for id in ids {
                let one = seen.next().ok_or(Garbled).and_then(|one| codec::seen(id, one?));
                all.push(one.map_err(garbled)?);
            }
        }
        Ok(all)
    }

    async fn line(&self, here: &[Duration]) -> Result<Vec<Duration>, Away> {
        if !here.is_empty() {
            self.refresh().await?;
        }
        let step = self.connection.step(&self.scripts.line, |call| {
            let ages: Vec<String> = here.iter().map(|age| age.as_millis().to_string()).collect();
            call.arg(&self.replica).arg(ages);
        });
        let (_, mut reply) = step.await?;
        let mut ages = || -> Result<Vec<Duration>, Garbled> {
            let mut ages = reply.list()?;
            let mut all = Vec::new();
            while !ages.is_done() {
                all.push(Duration::from_millis(ages.number()?));
            }
            Ok(all)
        };
        ages().map_err(garbled)
    }

    async fn page(&self, after: Option<(i64, String)>, limit: usize) -> Result<Vec<Session>, Away> {
        let (created_at, id) = after.map(|(created_at, id)| (created_at.to_string(), id)).unwrap_or_default();
        let step = self.connection.step(&self.scripts.page, |call| {
            call.arg(created_at).arg(id).arg(limit);
        });
        let (_, mut reply) = step.await?;
        reply.list().and_then(codec::sessions).map_err(garbled)
    }

    async fn open_on(&self, pod_uid: &str, limit: usize) -> Result<Vec<Session>, Away> {
        let step = self.connection.step(&self.scripts.open_on, |call| {
            call.arg(pod_uid).arg(limit);
        });
        let (_, mut reply) = step.await?;
        reply.list().and_then(codec::sessions).map_err(garbled)
    }

    async fn dial(&self) -> Result<Dial, Away> {
        let (_, mut reply) = self.connection.step(&self.scripts.dial, |_| {}).await?;
        let mut dial = || Ok::<_, Garbled>(Dial { number: reply.number()?, store: reply.text()? });
        dial().map_err(garbled)
    }

    async fn link_up(&self, up: LinkUp, link: Link) -> Result<Result<(), Outrun>, Away> {
        // First the link, so that no order is missed; then what it holds.
        if let Err(outrun) = self.links.put(&up.home.pod_uid, link) {
            return Ok(Err(outrun));
        }
        let open: Vec<&String> = up.open.iter().collect();
        let step = self.connection.step(&self.scripts.link_up, |call| {
            call.arg(&up.home.pod_uid).arg(&up.home.boot_id).arg(json(&up.home));
            call.arg(up.link).arg(&self.replica).arg(up.capacity);
            call.arg(codec::records(&up.records)).arg(json(&open)).arg(codec::keys(&up.keys));
            call.arg(up.dial.number).arg(&up.dial.store);
        });
        self.near.link_up(&up);
        let (outcome, mut reply) = step.await?;
        if outcome == "outrun" {
            return Ok(Err(Outrun));
        }
        self.correct(&mut reply).map_err(garbled)?;
        Ok(Ok(()))
    }

    async fn link_down(&self, via: Via<'_>) {
        self.links.remove(via.pod_uid, via.link);
        self.near.link_down(via.pod_uid, via.link);
        // Without the store its silence tells.
        let _ = self.say(via, &self.scripts.link_down, |_| {}).await;
    }

    async fn load(&self, via: Via<'_>, load: Load) -> Result<(), Away> {
        let Load { stats: RelayStats { capacity, sessions, leases, participants, cordoned, draining }, holds } = load;
        self.say(via, &self.scripts.load, |call| {
            call.arg(capacity).arg(sessions).arg(leases).arg(participants);
            call.arg(u8::from(cordoned)).arg(u8::from(draining));
            call.arg(holds.map(|holds| holds.to_string()).unwrap_or_default());
        })
        .await
    }

    async fn leave(&self, pod_uid: &str, leave: bool) -> Result<bool, Away> {
        let kind = if leave { OrderKind::Leave } else { OrderKind::Stay };
        let step = self.connection.step(&self.scripts.leave, |call| {
            call.arg(pod_uid).arg(kind.as_str());
        });
        match step.await?.0.as_str() {
            "ok" => Ok(true),
            "unheard" => Ok(false),
            _ => Err(garbled(Garbled)),
        }
    }

    async fn keys(&self, via: Via<'_>, keys: &[String]) -> Result<(), Away> {
        self.say(via, &self.scripts.keys, |call| {
            call.arg(codec::keys(keys));
        })
        .await
    }

    fn keys_of(&self, home: &Home) -> Vec<String> {
        let latest = self.latest();
        let run = latest.run(&home.pod_uid).filter(|run| run.boot_id == home.boot_id);
        run.map(|run| run.keys.clone()).unwrap_or_default()
    }

    async fn opened(&self, via: Via<'_>, session: &str, epoch: u64) -> Result<(), Away> {
        self.say(via, &self.scripts.opened, |call| {
            call.arg(session).arg(epoch);
        })
        .await
    }

    async fn came(&self, via: Via<'_>, came: &[Came]) -> Result<(), Away> {
        self.say(via, &self.scripts.came, |call| {
            for Came { session, epoch, joined } in came {
                call.arg(session).arg(epoch).arg(joined);
            }
        })
        .await
    }

    async fn present(&self, via: Via<'_>, present: &[Present], at: i64) -> Result<(), Away> {
        self.say(via, &self.scripts.present, |call| {
            call.arg(at);
            for Present { session, epoch, who } in present {
                call.arg(session).arg(epoch).arg(json(who));
            }
        })
        .await
    }

    async fn ended(&self, via: Via<'_>, session: &str, epoch: u64) -> Result<(), Away> {
        self.near.ended(via.pod_uid, session, epoch);
        self.say(via, &self.scripts.ended, |call| {
            call.arg(session).arg(epoch);
        })
        .await
    }

    async fn sweep(&self) -> Result<Swept, Away> {
        let mut all = Swept::default();
        for _ in 0..SWEEPS {
            let step = self.connection.step(&self.scripts.sweep, |call| {
                call.arg(SWEEP_AT_ONCE);
            });
            let (_, mut reply) = step.await?;
            let mut swept =
                || Ok::<_, Garbled>((reply.number::<usize>()?, reply.number()?, reply.number()?, reply.number()?));
            let (expired, leased, open, more): (_, _, _, u8) = swept().map_err(garbled)?;
            all = Swept { expired: all.expired + expired, leased, open };
            if more == 0 {
                break;
            }
        }
        Ok(all)
    }
}
