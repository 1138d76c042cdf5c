//! What is decided in one situation each.

use super::super::*;
use super::world::{POLICY, Pod, World, at, steps};

fn ordinals(world: &World) -> Vec<u32> {
    world.pods.iter().filter(|(_, pod)| !pod.terminating).map(|(ordinal, _)| *ordinal).collect()
}

fn draining(world: &World) -> Vec<(u32, Cause)> {
    let drains = world.pods.iter().filter_map(|(ordinal, pod)| Some((*ordinal, pod.note.drain?.cause)));
    drains.collect()
}

fn clock(world: &World, ordinal: u32) -> Option<Clock> {
    Some(world.pods[&ordinal].note.drain?.clock)
}

fn cordon(world: &mut World, ordinal: u32) -> Option<u32> {
    world.life(ordinal).and_then(|life| life.orders.cordon)
}

/// Passes, each after what was deleted is gone and what was made is ready.
fn go_on(world: &mut World, passes: u32) {
    for _ in 0..passes {
        world.pass();
        for ordinal in world.pods.keys().copied().collect::<Vec<_>>() {
            if world.pods[&ordinal].terminating {
                world.vanish(ordinal);
            } else if matches!(world.pods[&ordinal].health, Health::Starting { .. }) {
                world.become_ready(ordinal);
                world.report(ordinal);
            }
        }
        assert_eq!(world.fault, None);
    }
}

#[test]
fn a_settled_pool_is_left_alone() {
    for sessions in [&[][..], &[0], &[3, 0, 1]] {
        let decision = World::new(sessions).decide();
        assert_eq!((decision.actions, decision.stalls, decision.look_again), (vec![], vec![], None));
        assert!(decision.rollout.is_none() && !decision.finished);
    }
}

#[test]
fn an_empty_relay_goes_step_by_step() {
    let mut world = World::new(&[2, 0]);
    world.spec.desired = 1;
    world.pass();
    assert_eq!((draining(&world), clock(&world, 1)), (vec![(1, Cause::ScaleDown)], Some(Clock::Ahead)));
    assert_eq!(cordon(&mut world, 1), None, "the drain is on the Pod before the cordon is ordered");
    world.pass();
    assert_eq!((cordon(&mut world, 1), world.pods[&1].occupied), (Some(1), true));
    world.pass();
    assert_eq!((world.pods[&1].occupied, world.pods[&1].terminating), (false, false));
    world.pass();
    assert_eq!(ordinals(&world), [0]);
}

#[test]
fn a_session_is_waited_for_until_the_deadline() {
    let mut world = World::new(&[2, 1]);
    world.spec.desired = 1;
    go_on(&mut world, 3);
    assert!(matches!(clock(&world, 1), Some(Clock::Runs { deadline, .. }) if deadline == at(2)));
    world.tick();
    go_on(&mut world, 3);
    assert_eq!(ordinals(&world), [0, 1]);
    let view = world.decide().relays[1].clone();
    let drain = view.drain.expect("it drains");
    assert_eq!((view.sessions, drain.cause, drain.deadline), (Some(1), Cause::ScaleDown, Some(at(2))));
    world.tick();
    go_on(&mut world, 2);
    assert_eq!(ordinals(&world), [0]);
}

#[test]
fn leases_are_waited_for_like_sessions() {
    let mut world = World::new(&[2, 0]);
    world.life(1).expect("it is there").leases = 1;
    world.spec.desired = 1;
    go_on(&mut world, 6);
    assert_eq!(ordinals(&world), [0, 1]);
}

#[test]
fn the_fewest_sessions_leave_first_whichever_the_ordinal() {
    let mut world = World::new(&[3, 1, 2]);
    world.spec.desired = 1;
    world.pass();
    assert_eq!(draining(&world), [(1, Cause::ScaleDown), (2, Cause::ScaleDown)]);
}

#[test]
fn what_cannot_be_counted_does_not_leave_for_being_too_many() {
    let mut world = World::new(&[0, 0]);
    world.spec.desired = 0;
    world.silence(0);
    let decision = world.pass();
    assert_eq!(draining(&world), [(1, Cause::ScaleDown)]);
    assert_eq!(decision.stalls, [Stall::OccupancyUnknown]);
}

