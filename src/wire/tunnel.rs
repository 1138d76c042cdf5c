//! What a host and a guest say to one another inside their TLS connection, beside the bytes of streams: JSON in control
//! frames. The relay and the lobby see none of it.
//!
//! The guest speaks first ([`FromGuest::Hello`]); nothing else is heard from a guest before its proof is found right, and
//! no stream opens before [`FromHost::Admitted`].

use serde::{Deserialize, Serialize};

/// Application protocol of the TLS connection between the ends (ALPN).
pub const ALPN: &[u8] = b"convene/1";
/// Label under which both ends export the value that the proof is bound to (RFC 8446, 7.5); the context is the session id.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-convene-guest";
/// Length of that value in bytes.
pub const EXPORTER_BYTES: usize = 32;

/// How far a side has come, told at the begin of each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    /// Highest number of a stream that this side knows or knew.
    pub highest: u32,
    /// For each stream that it knows: its number and the position of the next byte that it expects. Pairs, since the
    /// keys of a JSON object are text.
    pub streams: Vec<(u32, u64)>,
}

/// What a guest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromGuest {
    /// The first message.
    Hello {
        /// Proof of the secret, bound to this connection; base64url without padding.
        proof: String,
        /// Who the guest says it is; for people, not believed.
        name: String,
        /// What the host gave with [`FromHost::Admitted`], if the guest was here before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<String>,
        /// How far the guest has come.
        resume: Resume,
    },
    /// The guest leaves for good.
    Bye,
    /// Anything that a later version says.
    #[serde(other)]
    Unknown,
}

/// What a host says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromHost {
    /// The host is asked whether the guest may come in.
    Pending,
    /// The guest is in.
    Admitted {
        /// Shows on the next connection that this guest was let in already.
        ticket: String,
        /// What is shared.
        shared: Shared,
        /// How far the host has come.
        resume: Resume,
    },
    /// The guest is not let in, or is sent away. Final.
    Refused {
        /// Why.
        why: Refused,
    },
    /// The shared terminal has this size now.
    Size {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Anything that a later version says.
    #[serde(other)]
    Unknown,
}

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Shared {
    /// A TCP port: each stream is a connection to it.
    Port,
    /// A terminal: each stream gets its output.
    Terminal {
        /// Whether what the guest sends is typed.
        write: bool,
    },
}

/// Why a guest is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refused {
    /// The proof is not right.
    Secret,
    /// The host does not know the ticket any more: it gave up on the guest, or the guest was away too long.
    Ticket,
    /// The host said no.
    Host,
    /// Too many guests.
    Full,
    /// Anything that a later version says.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_their_way() {
        let resume = Resume { highest: 7, streams: vec![(1, 0), (7, u64::MAX)] };
        let hello = FromGuest::Hello {
            proof: "p".to_owned(),
            name: "n".to_owned(),
            ticket: Some("t".to_owned()),
            resume: resume.clone(),
        };
        let shared = Shared::Terminal { write: true };
        let admitted = FromHost::Admitted { ticket: "t".to_owned(), shared, resume };
        assert_eq!(
            serde_json::from_str::<FromGuest>(&serde_json::to_string(&hello).expect("JSON")).expect("understood"),
            hello
        );
        assert_eq!(
            serde_json::from_str::<FromHost>(&serde_json::to_string(&admitted).expect("JSON")).expect("understood"),
            admitted
        );
    }

    #[test]
    fn what_later_versions_say_is_left_out() {
        assert_eq!(serde_json::from_str::<FromHost>(r#"{"type":"wave"}"#).expect("understood"), FromHost::Unknown);
        let refused = serde_json::from_str::<FromHost>(r#"{"type":"refused","why":"moon"}"#);
        assert_eq!(refused.expect("understood"), FromHost::Refused { why: Refused::Other });
    }
}
