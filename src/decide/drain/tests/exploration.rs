//! Every state in a small scope: no session is cut before its time, each state has a way on, and the end is quiet.
//! `CONVENE_EXPLORE=full` looks at larger scopes (`make explore`).

use super::super::*;
use super::explorer::{Budget, explore};
use super::world::{RULES, Rules, World};

type Scope = (&'static str, World, Budget);

/// Each with a little of everything that it is about.
fn small() -> Vec<Scope> {
    let base = || Budget { tick: 2, ..Budget::default() };
    vec![
        (
            "scaling, three relays and four sessions",
            pool(&[1, 1, 1]),
            Budget { place: 1, late: 1, desire: vec![2, 3], ..base() },
        ),
        ("scaling, late", pool(&[1, 1]), Budget { place: 1, late: 1, desire: vec![1, 2], ..base() }),
        (
            "scaling, old lists",
            pool(&[0]),
            Budget { place: 1, late: 1, stale: 1, tick: 1, desire: vec![0, 1], ..base() },
        ),
        ("scaling, crash", pool(&[1, 0]), Budget { place: 1, crash: 1, desire: vec![1], ..base() }),
        ("scaling, unheard", pool(&[1, 0]), Budget { lease: 1, silence: 1, desire: vec![1], ..base() }),
        ("rollout, crash", pool(&[1]), Budget { crash: 1, roll: vec![2], ..base() }),
        ("rollout, back", pool(&[0]), Budget { place: 1, tick: 1, roll: vec![2, 1], ..base() }),
        ("rollout, paused", pool(&[1]), Budget { pause: 2, end: 1, roll: vec![2], ..base() }),
        ("rollout, bound", bound(&[1, 0]), Budget { end: 1, roll: vec![2], ..base() }),
        ("person", pool(&[1]), Budget { wish: 2, late: 1, tick: 1, ..base() }),
        ("node", pool(&[1]), Budget { node: 2, evict: 1, ..base() }),
        ("sick", pool(&[1]), Budget { sicken: 1, silence: 1, ..base() }),
        ("dead", pool(&[1]), Budget { die: 1, restart: 1, desire: vec![0], ..base() }),
        ("handing over", handing(&[1, 0]), Budget { evict: 1, end: 1, desire: vec![1], ..base() }),
        ("deletion", pool(&[1]), Budget { late: 1, crash: 1, delete: Some(Deletion::Drain), ..base() }),
    ]
}

/// The same with more of it: minutes, optimised.
fn full() -> Vec<Scope> {
    let base = || Budget { tick: 3, ..Budget::default() };
    let drain = Some(Deletion::Drain);
    vec![
        (
            "scaling, three relays and four sessions",
            pool(&[1, 1, 1]),
            Budget { place: 1, crash: 1, tick: 2, desire: vec![2], ..base() },
        ),
        ("scaling, late", pool(&[1, 2]), Budget { place: 1, late: 2, desire: vec![1, 2, 1], ..base() }),
        ("scaling, crash", pool(&[1, 2]), Budget { place: 1, crash: 2, desire: vec![1, 2], ..base() }),
        ("scaling, unheard", pool(&[1, 1]), Budget { lease: 1, silence: 1, deaf: 1, desire: vec![1, 2], ..base() }),
        ("rollout, crash", pool(&[1]), Budget { crash: 1, place: 1, late: 1, tick: 2, roll: vec![2], ..base() }),
        ("rollout, back", pool(&[1]), Budget { place: 1, late: 1, roll: vec![2, 1], ..base() }),
        ("rollout, paused", pool(&[1, 1]), Budget { pause: 2, tick: 2, roll: vec![2], ..base() }),
        (
            "rollout, bound",
            bound(&[1, 0]),
            Budget { place: 1, end: 1, crash: 1, roll: vec![2], desire: vec![1], ..base() },
        ),
        ("person", pool(&[1, 1]), Budget { wish: 2, late: 1, stale: 1, ..base() }),
        ("node", pool(&[1, 1]), Budget { node: 2, place: 1, evict: 1, ..base() }),
        ("sick", pool(&[1, 1]), Budget { sicken: 1, silence: 1, tick: 2, ..base() }),
        ("dead", pool(&[1, 1]), Budget { die: 1, restart: 1, tick: 2, desire: vec![1], ..base() }),
        ("handing over", handing(&[1, 1]), Budget { place: 1, evict: 1, late: 1, desire: vec![1], ..base() }),
        ("deletion", pool(&[1, 1]), Budget { late: 1, crash: 1, delete: drain, ..base() }),
    ]
}

fn pool(sessions: &[u32]) -> World {
    World::new(sessions)
}

/// As many addresses as relays.
fn bound(sessions: &[u32]) -> World {
    let mut world = World::new(sessions);
    world.ordinals = world.spec.desired;
    world
}

/// Sessions can be handed over.
fn handing(sessions: &[u32]) -> World {
    let mut world = World::new(sessions);
    world.hands_over = true;
    world
}

#[test]
fn nothing_is_cut_before_its_time_in_any_order_of_events() {
    let scopes = match std::env::var("CONVENE_EXPLORE").as_deref() {
        Ok("full") => full(),
        _ => small(),
    };
    for (name, world, budget) in scopes {
        match explore(world, budget) {
            Ok(found) => {
                eprintln!("{name}: {} states by {} steps", found.states, found.steps);
                assert!(found.states > 500, "{name}: the scope is too small to say anything");
            }
            Err(fault) => panic!("{name}: {fault}"),
        }
    }
}

/// What a machine that rests on something must not survive losing it: the exploration finds the cut.
#[test]
fn what_the_machine_rests_on_is_needed() {
    let all_late = Budget { place: 1, late: 2, crash: 1, desire: vec![0, 1, 0], ..Budget::default() };
    let restarts = Budget { place: 1, restart: 1, deaf: 1, desire: vec![0], ..Budget::default() };
    for (rules, budget) in [
        (Rules { preconditions: false, ..RULES }, all_late.clone()),
        (Rules { numbers: false, ..RULES }, all_late),
        (Rules { table: false, ..RULES }, restarts),
    ] {
        let mut world = World::new(&[0]);
        world.rules = rules;
        let fault = explore(world, budget).expect_err("a cut is found");
        assert!(fault.contains("may be cut"), "{rules:?}: {fault}");
    }
}
