//! Runs the cases of a layer: they share one world, which is costly to start.

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Handle};

/// The world of all cases, and where they run; nothing while they are only listed.
pub(crate) struct Shared<W>(Option<(Arc<W>, Handle)>);

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W> Shared<W> {
    /// Runs one case to its end; a panic is its failure.
    pub(crate) fn case(self, case: impl AsyncFnOnce(&W)) -> Result<(), Failed> {
        let (world, runtime) = self.0.ok_or("only listed")?;
        runtime.block_on(case(&world));
        Ok(())
    }
}

/// Starts the world, runs the cases in it, `at_once` at a time unless the arguments say otherwise, and ends the process.
/// `end` is given what `start` gave beside the world.
pub(crate) fn run<W, E>(
    at_once: usize,
    start: impl AsyncFnOnce() -> (W, E),
    cases: impl Fn(&Shared<W>) -> Vec<Trial>,
    end: impl AsyncFnOnce(E),
) -> ! {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(at_once));
    if arguments.list {
        libtest_mimic::run(&arguments, cases(&Shared(None))).exit();
    }
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first provider");
    let (world, rest) = runtime.block_on(start());
    let world = Arc::new(world);
    let shared = Shared(Some((Arc::clone(&world), runtime.handle().clone())));
    let conclusion = libtest_mimic::run(&arguments, cases(&shared));
    runtime.block_on(end(rest));
    // `exit` runs no destructors: what the world has started must end first.
    drop((shared, world));
    conclusion.exit();
}

/// Cases from `module::function` names: each is an async function of the world.
macro_rules! cases {
    ($shared:expr, $($module:ident::$case:ident),* $(,)?) => {
        vec![$({
            let (name, shared) = (concat!(stringify!($module), "::", stringify!($case)), $shared.clone());
            libtest_mimic::Trial::test(name, move || shared.case($module::$case))
        }),*]
    };
}
pub(crate) use cases;
