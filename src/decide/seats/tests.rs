//! Tables and properties of [`super::Seats`].

use proptest::prelude::*;

use super::*;

const IDLE: Duration = Duration::from_mins(1);

fn seats(capacity: u32) -> Seats {
    Seats::new(SeatLimits { capacity, participants_per_session: 2, idle: IDLE })
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn opened(session: &str, epoch: u64) -> Vec<Effect> {
    vec![Effect::Opened { session: session.to_owned(), epoch }]
}

fn ended(session: &str, epoch: u64) -> Vec<Effect> {
    vec![Effect::Ended { session: session.to_owned(), epoch }]
}

#[test]
fn a_lease_is_claimed_by_the_first_participant() {
    let mut seats = seats(1);
    assert_eq!(seats.hold("a", 1, Some("r".to_owned()), 30, at(0)), []);
    assert_eq!((seats.stats().leases, seats.stats().sessions), (1, 0));
    let (place, effects) = seats.join("a", 1, 0).expect("a seat is kept");
    assert_eq!(effects, opened("a", 1));
    let (_, effects) = seats.join("a", 1, 0).expect("the session is there");
    assert_eq!(effects, [], "told once");
    assert_eq!((seats.stats().leases, seats.stats().sessions, seats.stats().participants), (0, 1, 2));
    assert_eq!(seats.join("a", 1, 0), Err(Denied::SessionFull));
    seats.leave(&place, at(40));
    assert_eq!(seats.tick(at(1000)), [], "somebody is still there");
}

#[test]
fn a_lease_that_nobody_claims_returns_its_seat_and_its_tokens_open_nothing() {
    let mut seats = seats(1);
    seats.hold("a", 1, Some("r".to_owned()), 30, at(0));
    assert_eq!(seats.join("b", 1, 0), Err(Denied::NoCapacity), "leases count");
    assert_eq!(seats.tick(at(29)), []);
    assert_eq!(seats.tick(at(30)), ended("a", 1));
    assert!(seats.is_empty() && seats.records().is_empty());
    assert_eq!(seats.join("a", 1, 0), Err(Denied::StaleEpoch));
    assert_eq!(seats.hold("a", 1, None, 30, at(31)), [], "but the lobby may grant it again");
    assert!(seats.join("a", 1, 0).is_ok());
}

#[test]
fn what_the_lobby_and_the_operator_order_are_two_things() {
    use crate::wire::orders::Order::{Cordon, HandOver, Uncordon};
    let said = |seats: &Seats| (seats.report().asked, seats.report().cordon, seats.stats().draining);
    let takes = |seats: &Seats| seats.clone().join("new", 1, 0).is_ok();
    let mut seats = seats(9);
    seats.hold("leased", 1, None, 30, at(0));
    seats.ask(true);
    assert_eq!((said(&seats), seats.stats().cordoned), ((true, None, true), false));
    assert_eq!(seats.join("new", 1, 0), Err(Denied::Draining));
    assert_eq!(seats.hold("held", 1, None, 30, at(0)), ended("held", 1));
    assert!(seats.clone().join("leased", 1, 0).is_ok(), "leases can still be claimed");
    assert!(!seats.is_draining(), "its process goes on");
    seats.obey(Cordon { number: 1 });
    seats.ask(false);
    assert_eq!((said(&seats), takes(&seats)), ((false, Some(1), false), false), "the operator's cordon stays");
    seats.obey(HandOver { number: 1 });
    seats.ask(true);
    seats.obey(Uncordon { number: 1 });
    assert_eq!((said(&seats), takes(&seats)), ((true, None, true), false), "what the lobby has ordered stays");
    seats.ask(false);
    assert_eq!((said(&seats), takes(&seats)), ((false, None, false), true));
    seats.drain();
    seats.ask(false);
    assert_eq!((said(&seats), takes(&seats)), ((false, None, true), false), "nobody takes back that it ends");
}

#[test]
fn a_renewal_keeps_a_lease_and_takes_no_seat() {
    let mut seats = seats(1);
    assert_eq!(seats.renew("a", 1, 30, at(0)), ended("a", 1), "it was never held");
    seats.hold("a", 1, None, 30, at(0));
    assert_eq!(seats.renew("a", 1, 30, at(20)), []);
    assert_eq!(seats.tick(at(49)), []);
    assert_eq!(seats.tick(at(50)), ended("a", 1));
    assert_eq!(seats.renew("a", 1, 30, at(50)), ended("a", 1), "too late");
    assert!(seats.is_empty());
    seats.join("b", 1, 0).expect("room");
    assert_eq!(seats.renew("b", 1, 30, at(51)), opened("b", 1), "the lobby has not heard of it");
}

#[test]
fn a_token_from_before_the_link_opens_only_what_the_lobby_has_held() {
    let mut seats = seats(3);
    seats.take_newcomers(Newcomers::None);
    assert_eq!(seats.join("a", 1, 100), Err(Denied::NotHeld), "the lobby has not answered");
    seats.take_newcomers(Newcomers::Since(100));
    assert_eq!(seats.join("a", 1, 99), Err(Denied::NotHeld));
    assert!(seats.join("b", 1, 100).is_ok(), "faster than its order");
    seats.hold("a", 1, None, 30, at(0));
    assert!(seats.join("a", 1, 99).is_ok());
    seats.take_newcomers(Newcomers::All);
    assert!(seats.join("c", 1, 0).is_ok(), "without a link the relay serves alone");
}

#[test]
fn an_empty_session_is_kept_for_the_idle_time() {
    let mut seats = seats(1);
    let (place, _) = seats.join("a", 1, 0).expect("room");
    seats.leave(&place, at(10));
    assert_eq!(seats.tick(at(69)), []);
    assert_eq!(seats.open(), ["a"]);
    let (place, effects) = seats.join("a", 1, 0).expect("it is still there");
    assert_eq!(effects, []);
    seats.leave(&place, at(70));
    assert_eq!(seats.tick(at(130)), ended("a", 1));
}

#[test]
fn a_participant_faster_than_its_order_opens_and_the_order_brings_the_record() {
    let mut seats = seats(1);
    let (_, effects) = seats.join("a", 3, 0).expect("room");
    assert_eq!(effects, opened("a", 3));
    assert_eq!((seats.records(), seats.open()), (vec![], vec!["a".to_owned()]));
    assert_eq!(seats.hold("a", 3, Some("r".to_owned()), 1, at(0)), opened("a", 3), "told again");
    assert_eq!(seats.records(), ["r"]);
    assert_eq!(seats.tick(at(100)), [], "no lease runs on an open session");
}

#[test]
fn no_epoch_below_the_highest_seen() {
    let mut seats = seats(2);
    seats.hold("a", 5, None, 30, at(0));
    assert_eq!(seats.join("a", 4, 0), Err(Denied::StaleEpoch));
    assert_eq!(seats.hold("a", 4, None, 30, at(0)), ended("a", 4));
    let (_, effects) = seats.join("a", 6, 0).expect("newer is fine");
    assert_eq!(effects, opened("a", 6));
    assert_eq!(seats.join("a", 5, 0), Err(Denied::StaleEpoch));
    assert_eq!(seats.close("a", 5, at(1)), [], "an old order closes nothing");
    assert_eq!(seats.hold("a", 7, Some("r7".to_owned()), 30, at(1)), opened("a", 7));
    let closed = [
        Effect::CloseRoom { session: "a".to_owned(), end: End::SessionClosed },
        Effect::Ended { session: "a".to_owned(), epoch: 7 },
    ];
    assert_eq!(seats.close("a", 7, at(2)), closed);
    assert_eq!(seats.join("a", 7, 0), Err(Denied::StaleEpoch));
    assert_eq!(seats.hold("a", 6, None, 30, at(3)), ended("a", 6));
    assert!(seats.join("a", 8, 0).is_ok());
}

#[test]
fn a_close_before_the_session_came_still_counts_and_is_forgotten_in_time() {
    let mut seats = seats(1);
    assert_eq!(seats.close("a", 2, at(0)), ended("a", 2));
    assert_eq!(seats.join("a", 2, 0), Err(Denied::StaleEpoch));
    seats.tick(REMEMBER_ENDED);
    assert!(seats.ended.is_empty());
}

#[test]
fn a_late_leave_does_not_touch_the_session_that_came_back() {
    let mut seats = seats(1);
    let (old, _) = seats.join("a", 1, 0).expect("room");
    seats.close("a", 1, at(0));
    let (_new, _) = seats.join("a", 2, 0).expect("room");
    seats.leave(&old, at(1));
    assert_eq!(seats.stats().participants, 1);
    assert_eq!(seats.tick(at(1000)), []);
}

#[test]
fn draining_takes_nothing_new_and_keeps_what_is_promised() {
    let mut seats = seats(10);
    seats.hold("leased", 1, None, 30, at(0));
    let (place, _) = seats.join("open", 1, 0).expect("room");
    seats.drain();
    assert!(seats.stats().draining);
    assert_eq!(seats.join("new", 1, 0), Err(Denied::Draining));
    assert_eq!(seats.hold("new", 1, None, 30, at(0)), ended("new", 1));
    assert!(seats.join("open", 1, 0).is_ok());
    seats.leave(&place, at(0));
    let (place, _) = seats.join("leased", 1, 0).expect("a seat was promised");
    seats.leave(&place, at(0));
    assert!(!seats.is_empty());
    assert_eq!(seats.hold("open", 1, None, 30, at(0)), opened("open", 1));
}

#[derive(Clone, Debug)]
enum Step {
    Hold(u8, u64, u32),
    Join(u8, u64),
    Leave(usize),
    Close(u8, u64),
    Tick(u64),
    Order(Order),
    Ask(bool),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let session = || 0_u8..6;
    let epoch = || 0_u64..4;
    prop_oneof![
        20 => (session(), epoch(), 0_u32..90).prop_map(|(s, e, lease)| Step::Hold(s, e, lease)),
        20 => (session(), epoch()).prop_map(|(s, e)| Step::Join(s, e)),
        15 => (0_usize..20).prop_map(Step::Leave),
        8 => (session(), epoch()).prop_map(|(s, e)| Step::Close(s, e)),
        15 => (0_u64..50).prop_map(Step::Tick),
        4 => (1_u32..4, 0..3).prop_map(|(number, kind)| Step::Order(match kind {
            0 => Order::Cordon { number },
            1 => Order::HandOver { number },
            _ => Order::Uncordon { number },
        })),
        2 => any::<bool>().prop_map(Step::Ask),
        1 => Just(Step::Drain),
    ]
}

/// The load.
fn counted_anew(seats: &Seats) -> RelayStats {
    let mut load = RelayStats {
        capacity: seats.limits.capacity,
        cordoned: seats.orders.cordon().is_some(),
        draining: seats.draining || seats.asked || seats.orders.hands_over(),
        ..RelayStats::default()
    };
    for held in seats.sessions.values() {
        load.participants += held.participants;
        *(if held.opened { &mut load.sessions } else { &mut load.leases }) += 1;
    }
    load
}

proptest! {
    #[test]
    fn capacity_epochs_and_places_hold_for_any_history(steps in prop::collection::vec(step(), 1..200)) {
        let mut seats = seats(3);
        let mut places = Vec::new();
        let (mut now, mut draining) = (at(0), false);
        for step in steps {
            let before = seats.sessions.clone();
            let remembered = seats.ended.clone();
            let effects = match step {
                Step::Hold(session, epoch, lease) => seats.hold(&session.to_string(), epoch, None, lease, now),
                Step::Join(session, epoch) => {
                    let session = session.to_string();
                    match seats.join(&session, epoch, 0) {
                        Ok((place, effects)) => {
                            prop_assert!(before.get(&session).is_none_or(|held| held.epoch <= epoch));
                            prop_assert!(remembered.get(&session).is_none_or(|ended| ended.epoch < epoch) || before.contains_key(&session));
                            prop_assert!(!(draining || seats.report().cordon.is_some()) || before.contains_key(&session));
                            places.push(place);
                            effects
                        }
                        Err(_) => Vec::new(),
                    }
                }
                Step::Leave(at) => {
                    if at < places.len() {
                        seats.leave(&places.remove(at), now);
                    }
                    Vec::new()
                }
                Step::Close(session, epoch) => seats.close(&session.to_string(), epoch, now),
                Step::Tick(seconds) => {
                    now += at(seconds);
                    seats.tick(now)
                }
                Step::Order(order) => {
                    seats.obey(order);
                    Vec::new()
                }
                Step::Ask(leave) => {
                    seats.ask(leave);
                    Vec::new()
                }
                Step::Drain => {
                    draining = true;
                    seats.drain();
                    Vec::new()
                }
            };
            let stats = seats.stats();
            prop_assert!(stats.sessions + stats.leases <= 3);
            prop_assert_eq!(seats.is_draining(), draining);
            prop_assert!(stats.draining || !draining);
            prop_assert_eq!(stats, counted_anew(&seats));
            for (session, held) in &seats.sessions {
                let there = places.iter().filter(|place| place.session == *session && place.stay == held.stay).count();
                prop_assert_eq!(u32::try_from(there).expect("small"), held.participants);
                prop_assert!(held.participants <= 2);
                prop_assert_eq!(held.participants == 0, held.ends_at.is_some());
                prop_assert!(before.get(session).is_none_or(|was| was.epoch <= held.epoch));
            }
            // Whoever went is told of, once; who had participants goes only by the lobby's order.
            for (session, was) in &before {
                if !seats.sessions.contains_key(session) {
                    let told = effects.iter().filter(|e| matches!(e, Effect::Ended { session: s, .. } if s == session));
                    prop_assert_eq!(told.count(), 1);
                    let closed = effects.contains(&Effect::CloseRoom { session: session.clone(), end: End::SessionClosed });
                    prop_assert!(was.participants == 0 || closed);
                }
            }
        }
    }
}

#[test]
fn a_session_that_has_moved_lets_nobody_in_under_its_old_epoch() {
    let mut seats = seats(1);
    let _ = seats.join("a", 3, 0).expect("room");
    let moved = [
        Effect::CloseRoom { session: "a".to_owned(), end: End::Moved },
        Effect::Ended { session: "a".to_owned(), epoch: 3 },
    ];
    assert_eq!(seats.move_away("a", 3, at(1)), moved);
    assert_eq!(seats.join("a", 3, 0), Err(Denied::StaleEpoch));
    assert_eq!(seats.hold("a", 5, None, 30, at(2)), [], "it may come back");
    assert_eq!(seats.move_away("a", 3, at(3)), [], "a late order is for the stay before");
    assert!(seats.join("a", 5, 0).is_ok());
}

#[test]
fn a_cordon_can_be_taken_off_and_a_drain_cannot() {
    let mut seats = seats(2);
    seats.hold("a", 1, None, 30, at(0));
    assert!(seats.obey(Order::Cordon { number: 3 }));
    assert!(seats.stats().cordoned && !seats.stats().draining);
    assert_eq!((seats.report().cordon, seats.report().highest), (Some(3), 3));
    assert_eq!(seats.hold("b", 1, None, 30, at(0)), ended("b", 1));
    assert_eq!(seats.join("b", 1, 0), Err(Denied::Draining));
    assert!(seats.join("a", 1, 0).is_ok(), "leases can be claimed");
    assert!(seats.obey(Order::HandOver { number: 3 }));
    assert!(seats.stats().draining && !seats.is_draining(), "the sessions are to go, the process is not");
    assert!(!seats.obey(Order::Uncordon { number: 2 }), "of another drain");
    assert_eq!(seats.hold("b", 1, None, 30, at(1)), ended("b", 1));
    assert!(seats.obey(Order::Uncordon { number: 3 }));
    let RelayReport { stats, cordon, highest, asked: _ } = seats.report();
    assert_eq!((stats.cordoned, stats.draining, cordon, highest), (false, false, None, 3));
    assert_eq!(seats.hold("b", 1, None, 30, at(1)), []);
    seats.drain();
    assert!(seats.obey(Order::Cordon { number: 4 }) && seats.obey(Order::Uncordon { number: 4 }));
    assert_eq!(seats.hold("c", 1, None, 30, at(1)), ended("c", 1));
    assert!(seats.stats().draining);
}
