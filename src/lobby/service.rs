//! What the API offers, between HTTP and the store: who may do it, ids and secrets, where to, tokens, answers.

use std::time::Duration;

use super::guests::{Asking, Entry, Knock};
use super::problem::Refusal;
use super::state::Lobby;
use super::store::Away;
use super::table::Table;
use crate::decide::address::Caller;
use crate::decide::name::{self, is_name};
use crate::decide::route::{self, Ask, Chosen};
use crate::decide::sessions::{
    Asked, Board, Choice, Grant, Keyed, Known, NewSession, NoSeat, Recall, Refused, SecretHashes, Session, Target,
    readdressed,
};
use crate::process::{clock, secret};
use crate::wire::claims::{JOIN_LIFE_SECONDS, JoinClaims, Role};
use crate::wire::session::{ClientPlace, Connect, CreateSession, JoinSession, Joined, SessionCreated, SessionView};

/// Longest secret or session id that is looked at.
pub(super) const MAX_SECRET: usize = 128;
/// How often a seat is asked for before the request is refused: each time the relay that was chosen had filled up or
/// changed since the view was made, and the next view knows it.
pub(super) const TRIES: usize = 64;

impl Lobby {
    /// Creates a session as soon as there is room within `wait`, or gives the answer that was given under `key` before.
    pub(super) async fn create(
        &self,
        request: &CreateSession,
        bytes: &[u8],
        caller: Caller,
        key: Option<&str>,
        wait: Duration,
        own_url: impl FnOnce() -> Result<String, Refusal>,
    ) -> Result<SessionCreated, Refusal> {
        route::check(&request.place)?;
        check_join_key_hash(request.join_key_hash.as_deref())?;
        check_name(request.name.as_deref())?;
        let table = self.table().ok_or(NoSeat::NoRelay)?;
        check_residency(&table, &request.place)?;
        let base = match table.table.url.as_str() {
            "" => own_url()?,
            url => url.trim_end_matches('/').to_owned(),
        };
        let (host_token, (join_key, join_key_hash)) = (secret::random_secret(), join_key(request));
        let new = NewSession {
            id: secret::random_id(),
            name: request.name.clone(),
            secrets: SecretHashes { host_token: secret::hash(&host_token), join_key: join_key_hash },
            approval: request.approval,
            created_at: clock::unix_seconds(),
            place: self.origins.with_beside(caller, self.origins.believed(&request.place), &table.table),
        };
        let key = key.map(|key| (secret::hash(key), secret::hash(&String::from_utf8_lossy(bytes))));
        let wanted = Wanted { new, base, join_key, host_token, key };
        let mut patience = self.patience(wait);
        loop {
            match self.try_to_create(&wanted, patience.is_behind(), patience.waited()).await {
                Err(refusal) => patience.again(refusal, || self.wish(&wanted.new.place, &Target::Best)).await?,
                Ok(created) => return Ok(created),
            }
        }
    }

    /// Creates a session where there is room now. `is_behind` = others wait for any seat and came before.
    async fn try_to_create(&self, wanted: &Wanted, is_behind: bool, age: Duration) -> Result<SessionCreated, Refusal> {
        let begin = clock::monotonic();
        let Wanted { new, base, join_key, host_token, key } = wanted;
        let table = self.table().ok_or(NoSeat::NoRelay)?;
        if self.store.is_away() {
            return Err(Away.into());
        }
        // The board may be a moment old. Who is refused by it, or by the store, looks at a new one.
        let mut anew = false;
        for attempt in 0..TRIES {
            let draw = route::draw(&new.id, attempt as u64);
            let ask = Ask { waited: Some(age), draw, ..Ask::of(&new.place) };
            let told = |board: &Board, asked: &Asked| {
                let choice = board.choose(&ask, asked)?;
                Ok((choice, board.explain(&ask, asked).ranking))
            };
            let choice = if is_behind { Err(NoSeat::NoCapacity) } else { self.look(anew, told) };
            let (Choice { chosen, wakes, home, capacity }, ranking) = match choice {
                Ok(choice) => choice,
                Err(_) if !anew && !is_behind => {
                    anew = true;
                    continue;
                }
                Err(why) => return self.answered_before(key.as_ref()).await?.ok_or(why.into()),
            };
            anew = true;
            let asked = self.boards.ask(&home.pod_uid);
            let session = Session::begin(new.clone(), home);
            let answer = SessionCreated {
                join_link: join_link(base, &session.id, join_key.as_deref()),
                join_key: join_key.clone(),
                host_token: host_token.clone(),
                connect: self.pass(&table, &session, Role::Host, secret::random_id())?,
                session: session.view(),
                ranking,
            };
            let keyed = key.clone().map(|(key, request)| Keyed { key, request, answer: answer.clone() });
            let granted = self.store.grant(Grant { session, capacity, keyed }).await;
            drop(asked);
            match granted? {
                Ok(session) => {
                    self.placed(&session, chosen, wakes);
                    let took = clock::monotonic().saturating_sub(begin);
                    self.metrics.placement_seconds.with_label_values::<&str>(&[]).observe(took.as_secs_f64());
                    return Ok(answer);
                }
                Err(Refused::Answered(before)) => {
                    if let Some(answer) = answered(before)? {
                        return Ok(answer);
                    }
                }
                Err(Refused::TooManySessions) => return Err(NoSeat::TooManySessions.into()),
                Err(Refused::NotThere | Refused::Changed | Refused::Unknown) => {}
            }
        }
        Err(NoSeat::NoCapacity.into())
    }

