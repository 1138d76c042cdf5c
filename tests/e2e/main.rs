//! The whole, on a cluster with real nodes and pods: the chart installed with Helm, sessions over real sockets from this
//! machine to node ports, and what happens to them when parts are killed. `make test-e2e` brings up the cluster.

#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test with a main of its own is not known as one"
)]

mod client;
mod faults;
mod install;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use install::Install;

fn main() {
    let mut arguments = Arguments::from_args();
    // Two cores carry the cluster as well.
    arguments.test_threads = arguments.test_threads.or(Some(3));
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&None)).exit();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first provider");
    let install = Arc::new(runtime.block_on(Install::new()));
    libtest_mimic::run(&arguments, trials(&Some((install, runtime.handle().clone())))).exit();
}

type Shared = Option<(Arc<Install>, tokio::runtime::Handle)>;

/// All cases; each has a namespace of its own.
fn trials(shared: &Shared) -> Vec<Trial> {
    macro_rules! cases {
        ($($module:ident::$case:ident),* $(,)?) => {
            vec![$({
                let shared = shared.clone();
                let name = concat!(stringify!($module), "::", stringify!($case));
                Trial::test(name, move || {
                    let (install, runtime) = shared.ok_or_else(|| Failed::from("only listed"))?;
                    runtime.block_on($module::$case(&install));
                    Ok(())
                })
            }),*]
        };
    }
    cases![
        sessions::everyone_is_sent_to_the_nearest_relay_with_room,
        sessions::forged_replayed_and_foreign_tokens_get_one_identical_refusal,
        sessions::pods_hold_no_more_than_they_need,
        faults::a_killed_relay_loses_no_session_that_rejoins,
        faults::a_deleted_pool_lets_its_sessions_end,
        faults::a_restarted_lobby_goes_on_with_live_sessions,
        faults::killed_operators_cut_nothing_and_finish_their_work,
    ]
}
