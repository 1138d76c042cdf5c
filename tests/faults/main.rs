//! The operator against a real API server, with `faultline` between them: killed at every write, answered wrongly, told old
//! things, paused, cut off. Whatever happens, it comes to the state that an undisturbed run comes to, and then is quiet.
//!
//! `make test-faults` runs all; `QUICK=1` a few by chance (the seed is printed; `SEED=` repeats one).

#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test with a main of its own is not known as one"
)]

mod answers;
#[path = "../support/control_plane.rs"]
mod control_plane;
mod coverage;
mod crash;
mod election;
mod hollow;
mod operator;
mod oracle;
mod run;
mod state;
#[path = "../support/mod.rs"]
mod support;
mod workload;
mod world;

use libtest_mimic::Trial;

use support::cases::{self, Shared};
use world::World;

fn main() {
    operator::count_panics();
    let start = async || (World::start().await, ());
    // Cases wait more than they work; how many operators run at once is the world's matter.
    cases::run(16, start, trials, async |()| {});
}

/// All cases; in a short run those that are marked as short.
fn trials(shared: &Shared<World>) -> Vec<Trial> {
    let quick = world::seed().is_some();
    let mut trials =
        cases::cases![shared, oracle::what_differs_between_runs_is_masked_and_nothing_else, crash::again_and_again,];
    if !quick {
        trials.extend(cases::cases![
            shared,
            answers::refusals_of_the_moment_are_got_over,
            answers::answers_that_break_off_or_come_late_are_got_over,
            answers::watches_that_end_are_begun_again,
            answers::an_api_server_that_answers_nothing_is_waited_for,
            answers::an_event_that_never_came_is_not_missed,
            answers::what_happened_while_a_watch_was_silent_is_found,
            answers::a_watch_that_is_silent_for_ever_is_given_up,
            answers::a_status_that_goes_there_and_back_is_right,
            answers::old_lists_take_nothing_away,
            election::a_leader_that_was_paused_writes_nothing_more,
            election::a_leader_that_is_cut_off_is_followed,
            election::a_stolen_lease_makes_no_second_writer,
            election::a_deleted_lease_makes_no_second_writer,
        ]);
    }
    for workload in workload::all().into_iter().filter(|workload| !quick || workload.quick) {
        let shared = shared.clone();
        trials.push(Trial::test(format!("crash::{}", workload.name), move || {
            shared.case(async |world: &World| crash::at_every_write(world, &workload).await)
        }));
    }
    trials
}