    async fn answered_before(&self, key: Option<&(String, String)>) -> Result<Option<SessionCreated>, Refusal> {
        let Some((key, request)) = key else { return Ok(None) };
        answered(self.store.recall(key, request).await?)
    }

    /// Lets a guest in by the join key, or the host by its token; where the host is to be asked, as soon as it has approved
    /// within `wait`; where the session has lost its seat, as soon as there is another.
    pub(super) async fn join(
        &self,
        id: &str,
        request: &JoinSession,
        bearer: Option<&str>,
        caller: Caller,
        wait: Duration,
    ) -> Result<Entry, Refusal> {
        let asking = Asking::of(request, caller)?;
        let mut patience = self.patience(wait);
        loop {
            let refusal = match self.try_to_join(id, request, bearer, &asking).await {
                Err(refusal) if refusal.may_pass() && !wait.is_zero() => refusal,
                Ok(Entry::Waits(waits)) if !wait.is_zero() => {
                    if self.decided(id, &waits.guest.id, patience.until()).await {
                        continue;
                    }
                    return Ok(Entry::Waits(waits));
                }
                done => return done,
            };
            let session = live(self.store.find(id).await?);
            patience.again(refusal, || self.wish_of(session.as_ref()?, &Target::Best)).await?;
        }
    }

    async fn try_to_join(
        &self,
        id: &str,
        request: &JoinSession,
        bearer: Option<&str>,
        asking: &Asking,
    ) -> Result<Entry, Refusal> {
        let table = self.table().ok_or(NoSeat::NoRelay)?;
        for attempt in 0..TRIES {
            let session = live(self.store.find(id).await?);
            let role = match (bearer, request.join_key.as_deref()) {
                (Some(token), _) => check(session.as_ref(), |of| &of.host_token, token).map(|()| Role::Host),
                (None, Some(key)) => check(session.as_ref(), |of| &of.join_key, key).map(|()| Role::Guest),
                (None, None) => Err(Refusal::unauthorized()),
            };
            let role = role.map_err(|refusal| self.or_rebuilding(Some(&table), refusal))?;
            let Some(session) = session else { return Err(Refusal::unauthorized()) };
            if role == Role::Guest && session.approval {
                match self.knock(&session, asking).await? {
                    Some(Knock::Approved) => {}
                    Some(Knock::Waits(waits)) => return Ok(Entry::Waits(waits)),
                    None => continue,
                }
            }
            let (session, participant) = match role {
                Role::Guest => (self.meet(&table, session, asking).await, asking.id().to_owned()),
                Role::Host => (session, secret::random_id()),
            };
            if let Some(session) = self.settle(session, request.lost_epoch, attempt).await? {
                let session = readdressed(session, &table.table);
                let connect = self.pass(&table, &session, role, participant)?;
                return Ok(Entry::Joined(Box::new(Joined { session: session.view(), connect })));
            }
        }
        Err(NoSeat::NoCapacity.into())
    }

    /// A session was given a seat. Where the pool that it would rather go to has no relay at all, it is told that one is wanted.
    pub(super) fn placed(&self, session: &Session, chosen: Chosen, wakes: Option<(String, String)>) {
        self.metrics.placements.with_label_values(&[session.home.region.as_str(), chosen.rung.as_str()]).inc();
        if let Some(pool) = wakes {
            self.waiting.want(pool);
        }
    }

    /// Reads a session, for its host or the admin.
    pub(super) async fn view(&self, id: &str, bearer: Option<&str>) -> Result<SessionView, Refusal> {
        let session = live(self.store.find(id).await?);
        let allowed = self.may_control(session.as_ref(), bearer);
        allowed.map_err(|refusal| self.or_rebuilding(self.table().as_deref(), refusal))?;
        session.as_ref().map(Session::view).ok_or(Refusal::not_found())
    }

    /// Closes a session, for its host or the admin.
    pub(super) async fn close(&self, id: &str, bearer: Option<&str>) -> Result<(), Refusal> {
        let known = self.store.find(id).await?;
        // The repeat of a close whose answer was lost.
        if let Known::Closed { host_token } = &known
            && bearer.is_some_and(|token| matches(token, host_token))
        {
            return Ok(());
        }
        let allowed = self.may_control(live(known).as_ref(), bearer);
        allowed.map_err(|refusal| self.or_rebuilding(self.table().as_deref(), refusal))?;
        self.store.close(id).await?;
        self.watch.look();
        Ok(())
    }

