//! Where sessions go, and how many milliseconds that loses: the latency model judged on measurements that it was not
//! fitted to, a synthetic world of clients, and how long a decision takes. Prints a section of `docs/routing.md`, and draws
//! its picture. `-- --fit` writes the numbers of the model instead.

#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]
#![allow(clippy::print_stdout, reason = "the tables are what it is for")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of thousands, and shares of them"
)]

mod chance;
mod cities;
mod data;
mod fit;
mod links;
mod picture;
mod regret;
mod report;
mod shipped;
mod speed;
mod splits;
mod world;

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if std::env::args().any(|argument| argument == "--fit") {
        return shipped::write(root);
    }
    shipped::check()?;
    let splits = splits::all()?;
    let world = world::World::new()?;
    report::print(&splits, &world, &speed::measure());
    let quick = std::env::var_os("QUICK").is_some();
    if let (Some(split), false) = (splits.first(), quick) {
        let path = root.join("docs/routing.svg");
        std::fs::write(&path, picture::draw(split)).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}
