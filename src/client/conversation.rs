//! The guest's talk with the host: a TLS connection to whoever has the host's certificate, the proof, and then the
//! frames of the tunnel. Sends and waits for nothing itself.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio_tungstenite::tungstenite::Message;

use super::ending::Ending;
use super::net;
use super::tls::{Insecure, Secured};
use super::tunnel::{Heard, Tunnel};
use crate::decide::invite::{Invite, security_code};
use crate::decide::mux::{BadFrame, Frame};
use crate::wire::tunnel::{FromGuest, FromHost, Refused, Shared};

/// Bytes that are encrypted at a time; a message stays below it by what TLS adds.
const BATCH: usize = 64 * 1024;

/// One guest's talk, from one connection to the next.
pub(super) struct Conversation {
    config: Arc<ClientConfig>,
    invite: Invite,
    name: String,
    tunnel: Arc<Tunnel>,
    /// What the host gave when it let us in.
    ticket: Option<String>,
    queue_bytes: usize,
    batch: usize,
    call: Option<Call>,
}

struct Call {
    with: u32,
    secured: Secured,
    phase: Phase,
    code: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Proved,
    In,
}

/// What has happened.
pub(super) enum Step {
    /// The host is asked.
    Waiting { code: String },
    /// The host has let us in, or has us back.
    Admitted { code: String, shared: Shared },
    /// The host has sent us away.
    Refused(Ending),
    /// The host could not reach what it shares.
    Unreachable,
    /// The shared terminal has this size.
    Size { rows: u16, columns: u16 },
}

impl Conversation {
    pub(super) fn new(config: Arc<ClientConfig>, invite: Invite, name: String, tunnel: Arc<Tunnel>) -> Self {
        Self { config, invite, name, tunnel, ticket: None, queue_bytes: 0, batch: BATCH, call: None }
    }

    pub(super) fn tunnel(&self) -> &Arc<Tunnel> {
        &self.tunnel
    }

    /// A new connection to a relay with these limits.
    pub(super) fn begin(&mut self, queue_bytes: usize, max_message_bytes: usize) {
        self.queue_bytes = queue_bytes;
        self.batch = BATCH.min(max_message_bytes / 4 * 3);
    }

    /// With whom, at the relay.
    pub(super) fn with(&self) -> Option<u32> {
        self.call.as_ref().map(|call| call.with)
    }

    /// The connection is lost.
    pub(super) fn hang_up(&mut self) {
        self.call = None;
        self.tunnel.detach();
    }

    /// Talks to another member from now on, or to none.
    pub(super) fn call(&mut self, host: Option<u32>) -> Result<(), Insecure> {
        self.hang_up();
        if let Some(with) = host {
            let secured = Secured::guest(&self.config)?;
            self.call = Some(Call { with, secured, phase: Phase::Handshake, code: String::new() });
        }
        Ok(())
    }

    /// Takes what the host sent.
    pub(super) fn hear(&mut self, payload: &[u8]) -> Result<Vec<Step>, Insecure> {
        let Some(call) = &mut self.call else { return Ok(Vec::new()) };
        let frames = call.secured.feed(payload)?;
        if call.phase == Phase::Handshake && call.secured.is_ready() {
            self.prove()?;
        }
        let mut steps = Vec::new();
        for (frame, size) in frames {
            steps.extend(self.hear_frame(frame, size)?);
        }
        Ok(steps)
    }

    /// The handshake is done: whoever answers has the host's key. Now it must see that we have the secret.
    fn prove(&mut self) -> Result<(), Insecure> {
        let Some(call) = &mut self.call else { return Ok(()) };
        let exporter = call.secured.exporter(&self.invite.session)?;
        call.code = security_code(&exporter, &self.invite.pin);
        call.phase = Phase::Proved;
        let hello = FromGuest::Hello {
            proof: self.invite.secret.proof(&exporter),
            name: self.name.clone(),
            ticket: self.ticket.clone(),
            resume: self.tunnel.resume(),
        };
        let json = serde_json::to_vec(&hello).map_err(|_| BadFrame::NotUnderstood)?;
        call.write(&Frame::Control(json))
    }

    fn hear_frame(&mut self, frame: Frame, size: usize) -> Result<Option<Step>, Insecure> {
        let Some(call) = &mut self.call else { return Ok(None) };
        let message = match &frame {
            Frame::Control(json) => {
                Some(serde_json::from_slice::<FromHost>(json).map_err(|_| BadFrame::NotUnderstood)?)
            }
            _ => None,
        };
        if call.phase == Phase::In {
            let heard = self.tunnel.hear(frame, size).map_err(|_| BadFrame::NotUnderstood)?;
            if heard.iter().any(|heard| matches!(heard, Heard::Unreachable)) {
                return Ok(Some(Step::Unreachable));
            }
        }
        match message {
            Some(FromHost::Pending) => Ok(Some(Step::Waiting { code: call.code.clone() })),
            Some(FromHost::Admitted { ticket, shared, resume }) if call.phase == Phase::Proved => {
                self.tunnel.attach(&resume, self.queue_bytes).map_err(|_| BadFrame::NotUnderstood)?;
                call.phase = Phase::In;
                self.ticket = Some(ticket);
                Ok(Some(Step::Admitted { code: call.code.clone(), shared }))
            }
            Some(FromHost::Refused { why }) => Ok(Some(Step::Refused(refused(why)))),
            Some(FromHost::Size { rows, columns }) => Ok(Some(Step::Size { rows, columns })),
            Some(FromHost::Admitted { .. }) => Err(BadFrame::NotUnderstood.into()),
            Some(FromHost::Unknown) | None => Ok(None),
        }
    }

    /// Asks the host for a sign of life.
    pub(super) fn ping(&mut self) -> Result<(), Insecure> {
        match &mut self.call {
            Some(call) if call.phase == Phase::Proved => call.write(&Frame::Ping)?,
            Some(call) if call.phase == Phase::In => self.tunnel.ping(),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Says goodbye, if the host would hear it.
    pub(super) fn bye(&self) {
        if let Some(call) = &self.call
            && call.phase == Phase::In
            && let Ok(json) = serde_json::to_vec(&FromGuest::Bye)
        {
            self.tunnel.control(json);
        }
    }

    /// The next message to send.
    pub(super) fn next_message(&mut self) -> Result<Option<Message>, Insecure> {
        let Some(call) = &mut self.call else { return Ok(None) };
        if call.phase == Phase::In {
            let mut plain = Vec::new();
            self.tunnel.fill(&mut plain, self.batch);
            call.secured.write(&plain)?;
        }
        let mut out = Vec::new();
        call.secured.drain(&mut out)?;
        Ok((!out.is_empty()).then(|| net::addressed(call.with, &out)))
    }
}

impl Call {
    fn write(&mut self, frame: &Frame) -> Result<(), Insecure> {
        let mut plain = Vec::new();
        frame.encode(&mut plain);
        self.secured.write(&plain)
    }
}

fn refused(why: Refused) -> Ending {
    match why {
        Refused::Secret => Ending::Refused("the link is not right: ask the host for it again".to_owned()),
        Refused::Host => Ending::not_let_in(),
        Refused::Full => Ending::Refused("there are too many guests; try again later".to_owned()),
        Refused::Ticket => Ending::GaveUp("the host gave up waiting for this connection; join again".to_owned()),
        Refused::Other => Ending::Refused("the host sent you away".to_owned()),
    }
}
