//! What the API offers, between HTTP and the book: who may do it, ids and secrets, tokens, answers.

use super::problem::Refusal;
use super::state::{Lobby, State};
use super::table::Table;
use crate::decide::route;
use crate::decide::sessions::{Granted, NewSession, NoSeat, Recall, SecretHashes, Session};
use crate::process::{clock, secret};
use crate::wire::claims::{JOIN_LIFE_SECONDS, JoinClaims, Role};
use crate::wire::session::{Connect, CreateSession, Joined, SessionCreated, SessionView};

/// Longest secret or session id that is looked at.
const MAX_SECRET: usize = 128;

impl Lobby {
    /// Creates a session, or gives the answer that was given under `key` before.
    pub(super) fn create(
        &self,
        request: &CreateSession,
        bytes: &[u8],
        key: Option<&str>,
        own_url: impl FnOnce() -> Result<String, Refusal>,
    ) -> Result<SessionCreated, Refusal> {
        let begin = clock::monotonic();
        route::check(&request.place)?;
        let table = self.table().ok_or(NoSeat::NoRelay)?;
        let base = match table.table.url.as_str() {
            "" => own_url()?,
            url => url.trim_end_matches('/').to_owned(),
        };
        let key = key.map(|key| (secret::hash(key), secret::hash(&String::from_utf8_lossy(bytes))));
        let (host_token, join_key) = (secret::random_secret(), secret::random_secret());
        let new = NewSession {
            id: secret::random_id(),
            secrets: SecretHashes { host_token: secret::hash(&host_token), join_key: secret::hash(&join_key) },
            created_at: clock::unix_seconds(),
            place: request.place.clone(),
        };
        let mut state = self.lock();
        let now = clock::monotonic();
        if let Some((key, request)) = &key {
            match state.book.recall(key, request, now) {
                Recall::New => {}
                Recall::Same(answer) => return Ok(*answer),
                Recall::Gone => return Err(Refusal::idempotency_answer_gone()),
                Recall::Mismatch => return Err(Refusal::idempotency_mismatch()),
            }
        }
        let granted = state.book.create(&table.table, new, now)?;
        let (session, ranking) = self.settle(&mut state, &table, granted);
        let answer = SessionCreated {
            join_link: format!("{base}/j/{}#{join_key}", session.id),
            join_key,
            host_token,
            connect: self.pass(&table, &session, Role::Host),
            session: session.view(),
            ranking,
        };
        if let Some((key, request)) = key {
            state.book.remember(key, request, answer.clone(), now);
        }
        drop(state);
        self.metrics
            .placement_seconds
            .with_label_values::<&str>(&[])
            .observe(clock::monotonic().saturating_sub(begin).as_secs_f64());
        Ok(answer)
    }

    /// Lets a guest in by the join key, or the host by its token.
    pub(super) fn join(&self, id: &str, join_key: Option<&str>, bearer: Option<&str>) -> Result<Joined, Refusal> {
        let table = self.table().ok_or(NoSeat::NoRelay)?;
        let mut state = self.lock();
        let role = match (bearer, join_key) {
            (Some(token), _) => check(state.book.get(id), |secrets| &secrets.host_token, token).map(|()| Role::Host),
            (None, Some(key)) => check(state.book.get(id), |secrets| &secrets.join_key, key).map(|()| Role::Guest),
            (None, None) => Err(Refusal::unauthorized()),
        };
        let role = role.map_err(|refusal| self.or_rebuilding(&mut state, Some(&table), refusal))?;
        let granted = state.book.join(&table.table, id, clock::monotonic())?;
        let (session, _) = self.settle(&mut state, &table, granted);
        drop(state);
        Ok(Joined { session: session.view(), connect: self.pass(&table, &session, role) })
    }

    /// Reads a session, for its host or the admin.
    pub(super) fn view(&self, id: &str, bearer: Option<&str>) -> Result<SessionView, Refusal> {
        let mut state = self.lock();
        let allowed = self.may_control(state.book.get(id), bearer);
        allowed.map_err(|refusal| self.or_rebuilding(&mut state, self.table().as_deref(), refusal))?;
        state.book.get(id).map(Session::view).ok_or(Refusal::not_found())
    }

    /// Closes a session, for its host or the admin.
    pub(super) fn close(&self, id: &str, bearer: Option<&str>) -> Result<(), Refusal> {
        let table = self.table();
        let mut state = self.lock();
        // The repeat of a close whose answer was lost.
        let before = state.book.closed_host_token(id);
        if before.is_some_and(|hash| bearer.is_some_and(|token| matches(token, hash))) {
            return Ok(());
        }
        let allowed = self.may_control(state.book.get(id), bearer);
        allowed.map_err(|refusal| self.or_rebuilding(&mut state, table.as_deref(), refusal))?;
        let orders = state.book.close(id, clock::monotonic());
        if let Some(table) = table {
            self.send(&mut state, &table, orders);
        }
        Ok(())
    }

    /// Lets the admin pass.
    pub(super) fn admin(&self, bearer: Option<&str>) -> Result<(), Refusal> {
        let admin = bearer.is_some_and(|token| matches(token, &self.keys.admin_token_hash));
        if admin { Ok(()) } else { Err(Refusal::unauthorized()) }
    }

    /// Whether the bearer is the admin or the session's host. The admin alone hears that a session is not there.
    fn may_control(&self, session: Option<&Session>, bearer: Option<&str>) -> Result<(), Refusal> {
        if self.admin(bearer).is_ok() {
            return session.map(|_| ()).ok_or(Refusal::not_found());
        }
        check(session, |secrets| &secrets.host_token, bearer.unwrap_or_default())
    }

    /// While the picture is not whole, nobody is refused for good.
    fn or_rebuilding(&self, state: &mut State, table: Option<&Table>, refusal: Refusal) -> Refusal {
        let rebuilt = table.is_some_and(|table| self.is_rebuilt(state, table));
        if rebuilt { refusal } else { Refusal::rebuilding() }
    }

    /// Sends the orders of a grant, and counts it if it was placed.
    fn settle(
        &self,
        state: &mut State,
        table: &Table,
        granted: Granted,
    ) -> (Session, Vec<crate::wire::session::RankedPool>) {
        let Granted { session, placement, orders } = granted;
        self.send(state, table, orders);
        let Some(placement) = placement else { return (session, Vec::new()) };
        if let Some(chosen) = placement.chosen {
            self.metrics.placements.with_label_values(&[session.home.region.as_str(), chosen.rung.as_str()]).inc();
        }
        (session, placement.ranking)
    }

    /// A pass for one connection to the session's relay.
    fn pass(&self, table: &Table, session: &Session, role: Role) -> Connect {
        let now = clock::unix_seconds();
        let participant = secret::random_id();
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
        Connect {
            url: format!("{}/s/{}", session.home.url.trim_end_matches('/'), session.id),
            token: self.keys.signing.sign_join(&claims),
            expires_at: claims.exp,
            participant,
            role,
        }
    }
}

/// Compares a secret with a session's; an unknown session takes as long and is refused alike.
fn check(session: Option<&Session>, of: fn(&SecretHashes) -> &String, given: &str) -> Result<(), Refusal> {
    let right = matches(given, session.map_or("", |session| of(&session.secrets)));
    if right { Ok(()) } else { Err(Refusal::unauthorized()) }
}

fn matches(given: &str, hash: &str) -> bool {
    given.len() <= MAX_SECRET && secret::matches(given, hash)
}
