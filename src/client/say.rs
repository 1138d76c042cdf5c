//! What the client tells its user: one event at a time, as words for people or as JSON lines for programs.

use std::io::Write as _;
use std::sync::Arc;

use serde::Serialize;

/// Something that the user or a script should know. With `--json`, one object a line; `event` names it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// Secrets and sessions travel over plain HTTP to another machine.
    PlainHttp {
        /// The lobby.
        lobby: String,
    },
    /// The host's session is there.
    Ready {
        /// For guests; whoever has it can ask to come in.
        link: String,
        /// Region of the relay.
        region: String,
        /// Its name.
        relay: String,
    },
    /// A guest has the right link; the host is asked. The answer on stdin: `{"guest":1,"allow":true}`.
    Asks {
        /// Number of the guest in this session.
        guest: u32,
        /// Who it says it is.
        name: String,
        /// Must be the same on the guest's screen.
        code: String,
    },
    /// A guest is in.
    GuestJoined {
        /// Number of the guest.
        guest: u32,
        /// Who it says it is.
        name: String,
        /// Must be the same on the guest's screen.
        code: String,
    },
    /// A guest was lost and is back; its connections go on.
    GuestBack {
        /// Number of the guest.
        guest: u32,
    },
    /// A guest has left, or was away for too long, or was refused.
    GuestLeft {
        /// Number of the guest.
        guest: u32,
        /// Why.
        why: &'static str,
    },
    /// The lobby has asked the host whether to let the guest in.
    Asked {
        /// The guest's id, as the host sees it.
        guest: String,
    },
    /// The guest waits for the host's answer.
    Waiting {
        /// Must be the same on the host's screen.
        code: String,
    },
    /// The guest is in.
    Joined {
        /// Must be the same on the host's screen.
        code: String,
    },
    /// The guest's local port is open.
    Listening {
        /// Address to connect to.
        address: String,
    },
    /// Connected to a relay.
    Connected {
        /// Region of the relay.
        region: String,
        /// Its name.
        relay: String,
    },
    /// The connection is lost; the client is looking for another.
    Lost {
        /// Why.
        why: String,
    },
    /// The connection is there again, and nothing was lost.
    Back {
        /// Milliseconds since the loss was noticed.
        after_ms: u64,
    },
    /// The host could not reach what it shares.
    Unreachable,
    /// The shared terminal has this size.
    Size {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// It is over.
    Ended {
        /// Why.
        why: String,
    },
}

impl Event {
    /// For people.
    fn words(&self) -> String {
        match self {
            Self::PlainHttp { lobby } => format!("warning: {lobby} is plain HTTP: use https outside of this machine"),
            Self::Ready { link, region, relay } => {
                format!(
                    "shared through {relay} ({region}); give this link to your guests, over a channel you trust:\n\n  convene join '{link}'\n"
                )
            }
            Self::Asks { guest, name, code } => {
                format!(
                    "guest {guest}, \"{name}\", asks to come in; its security code must be {code}. Let it in? [y/n]"
                )
            }
            Self::GuestJoined { guest, name, code } => {
                format!("guest {guest}, \"{name}\", is in (security code {code})")
            }
            Self::GuestBack { guest } => format!("guest {guest} is back"),
            Self::GuestLeft { guest, why } => format!("guest {guest} is gone: {why}"),
            Self::Asked { guest } => {
                format!("the lobby has asked your host to let you in; waiting for the answer (you are guest {guest})")
            }
            Self::Waiting { code } => {
                format!("waiting for the host to let you in; tell your host the security code {code}")
            }
            Self::Joined { code } => format!("the host let you in (security code {code})"),
            Self::Listening { address } => format!("connect to {address}; Ctrl-C ends"),
            Self::Connected { region, relay } => format!("connected through {relay} ({region})"),
            Self::Lost { why } => format!("connection lost ({why}); looking for another way"),
            Self::Back { after_ms } => format!("back after {after_ms} ms; nothing was lost"),
            Self::Unreachable => "the host could not reach what it shares".to_owned(),
            Self::Size { rows, columns } => {
                format!("the shared terminal has {columns} columns and {rows} rows; make yours as large")
            }
            Self::Ended { why } => why.clone(),
        }
    }
}

/// Tells events to whoever wants to know.
#[derive(Clone)]
pub struct Say(Arc<dyn Fn(&Event) + Send + Sync>);

impl std::fmt::Debug for Say {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Say")
    }
}

impl Say {
    /// Tells them to a function.
    pub fn to(listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Words on standard error.
    pub fn words() -> Self {
        // A terminal in raw mode needs the carriage return; others do not mind it at the end of a line.
        Self::to(|event| {
            let text = event.words().replace('\n', "\r\n");
            let _ = write!(std::io::stderr().lock(), "convene: {text}\r\n");
        })
    }

    /// JSON lines on standard output.
    pub fn json() -> Self {
        Self::to(|event| {
            let Ok(line) = serde_json::to_string(event) else { return };
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        })
    }

    /// Tells an event.
    pub fn say(&self, event: &Event) {
        (self.0)(event);
    }
}

/// A name as people may see it: no control characters, no tricks with the direction of text, not long.
pub(super) fn clean(name: &str) -> String {
    let harmless = |character: &char| character.is_alphanumeric() || " .-_@'".contains(*character);
    let name: String = name.chars().filter(harmless).take(64).collect();
    if name.trim().is_empty() { "somebody".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_write_on_the_screen() {
        assert_eq!(clean("Ada\u{1b}[2J\r\n\u{202e}\"x"), "Ada2Jx");
        assert_eq!(clean("\u{7}"), "somebody");
        assert_eq!(clean(&"é".repeat(100)).chars().count(), 64);
    }

    #[test]
    fn events_are_objects_that_name_themselves() {
        let event = Event::GuestLeft { guest: 3, why: "it left" };
        assert_eq!(serde_json::to_string(&event).expect("JSON"), r#"{"event":"guestLeft","guest":3,"why":"it left"}"#);
        assert_eq!(
            serde_json::to_string(&Event::Back { after_ms: 7 }).expect("JSON"),
            r#"{"event":"back","afterMs":7}"#
        );
    }
}