#[test]
fn growth_keeps_what_leaves_before_it_makes_anew() {
    let mut world = World::new(&[5, 1, 2]);
    world.spec.desired = 1;
    go_on(&mut world, 3);
    world.spec.desired = 2;
    world.pass();
    assert_eq!(draining(&world), [(1, Cause::ScaleDown)], "the fuller one is kept");
    assert_eq!(cordon(&mut world, 2), Some(1));
    go_on(&mut world, 1);
    assert_eq!((cordon(&mut world, 2), ordinals(&world).len()), (None, 3));
}

#[test]
fn a_relay_that_comes_back_is_occupied_before_it_takes_sessions() {
    let mut world = World::new(&[2, 0]);
    world.spec.desired = 1;
    for _ in 0..3 {
        world.pass();
    }
    assert!(!world.pods[&1].occupied);
    world.spec.desired = 2;
    world.pass();
    assert_eq!((world.pods[&1].occupied, cordon(&mut world, 1)), (true, Some(1)));
    world.pass();
    assert_eq!(cordon(&mut world, 1), None);
    assert_eq!(world.pods[&1].note, Note { number: 1, drain: None }, "the next drain has another number");
}

#[test]
fn the_clock_of_scale_down_stands_still_while_occupancy_is_unknown() {
    let mut world = World::new(&[2, 1]);
    world.spec.desired = 1;
    go_on(&mut world, 3);
    world.tick();
    world.silence(1);
    let decision = world.pass();
    let stands = Clock::Stands { left: steps(1), why: Standstill::OccupancyUnknown };
    assert_eq!((clock(&world, 1), decision.stalls), (Some(stands), vec![Stall::OccupancyUnknown]));
    for _ in 0..9 {
        world.tick();
        go_on(&mut world, 2);
    }
    world.report(1);
    world.pass();
    assert!(matches!(clock(&world, 1), Some(Clock::Runs { deadline, .. }) if deadline == at(11)));
}

#[test]
fn time_that_no_operator_saw_does_not_count() {
    let mut world = World::new(&[2, 1]);
    world.spec.desired = 1;
    go_on(&mut world, 3);
    for _ in 0..9 {
        world.tick();
    }
    world.crash();
    world.report(0);
    world.report(1);
    go_on(&mut world, 2);
    assert!(matches!(clock(&world, 1), Some(Clock::Runs { deadline, .. }) if deadline == at(11)));
}

#[test]
fn what_a_person_a_node_or_the_lobby_asks_for_keeps_its_deadline() {
    let person: fn(&mut Pod) = |pod| pod.asked.person = Some(Wish::Leave);
    let asks = [person, |pod| pod.asked.node = true, |pod| pod.asked.lobby = true];
    for asks in asks {
        let mut world = World::new(&[2, 1]);
        world.change(1, asks);
        world.silence(1);
        go_on(&mut world, 3);
        assert_eq!(ordinals(&world), [0, 1, 2], "another takes its place");
        world.tick();
        go_on(&mut world, 3);
        assert_eq!(ordinals(&world), [0, 2]);
    }
}

#[test]
fn a_weaker_cause_has_its_time_from_when_it_is_written() {
    let mut world = World::new(&[1, 0]);
    world.change(0, |pod| pod.asked = Asked { person: Some(Wish::Leave), node: true, lobby: false });
    go_on(&mut world, 3);
    assert!(matches!(clock(&world, 0), Some(Clock::Runs { deadline, .. }) if deadline == at(1)));
    world.change(0, |pod| pod.asked.person = None);
    let slow = world.decide().actions;
    world.tick();
    for action in &slow {
        world.carry_out(action, 0);
    }
    assert_eq!((draining(&world), clock(&world, 0)), (vec![(0, Cause::Node)], Some(Clock::Ahead)));
    go_on(&mut world, 3);
    assert_eq!(ordinals(&world), [0, 1, 2]);
    world.tick();
    go_on(&mut world, 3);
    assert_eq!(ordinals(&world), [1, 2]);
}

