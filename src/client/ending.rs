//! How a client ends, for its exit code and its last words.

use std::process::ExitCode;

/// Why a client has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As its user asked, or what it shared has ended.
    Done(String),
    /// It could not do its work.
    Failed(String),
    /// It was not let in.
    Refused(String),
    /// It was away from the other side for too long.
    GaveUp(String),
    /// The session was closed.
    Closed(String),
}

impl Ending {
    /// The host has refused this guest, to it or to the lobby.
    pub(super) fn not_let_in() -> Self {
        Self::Refused("the host did not let you in".to_owned())
    }

    /// For people.
    pub fn words(&self) -> &str {
        match self {
            Self::Done(why) | Self::Failed(why) | Self::Refused(why) | Self::GaveUp(why) | Self::Closed(why) => why,
        }
    }

    /// As `--help` tells; 2 is for arguments that are not understood.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Done(_) => 0,
            Self::Failed(_) => 1,
            Self::Refused(_) => 3,
            Self::GaveUp(_) => 4,
            Self::Closed(_) => 5,
        }
    }

    pub(super) fn exit(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
