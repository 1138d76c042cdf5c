//! Logs: JSON lines, or text for people.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text.
    Text,
}

/// Starts logging to standard error. `filter` is in the syntax of `RUST_LOG`, such as `info,convene=debug`.
pub fn init(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would tell of a log that cannot be written by `eprintln!`, which panics where standard error is what cannot
        // be written: any task that logs would end, among them the one that hears SIGTERM.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    }
    .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