#[test]
fn a_stronger_cause_does_not_prolong_and_a_weaker_has_its_own_time() {
    let policy = Policy { person: steps(9), ..POLICY };
    let runs = |deadline| Clock::Runs { deadline: at(deadline), counted: at(0) };
    let drain = Drain { cause: Cause::ScaleDown, since: at(0), began_with: Some(1), clock: runs(2) };
    let asked = drain.for_cause(Cause::Person, &policy, at(1));
    assert!(matches!(asked.clock, Clock::Runs { deadline, .. } if deadline == at(2)));
    let hurried = Drain { clock: runs(50), ..drain }.for_cause(Cause::Person, &policy, at(1));
    assert!(matches!(hurried.clock, Clock::Runs { deadline, .. } if deadline == at(10)));
    let again = asked.for_cause(Cause::ScaleDown, &policy, at(1));
    assert_eq!((again.clock, again.since), (Clock::Ahead, at(1)));
}

#[test]
fn a_rollout_makes_first_and_lets_go_then() {
    let mut world = World::new(&[1, 1]);
    world.spec.generation = 2;
    world.pass();
    assert_eq!((ordinals(&world), draining(&world)), (vec![0, 1, 2], vec![]));
    world.become_ready(2);
    world.report(2);
    let decision = world.pass();
    assert_eq!(draining(&world), [(1, Cause::Rollout)]);
    let rollout = decision.rollout.expect("it goes on");
    assert_eq!((rollout.updated, rollout.ready, rollout.draining, rollout.waiting, rollout.total), (1, 1, 1, 1, 2));
    go_on(&mut world, 4);
    assert_eq!(draining(&world), [(0, Cause::Rollout), (1, Cause::Rollout)], "all sessions are on the new relays");
    world.tick();
    world.tick();
    world.tick();
    go_on(&mut world, 4);
    assert_eq!((ordinals(&world), world.decide().rollout), (vec![2, 3], None));
}

#[test]
fn a_paused_rollout_begins_nothing_and_cuts_nothing() {
    let mut world = World::new(&[1, 1]);
    world.spec.generation = 2;
    go_on(&mut world, 2);
    assert_eq!(draining(&world), [(1, Cause::Rollout)]);
    go_on(&mut world, 2);
    world.spec.paused = true;
    for _ in 0..9 {
        world.tick();
        go_on(&mut world, 2);
    }
    assert!(ordinals(&world).contains(&1) && world.decide().stalls.contains(&Stall::Paused));
    world.spec.paused = false;
    go_on(&mut world, 1);
    for _ in 0..9 {
        world.tick();
        go_on(&mut world, 3);
    }
    assert!(ordinals(&world).iter().all(|ordinal| world.pods[ordinal].generation == 2));
}

#[test]
fn a_rollout_that_is_rolled_back_keeps_what_was_leaving() {
    let mut world = World::new(&[1, 1]);
    world.spec.generation = 2;
    go_on(&mut world, 4);
    assert!(!draining(&world).is_empty());
    world.spec.generation = 1;
    go_on(&mut world, 8);
    assert_eq!((ordinals(&world), draining(&world)), (vec![0, 1], vec![]));
    assert_eq!((cordon(&mut world, 0), cordon(&mut world, 1)), (None, None));
}

#[test]
fn a_generation_that_never_becomes_ready_moves_nobody() {
    let mut world = World::new(&[1, 1]);
    world.spec.generation = 2;
    for _ in 0..9 {
        world.pass();
        world.tick();
    }
    assert_eq!((ordinals(&world), draining(&world)), (vec![0, 1, 2], vec![]));
    assert_eq!(world.decide().stalls, [Stall::NotReady]);
    world.spec.generation = 3;
    world.pass();
    assert!(world.pods[&2].terminating, "what never served need not drain");
}

#[test]
fn without_a_free_address_an_old_relay_leaves_first() {
    let mut world = World::new(&[0, 1]);
    world.ordinals = 2;
    world.spec.generation = 2;
    let decision = world.pass();
    assert_eq!((draining(&world), decision.stalls), (vec![(0, Cause::Rollout)], vec![]));
    go_on(&mut world, 9);
    assert_eq!((world.pods[&0].generation, draining(&world)), (2, vec![(1, Cause::Rollout)]));
}

