//! The whole, on a cluster with real nodes and pods: the chart installed with Helm, sessions over real sockets from this
//! machine to node ports, and what happens to them when parts are killed. `make test-e2e` brings up the cluster.

#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test with a main of its own is not known as one"
)]

mod client;
mod distance;
mod drains;
mod faults;
mod install;
mod names;
mod party;
mod places;
mod redis;
mod regions;
mod sessions;
mod sick;
#[path = "../support/mod.rs"]
mod support;
mod times;

use libtest_mimic::Trial;

use install::Install;
use support::cases::{self, Shared};

fn main() {
    // Two cores carry the cluster as well.
    cases::run(3, async || (Install::new().await, ()), trials, async |()| {});
}

/// All cases; each has a namespace of its own.
fn trials(shared: &Shared<Install>) -> Vec<Trial> {
    let alone = cases::cases![
        shared,
        drains::a_drained_node_and_an_operator_that_is_away_cut_nobody,
        drains::a_control_plane_that_is_killed_cuts_nobody,
        sick::a_silent_nodes_relays_are_replaced_and_their_sessions_move,
        times::how_soon_relays_follow_the_load,
    ];
    let together = cases::cases![
        shared,
        sessions::everyone_is_sent_to_the_nearest_relay_with_room,
        sessions::forged_replayed_and_foreign_tokens_get_one_identical_refusal,
        sessions::pods_hold_no_more_than_they_need,
        faults::a_killed_relay_loses_no_session_that_rejoins,
        drains::a_session_survives_a_rollout_paused_and_reversed_and_a_scale_down,
        drains::an_occupied_relay_is_not_evicted_and_an_empty_one_may_be,
        drains::a_deleted_pool_hands_its_sessions_over_before_it_goes,
        faults::a_restarted_lobby_goes_on_with_live_sessions,
        redis::a_redis_of_ones_own_is_lost_and_comes_back_and_no_session_notices,
        faults::killed_operators_cut_nothing_and_finish_their_work,
        distance::who_measures_is_sent_where_it_is_near_and_not_where_the_map_says,
        places::a_lobby_downloads_where_addresses_are_and_keeps_it_while_the_server_is_away,
        names::a_name_leads_to_relays_that_serve_and_answers_without_lobby_and_operator,
        regions::a_region_that_falls_out_is_left_and_come_back_to_without_flapping,
        sick::a_relay_that_crashes_again_and_again_is_replaced,
    ];
    // `--ignored` runs those that disturb the others.
    together.into_iter().chain(alone.into_iter().map(|trial| trial.with_ignored_flag(true))).collect()
}
