//! The sessions of the relays that are linked here, from what they returned and were told: while Redis is away, whoever
//! joins one of them is still let in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::decide::sessions::{Facts, Home, LinkUp, Order, OrderKind, SecretHashes, Session};
use crate::wire::session::{ClientPlace, SessionState};

/// What is known here without asking.
#[derive(Debug, Default)]
pub(super) struct Near(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    homes: HashMap<String, (u64, Home)>,
    sessions: HashMap<String, Session>,
}

impl Near {
    /// A relay has linked up here.
    pub(super) fn link_up(&self, up: &LinkUp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.forget(&up.home.pod_uid);
        known.homes.insert(up.home.pod_uid.clone(), (up.link, up.home.clone()));
        for record in &up.records {
            let secrets =
                SecretHashes { host_token: record.host_token_hash.clone(), join_key: record.join_key_hash.clone() };
            let facts = Facts { secrets, approval: record.approval, created_at: record.iat };
            known.keep(&record.sid, record.epoch, facts, &up.home);
        }
    }

    pub(super) fn link_down(&self, pod_uid: &str, link: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.homes.get(pod_uid).is_some_and(|(number, _)| *number == link) {
            known.forget(pod_uid);
        }
    }

    /// A relay that is linked here is told something.
    pub(super) fn order(&self, order: &Order) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &order.kind {
            OrderKind::Hold(facts) => {
                let home = known.homes.get(&order.pod_uid).map(|(_, home)| home.clone());
                if let Some(home) = home.filter(|home| home.boot_id == order.boot_id) {
                    known.keep(&order.session, order.epoch, (**facts).clone(), &home);
                }
            }
            OrderKind::Renew | OrderKind::Leave | OrderKind::Stay => {}
            OrderKind::Close | OrderKind::Move => known.end(&order.pod_uid, &order.session, order.epoch),
        }
    }

    /// A relay that is linked here does not hold a session (any more).
    pub(super) fn ended(&self, pod_uid: &str, session: &str, epoch: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end(pod_uid, session, epoch);
    }

    pub(super) fn find(&self, session: &str) -> Option<Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sessions.get(session).cloned()
    }
}

impl Known {
    fn keep(&mut self, id: &str, epoch: u64, facts: Facts, home: &Home) {
        if self.sessions.get(id).is_some_and(|known| known.epoch > epoch) {
            return;
        }
        let session = Session {
            id: id.to_owned(),
            // Relays are not told names.
            name: None,
            created_at: facts.created_at,
            epoch,
            // Whether somebody has come is not followed here; as open it needs nothing from the store.
            state: SessionState::Open,
            secrets: facts.secrets,
            approval: facts.approval,
            place: ClientPlace::default(),
            parties: Vec::new(),
            moved_at: 0,
            home: home.clone(),
            homeless: false,
            came: 0,
            ends_at: None,
        };
        self.sessions.insert(id.to_owned(), session);
    }

    fn end(&mut self, pod_uid: &str, id: &str, epoch: u64) {
        if self.sessions.get(id).is_some_and(|known| known.home.pod_uid == pod_uid && known.epoch <= epoch) {
            self.sessions.remove(id);
        }
    }

    fn forget(&mut self, pod_uid: &str) {
        self.homes.remove(pod_uid);
        self.sessions.retain(|_, session| session.home.pod_uid != pod_uid);
    }
}