#[test]
fn a_dead_relay_is_replaced_at_once() {
    let mut world = World::new(&[1, 1]);
    world.die(1);
    let decision = world.pass();
    assert_eq!(ordinals(&world), [0, 2]);
    assert_eq!(decision.relays[1].sickness, Some(Sickness::PodFailed));
}

#[test]
fn a_sick_relay_goes_once_another_serves_and_not_before() {
    let mut world = World::new(&[1, 1]);
    world.sicken(1);
    world.pass();
    assert_eq!(ordinals(&world), [0, 1], "it may come back in a moment");
    world.tick();
    world.pass();
    assert_eq!((ordinals(&world), draining(&world)), (vec![0, 1, 2], vec![]));
    go_on(&mut world, 2);
    assert_eq!(draining(&world), [(1, Cause::Failed)]);
}

#[test]
fn relays_that_are_all_sick_are_not_taken_away() {
    let mut world = World::new(&[1, 1, 1]);
    (0..3).for_each(|ordinal| world.sicken(ordinal));
    for _ in 0..9 {
        world.tick();
        world.pass();
    }
    assert_eq!((ordinals(&world), draining(&world)), (vec![0, 1, 2, 3], vec![]), "one more is tried");
}

#[test]
fn a_relay_that_alone_is_silent_is_replaced_and_kept() {
    let mut world = World::new(&[1, 1]);
    world.silence(1);
    for _ in 0..4 {
        world.tick();
        go_on(&mut world, 2);
    }
    assert_eq!((ordinals(&world), draining(&world)), (vec![0, 1, 2], vec![]));
    let mut world = World::new(&[1, 1]);
    (0..2).for_each(|ordinal| world.silence(ordinal));
    for _ in 0..4 {
        world.tick();
        go_on(&mut world, 2);
    }
    assert_eq!(ordinals(&world), [0, 1], "where nobody is heard, who listens is at fault");
}

#[test]
fn what_a_person_keeps_stays_and_another_leaves() {
    let mut world = World::new(&[1, 2]);
    world.change(0, |pod| pod.asked.person = Some(Wish::Stay));
    world.spec.desired = 1;
    world.pass();
    assert_eq!(draining(&world), [(1, Cause::ScaleDown)]);
    world.spec.desired = 0;
    assert_eq!(world.pass().stalls, [Stall::KeptByPerson]);
    world.change(1, |pod| pod.asked.person = Some(Wish::Stay));
    world.pass();
    assert_eq!(draining(&world), vec![], "it is kept from the drain that had begun");
}

#[test]
fn what_a_person_keeps_against_its_lobby_stays_and_does_not_count() {
    let mut world = World::new(&[2, 1]);
    world.change(1, |pod| (pod.asked.person, pod.asked.lobby) = (Some(Wish::Stay), true));
    go_on(&mut world, 4);
    assert_eq!((ordinals(&world), draining(&world)), (vec![0, 1, 2], vec![]), "it takes no sessions, so another does");
    world.change(1, |pod| pod.asked.lobby = false);
    go_on(&mut world, 5);
    assert_eq!(ordinals(&world), [0, 1], "it counts again, and the empty one is too many");
}

#[test]
fn a_deleted_pool_drains_or_goes_at_once() {
    let mut world = World::new(&[1, 0]);
    world.spec.deletion = Some(Deletion::Drain);
    go_on(&mut world, 5);
    assert_eq!(ordinals(&world), [0]);
    world.tick();
    go_on(&mut world, 3);
    assert!(world.finished);
    let mut world = World::new(&[1, 0]);
    world.spec.deletion = Some(Deletion::Now);
    world.pass();
    assert_eq!(ordinals(&world), Vec::<u32>::new());
}

#[test]
fn where_sessions_can_be_handed_over_they_are() {
    let mut world = World::new(&[1, 2]);
    world.hands_over = true;
    world.spec.desired = 1;
    go_on(&mut world, 6);
    assert_eq!(ordinals(&world), [1]);
    assert_eq!(world.life(1).expect("it is there").sessions, 3);
}