    /// Lets the admin pass.
    pub(super) fn admin(&self, bearer: Option<&str>) -> Result<(), Refusal> {
        let admin = bearer.is_some_and(|token| matches(token, &self.keys.admin_token_hash));
        if admin { Ok(()) } else { Err(Refusal::unauthorized()) }
    }

    /// Whether the bearer is the admin or the session's host. The admin alone hears that a session is not there.
    pub(super) fn may_control(&self, session: Option<&Session>, bearer: Option<&str>) -> Result<(), Refusal> {
        if self.admin(bearer).is_ok() {
            return session.map(|_| ()).ok_or(Refusal::not_found());
        }
        check(session, |secrets| &secrets.host_token, bearer.unwrap_or_default())
    }

    /// While the picture is not whole, nobody is refused for good.
    pub(super) fn or_rebuilding(&self, table: Option<&Table>, refusal: Refusal) -> Refusal {
        let whole = table.is_some_and(|table| self.store.view().is_whole(&table.table));
        if whole { refusal } else { Refusal::rebuilding() }
    }

    /// A pass for one connection to the session's relay.
    fn pass(&self, table: &Table, session: &Session, role: Role, participant: String) -> Result<Connect, Refusal> {
        let ring = self.keys.ring();
        // Nothing only for a moment: the relay is being told our keys, or our own have not all come.
        let signer = ring.signer(&self.store.keys_of(&session.home)).ok_or(Refusal::rebuilding())?;
        let now = clock::unix_seconds();
        let claims = JoinClaims {
            iss: table.table.lobby_uid.clone(),
            aud: session.home.audience(),
            sid: session.id.clone(),
            epoch: session.epoch,
            sub: participant.clone(),
            role,
            jti: secret::random_id(),
            iat: now,
            nbf: now,
            exp: now + JOIN_LIFE_SECONDS,
        };
        Ok(Connect {
            url: format!("{}/s/{}", session.home.url.trim_end_matches('/'), session.id),
            token: signer.sign_join(&claims),
            expires_at: claims.exp,
            participant,
            role,
        })
    }
}

/// A session that is to be created, wherever there will be room.
struct Wanted {
    new: NewSession,
    /// Base URL of its join link.
    base: String,
    join_key: Option<String>,
    host_token: String,
    /// Hashes of the idempotency key and of the request.
    key: Option<(String, String)>,
}

pub(super) fn live(known: Known) -> Option<Session> {
    match known {
        Known::Live(session) => Some(*session),
        Known::Closed { .. } | Known::Nothing => None,
    }
}

/// The answer that was given before, if it can be given again.
fn answered(before: Recall) -> Result<Option<SessionCreated>, Refusal> {
    match before {
        Recall::New => Ok(None),
        Recall::Same(answer) => Ok(Some(*answer)),
        Recall::Gone => Err(Refusal::idempotency_answer_gone()),
        Recall::Mismatch => Err(Refusal::idempotency_mismatch()),
    }
}

/// The join key that the lobby makes, if the client did not make one itself, and its hash.
fn join_key(request: &CreateSession) -> (Option<String>, String) {
    request.join_key_hash.clone().map_or_else(
        || {
            let key = secret::random_secret();
            let hash = secret::hash(&key);
            (Some(key), hash)
        },
        |hash| (None, hash),
    )
}

fn join_link(base: &str, session: &str, join_key: Option<&str>) -> String {
    let fragment = join_key.map(|key| format!("#{key}")).unwrap_or_default();
    format!("{base}/j/{session}{fragment}")
}

/// Checks the name of a session.
pub(super) fn check_name(name: Option<&str>) -> Result<(), Refusal> {
    match name {
        Some(name) if !is_name(name) => Err(Refusal::invalid_body(format!("name: {}", name::RULE))),
        Some(_) | None => Ok(()),
    }
}

/// Checks that the lobby has the residency that is asked for.
pub(super) fn check_residency(table: &Table, place: &ClientPlace) -> Result<(), Refusal> {
    match &place.residency {
        Some(residency) if !table.table.routing.has_residency(residency) => Err(Refusal::no_such_residency()),
        Some(_) | None => Ok(()),
    }
}

fn check_join_key_hash(hash: Option<&str>) -> Result<(), Refusal> {
    if hash.is_none_or(secret::is_hash) {
        return Ok(());
    }
    Err(Refusal::invalid_body("joinKeyHash: must be a SHA-256, base64url without padding: 43 characters".to_owned()))
}

/// Compares a secret with a session's; an unknown session takes as long and is refused alike.
fn check(session: Option<&Session>, of: fn(&SecretHashes) -> &String, given: &str) -> Result<(), Refusal> {
    let right = matches(given, session.map_or("", |session| of(&session.secrets)));
    if right { Ok(()) } else { Err(Refusal::unauthorized()) }
}

fn matches(given: &str, hash: &str) -> bool {
    given.len() <= MAX_SECRET && secret::matches(given, hash)
}
