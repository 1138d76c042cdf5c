//! Tests against a real kube-apiserver and etcd: what it takes, what it refuses, and what the operator does there with no
//! more rights than the chart gives it. `make test-api` runs them; `make test-api ARGS=drift` those with that name.

#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test with a main of its own is not known as one"
)]

mod admission;
mod control_plane;
mod election;
mod reconcile;
mod references;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use world::World;

fn main() {
    let mut arguments = Arguments::from_args();
    // Cases wait more than they work; the machine is small.
    arguments.test_threads = arguments.test_threads.or(Some(6));
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&None)).exit();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first provider");
    let (world, operator) = runtime.block_on(async {
        let world = Arc::new(World::start().await);
        let operator = world.operator("shared").await;
        (world, operator)
    });
    let conclusion = libtest_mimic::run(&arguments, trials(&Some((Arc::clone(&world), runtime.handle().clone()))));
    runtime.block_on(operator.stop());
    // `exit` runs no destructors: the control plane must end first.
    drop(world);
    conclusion.exit();
}

type Shared = Option<(Arc<World>, tokio::runtime::Handle)>;

/// All cases. Each has a namespace of its own; one operator serves all, but for those about operators themselves.
fn trials(shared: &Shared) -> Vec<Trial> {
    macro_rules! cases {
        ($($module:ident::$case:ident),* $(,)?) => {
            vec![$({
                let shared = shared.clone();
                let name = concat!(stringify!($module), "::", stringify!($case));
                Trial::test(name, move || {
                    let (world, runtime) = shared.ok_or_else(|| Failed::from("only listed"))?;
                    runtime.block_on($module::$case(&world));
                    Ok(())
                })
            }),*]
        };
    }
    cases![
        admission::examples_are_accepted,
        admission::goldens_are_accepted,
        admission::bad_objects_are_refused_with_the_field_named,
        admission::immutable_fields_stay,
        reconcile::a_lobby_with_pools_settles_and_then_nothing_is_written,
        reconcile::a_change_of_relays_reaches_the_lobby,
        reconcile::drift_is_repaired,
        reconcile::scaling_makes_and_removes_relays,
        reconcile::an_exposure_can_be_changed,
        reconcile::a_changed_spec_leaves_running_relays_alone,
        reconcile::load_balancers_and_ingresses_give_addresses_once_they_have_them,
        reconcile::deletion_without_an_operator_leaves_nothing,
        references::a_lobby_that_is_not_there_is_waited_for,
        references::other_namespaces_are_let_in_only_by_the_lobby,
        references::a_namespace_must_be_granted,
        references::a_broken_key_secret_stalls_and_keeps_the_children,
        references::objects_of_others_are_not_taken_over,
        references::an_object_that_does_not_parse_stops_nothing,
        election::the_next_leads_after_an_orderly_end_at_once_and_after_a_crash_in_time,
        election::an_operator_killed_anywhere_leaves_nothing_wrong,
    ]
}