#[test]
fn an_empty_relay_that_cannot_be_told_to_refuse_goes_after_a_while() {
    let mut world = World::new(&[2, 0]);
    (world.refuses, world.spec.desired) = (false, 1);
    world.tick();
    go_on(&mut world, 6);
    assert_eq!(ordinals(&world), [0, 1], "empty for long, but its drain has only begun");
    assert_eq!(world.decide().look_again, Some(at(2)));
    let mut later = world.observe(&world.cluster());
    assert!(decide(&later, at(2)).actions.is_empty(), "what was heard is from before");
    assert_eq!(decide(&later, at(2)).look_again, Some(at(2) + SignedDuration::from_secs(5)));
    let Occupancy::Known(report) = &mut later.relays[1].occupancy else { panic!("it is heard") };
    report.until = at(2);
    assert!(matches!(decide(&later, at(2)).actions[..], [Action::Write { occupied: false, .. }]));
    // Somebody has come meanwhile: the deadline bounds how long they are waited for.
    world.life(1).expect("it is there").sessions = 1;
    world.tick();
    world.report(1);
    go_on(&mut world, 6);
    assert_eq!(ordinals(&world), [0, 1]);
    world.tick();
    go_on(&mut world, 6);
    assert_eq!(ordinals(&world), [0]);
}

#[test]
fn an_empty_relay_may_be_evicted_after_a_while_where_sessions_can_be_handed_over() {
    let mut world = World::new(&[0]);
    world.pass();
    world.tick();
    world.tick();
    world.pass();
    assert!(world.pods[&0].occupied);
    world.hands_over = true;
    world.pass();
    assert!(!world.pods[&0].occupied);
    world.silence(0);
    assert_eq!(world.pass().actions, vec![], "not knowing changes nothing");
    world.life(0).expect("it is there").sessions = 1;
    world.report(0);
    world.pass();
    assert!(world.pods[&0].occupied);
}

#[test]
fn a_note_that_somebody_changed_is_made_good() {
    let mut world = World::new(&[1, 0]);
    world.life(1).expect("it is there").orders.highest = 7;
    world.change(1, |pod| pod.note = Note::read(Some("{\"number\":\"x\"}")));
    world.spec.desired = 1;
    go_on(&mut world, 1);
    assert_eq!(world.pods[&1].note.number, 8);
    world.change(1, |pod| pod.note.number = 2);
    go_on(&mut world, 5);
    assert_eq!(ordinals(&world), [0]);
}

#[test]
fn notes_are_read_as_they_were_written() {
    let drain = Drain { cause: Cause::Node, since: at(0), began_with: Some(4), clock: Clock::Ahead };
    let runs = Clock::Runs { deadline: at(9), counted: at(1) };
    let stands = Clock::Stands { left: steps(1), why: Standstill::Paused };
    for clock in [Clock::Ahead, runs, stands] {
        let note = Note { number: 3, drain: Some(Drain { clock, ..drain }) };
        assert_eq!(Note::read(Some(&note.write())), note);
    }
    assert_eq!(Note::read(None), Note::default());
    let written = Note { number: 3, drain: Some(Drain { clock: runs, ..drain }) }.write();
    assert_eq!(
        written,
        "{\"number\":3,\"drain\":{\"cause\":\"Node\",\"since\":\"1970-01-12T13:46:40.000000Z\",\"beganWith\":4,\
         \"clock\":{\"state\":\"runs\",\"deadline\":\"1970-01-12T13:51:10.000000Z\",\
         \"counted\":\"1970-01-12T13:47:10.000000Z\"}}}"
    );
}

#[test]
fn the_estimate_follows_from_how_sessions_ended_so_far() {
    let mut world = World::new(&[9, 4]);
    world.spec.desired = 1;
    go_on(&mut world, 3);
    world.tick();
    world.life(1).expect("it is there").sessions = 1;
    world.listen(None);
    let estimate = world.decide().relays[1].drain.and_then(|drain| drain.estimate);
    assert_eq!(estimate, Some(at(1) + steps(1) / 3));
}
