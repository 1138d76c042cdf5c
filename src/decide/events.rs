//! What has happened to a session between two looks at it, in events for whoever follows it.
//!
//! Events tell of the difference between two moments, not of every step: what came and went between two looks is not told.

use super::sessions::{Known, Seen, Session};
use crate::wire::session::{Guest, GuestState, SessionEvent};

/// What is told first: how things stand.
pub fn first(seen: &Seen) -> Vec<SessionEvent> {
    let event = match live(seen) {
        Some(session) => SessionEvent::Snapshot { session: session.view(), guests: seen.guests.clone() },
        None => SessionEvent::Closed,
    };
    vec![event]
}

/// What is told next. After [`SessionEvent::Closed`] nothing is.
pub fn between(before: &Seen, after: &Seen) -> Vec<SessionEvent> {
    let Some(now) = live(after) else { return vec![SessionEvent::Closed] };
    let Some(then) = live(before) else { return Vec::new() };
    let mut events = Vec::new();
    let (was, is) = (then.view(), now.view());
    if is.epoch != was.epoch {
        events.push(SessionEvent::Moved { session: is.clone() });
    }
    if is.name != was.name {
        events.push(SessionEvent::Renamed { session: is.clone() });
    }
    // A move lets the session wait for its participants once more.
    if is.state != was.state && is.state == crate::wire::session::SessionState::Open {
        events.push(SessionEvent::Opened { session: is });
    }
    let known = |guests: &[Guest], id: &str| guests.iter().find(|guest| guest.id == id).cloned();
    for guest in &after.guests {
        let before = known(&before.guests, &guest.id);
        // Some ask first, and say who they are once they know that somebody is asked.
        if before.is_none_or(|before| (before.state, before.name) != (guest.state, guest.name.clone())) {
            events.push(told(guest.clone()));
        }
    }
    for guest in &before.guests {
        if guest.state == GuestState::Waiting && known(&after.guests, &guest.id).is_none() {
            events.push(SessionEvent::GuestLeft { guest: guest.clone() });
        }
    }
    events
}

fn told(guest: Guest) -> SessionEvent {
    match guest.state {
        GuestState::Waiting => SessionEvent::GuestWaiting { guest },
        GuestState::Approved => SessionEvent::GuestApproved { guest },
        GuestState::Refused => SessionEvent::GuestRefused { guest },
    }
}

fn live(seen: &Seen) -> Option<&Session> {
    match &seen.known {
        Known::Live(session) => Some(session),
        Known::Closed { .. } | Known::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::sessions::{Home, NewSession, SecretHashes};
    use crate::wire::session::{ClientPlace, GeoPoint, SessionState};

    fn session() -> Session {
        let home = Home {
            pod_uid: "p".to_owned(),
            boot_id: "b".to_owned(),
            pool: "pool".to_owned(),
            region: "region".to_owned(),
            relay: "relay".to_owned(),
            url: String::new(),
            point: GeoPoint { latitude: 0.0, longitude: 0.0 },
        };
        let secrets = SecretHashes { host_token: String::new(), join_key: String::new() };
        let place = ClientPlace::default();
        let new = NewSession { id: "s".to_owned(), name: None, secrets, approval: true, created_at: 0, place };
        Session::begin(new, home)
    }

    fn seen(session: Session, guests: &[(&str, GuestState)]) -> Seen {
        let guest =
            |(id, state): &(&str, GuestState)| Guest { id: (*id).to_owned(), name: None, state: *state, asked_at: 0 };
        Seen { known: Known::Live(Box::new(session)), guests: guests.iter().map(guest).collect() }
    }

    /// Type of each event, and the guest that it is about.
    fn words(events: &[SessionEvent]) -> Vec<String> {
        let word = |event: &SessionEvent| {
            let json = serde_json::to_value(event).expect("JSON");
            let guest = json["guest"]["id"].as_str().unwrap_or_default();
            assert_eq!(json["type"], event.as_str());
            format!("{} {guest}", event.as_str()).trim_end().to_owned()
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn each_change_is_told_once() {
        use GuestState::{Approved, Refused, Waiting};
        let begun = session();
        let open = Session { state: SessionState::Open, ..begun.clone() };
        let named = Session { name: Some("n".to_owned()), ..open.clone() };
        let moved = Session { epoch: 2, state: SessionState::Leased, ..named.clone() };
        let gone = Seen { known: Known::Nothing, guests: Vec::new() };
        let steps = [
            (seen(begun.clone(), &[]), vec!["snapshot"]),
            (seen(Session { ends_at: Some(std::time::Duration::ZERO), ..begun }, &[]), vec![]),
            (
                seen(open, &[("a", Waiting), ("b", Waiting), ("c", Waiting)]),
                vec!["opened", "guestWaiting a", "guestWaiting b", "guestWaiting c"],
            ),
            (
                seen(named.clone(), &[("a", Approved), ("b", Refused)]),
                vec!["renamed", "guestApproved a", "guestRefused b", "guestLeft c"],
            ),
            // That an old decision is forgotten is no news.
            (seen(moved.clone(), &[]), vec!["moved"]),
            (seen(Session { state: SessionState::Open, ..moved }, &[]), vec!["opened"]),
            (gone.clone(), vec!["closed"]),
        ];
        let mut before: Option<Seen> = None;
        for (seen, expected) in steps {
            let events = before.as_ref().map_or_else(|| first(&seen), |before| between(before, &seen));
            assert_eq!(words(&events), expected);
            before = Some(seen);
        }
        assert_eq!(words(&first(&gone)), ["closed"]);
    }

    #[test]
    fn a_guest_that_says_its_name_later_is_told_anew() {
        let waiting = seen(session(), &[("a", GuestState::Waiting)]);
        let mut named = waiting.clone();
        named.guests[0].name = Some("Ada".to_owned());
        assert_eq!(words(&between(&waiting, &named)), ["guestWaiting a"]);
        assert_eq!(words(&between(&named, &named)), [""; 0]);
    }
}
