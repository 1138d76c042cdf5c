//! Tests against a real kube-apiserver and etcd: what it takes, what it refuses, and what the operator does there with no
//! more rights than the chart gives it. `make test-api` runs them; `make test-api ARGS=drift` those with that name.

#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test with a main of its own is not known as one"
)]

mod admission;
mod autoscaler;
mod control;
#[path = "../support/control_plane.rs"]
mod control_plane;
mod custom;
mod drains;
mod election;
mod grants;
mod keys;
mod people;
mod reconcile;
mod references;
mod remote;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod world;

use libtest_mimic::Trial;

use support::cases::{self, Shared};
use world::{Running, World};

fn main() {
    let start = async || {
        let world = World::start().await;
        let operator = world.operator("shared").await;
        (world, operator)
    };
    // Cases wait more than they work; the machine is small.
    cases::run(6, start, trials, async |operator: Running| operator.stop().await);
}

/// All cases. Each has a namespace of its own; one operator serves all, but for those about operators themselves.
fn trials(shared: &Shared<World>) -> Vec<Trial> {
    cases::cases![
        shared,
        // The first wait longest.
        grants::a_namespace_must_be_granted,
        grants::a_pool_still_drains_once_its_grant_is_made_anew,
        grants::a_namespace_goes_with_all_that_is_in_it,
        grants::a_lobby_goes_with_its_namespace_though_pools_elsewhere_name_it,
        admission::examples_are_accepted,
        admission::goldens_are_accepted,
        admission::bad_objects_are_refused_with_the_field_named,
        admission::templates_take_what_pods_take,
        admission::immutable_fields_stay,
        reconcile::a_lobby_with_pools_settles_and_then_nothing_is_written,
        reconcile::a_change_of_relays_reaches_the_lobby,
        reconcile::drift_is_repaired,
        reconcile::a_status_that_somebody_wrote_over_is_put_right,
        reconcile::scaling_makes_and_removes_relays,
        reconcile::an_exposure_can_be_changed,
        reconcile::a_redis_of_ones_own_comes_and_goes_with_the_lobbys_wish,
        reconcile::routers_come_and_go_with_the_lobbys_wish,
        reconcile::names_for_external_dns_are_told_once_the_cluster_has_its_kind,
        reconcile::a_lobby_says_when_it_is_replaced,
        reconcile::load_balancers_and_ingresses_give_addresses_once_they_have_them,
        reconcile::what_is_deleted_leaves_nothing,
        autoscaler::a_horizontal_pod_autoscaler_scales_a_pool_and_the_emptiest_leaves,
        drains::a_changed_spec_replaces_relays_without_a_cut,
        drains::a_rollout_is_paused_and_taken_back,
        drains::an_occupied_relay_is_waited_for_and_the_emptiest_leaves,
        drains::a_person_has_a_relay_leave_and_takes_it_back,
        drains::a_lobby_has_a_relay_leave_and_takes_it_back,
        drains::who_is_not_heard_does_not_leave,
        drains::a_pool_drains_before_it_goes_and_its_lobby_waits_for_it,
        drains::relays_of_a_pool_that_is_not_accepted_stay_and_still_obey,
        drains::a_pool_follows_its_sessions,
        custom::a_pool_of_another_image_follows_its_metrics,
        custom::a_relay_that_cannot_be_told_leaves_in_time,
        keys::keys_stand_by_are_rotated_once_and_revoked_at_once,
        people::relays_are_told_to_leave_and_to_stay_by_kubectl_convene,
        people::who_may_only_look_tells_relays_nothing,
        remote::each_side_of_two_clusters_is_told_what_it_needs,
        control::one_authority_certifies_all_control_ports_and_is_succeeded_in_time,
        control::of_secrets_in_its_own_namespace_the_operator_has_one,
        tls::relays_know_their_lobby_by_an_authority_that_is_made_once,
        tls::a_secret_that_is_not_there_is_waited_for_and_changes_nothing,
        tls::a_relay_is_offered_as_what_it_was_made_to_speak,
        references::a_lobby_that_is_not_there_is_waited_for,
        references::a_claim_for_places_that_is_not_there_keeps_no_lobby_from_serving,
        references::databases_are_downloaded_from_where_that_is_allowed,
        references::other_namespaces_are_let_in_only_by_the_lobby,
        references::rights_in_part_are_told_as_not_granted,
        references::a_pool_whose_lobby_has_gone_says_whether_its_relays_serve,
        references::a_namespace_that_comes_back_is_served_as_if_it_were_new,
        references::a_broken_key_secret_stalls_and_keeps_the_children,
        references::objects_of_others_are_not_taken_over,
        references::an_object_that_does_not_parse_stops_nothing,
        election::the_next_leads_after_an_orderly_end_at_once_and_after_a_crash_in_time,
        election::an_operator_killed_anywhere_leaves_nothing_wrong,
        election::a_newer_operator_leaves_running_relays_alone,
    ]
}
