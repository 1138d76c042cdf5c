//! The settings of a relay as values: what [`Args`] say, and what is fixed.

use std::path::PathBuf;
use std::time::Duration;

use super::Args;
use super::remote::Remote;
use crate::decide::quota::Rate;
use crate::decide::room::QueueLimits;
use crate::decide::seats::SeatLimits;
use crate::process::control;
use crate::process::http::PublicArgs;
use crate::wire::claims::remote_uid;

/// Settings of one relay.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base URL of the lobby.
    pub lobby_url: String,
    /// File with the CA certificates of the lobby; the system's if absent.
    pub lobby_ca: Option<PathBuf>,
    /// Issuer of the tokens that are taken; the lobby says it if absent.
    pub lobby_uid: Option<String>,
    /// How the relay proves who it is to a lobby of another cluster.
    pub remote: Option<Remote>,
    /// File with which the relay proves who it is.
    pub identity_file: PathBuf,
    /// File with the lobby's public keys.
    pub jwks_file: PathBuf,
    /// How often that file is looked at.
    pub jwks_every: Duration,
    /// UID of this Pod, or what stands for it in another cluster.
    pub pod_uid: String,
    /// Sessions, participants, idle time.
    pub seats: SeatLimits,
    /// Time for sessions to end after shutdown began.
    pub drain: Duration,
    /// Largest message of a participant, in bytes.
    pub max_message_bytes: usize,
    /// Origins from which browsers may connect; none = any.
    pub allowed_origins: Vec<String>,
    /// What may wait for one participant.
    pub queue: QueueLimits,
    /// Bytes of messages that the relay may hold.
    pub queue_bytes_total: usize,
    /// Messages of one participant.
    pub messages_per_participant: Rate,
    /// Bytes of one participant.
    pub bytes_per_participant: Rate,
    /// Attempts to connect of one address.
    pub attempts_per_address: Rate,
    /// Probes of one address.
    pub probes_per_address: Rate,
    /// Probes of all addresses.
    pub probes_total: Rate,
    /// Participants at a time from one address.
    pub participants_per_address: usize,
    /// Limits and TLS of the port for clients.
    pub public: PublicArgs,
    /// The control port.
    pub control: control::Args,
    /// Used tokens that are remembered.
    pub remembered_tokens: usize,
    /// How often participants are pinged.
    pub ping_every: Duration,
    /// Silence after which a participant is closed.
    pub silent_after: Duration,
    /// How long a sender waits for room in the queue of a participant that takes nothing, before that one is closed.
    pub slow_after: Duration,
    /// Time for a participant to take its last frames and answer a close.
    pub goodbye: Duration,
}

impl From<Args> for Config {
    fn from(args: Args) -> Self {
        let remote = Remote::from_args(args.pool);
        Self {
            lobby_url: args.lobby_url,
            lobby_ca: args.lobby_ca,
            lobby_uid: args.lobby_uid,
            identity_file: args.identity_file,
            jwks_file: args.jwks_file,
            jwks_every: Duration::from_secs(2),
            pod_uid: match &remote {
                Some(remote) => remote_uid(&remote.pool, &args.pod_uid),
                None => args.pod_uid,
            },
            remote,
            seats: SeatLimits {
                capacity: args.capacity,
                participants_per_session: args.participants_per_session,
                idle: Duration::from_secs(args.idle_seconds),
            },
            drain: Duration::from_secs(args.drain_seconds),
            max_message_bytes: args.max_message_bytes,
            allowed_origins: args.allowed_origins,
            queue: QueueLimits {
                frames: args.queue_messages.max(2),
                // Less would close readers for one message that its sender was allowed.
                bytes: args.queue_bytes.max(2 * args.max_message_bytes),
            },
            // Less would let a few large messages stop everybody.
            queue_bytes_total: args.queue_bytes_total.max(16 * args.max_message_bytes),
            messages_per_participant: Rate::per_second(args.messages_per_second),
            // No burst beyond what a queue holds.
            bytes_per_participant: Rate {
                per_second: f64::from(args.bytes_per_second),
                burst: f64::from(args.bytes_per_second) / 2.0,
            },
            attempts_per_address: Rate::per_second(args.attempts_per_second),
            probes_per_address: Rate::per_second(args.probes_per_second),
            probes_total: Rate::per_second(args.probes_per_second_total),
            participants_per_address: usize::try_from(args.participants_per_address).unwrap_or(usize::MAX),
            public: args.public,
            control: args.control,
            remembered_tokens: args.remembered_tokens,
            ping_every: Duration::from_secs(20),
            silent_after: Duration::from_mins(1),
            slow_after: Duration::from_secs(5),
            goodbye: Duration::from_secs(3),
        }
    }
}
