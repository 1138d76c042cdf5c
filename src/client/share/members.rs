//! Whoever is at the other side of the relay through one connection of the host: a TLS connection for each, and what it
//! is allowed yet. Nothing but a proof is heard from whoever has not given one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use super::guests::Guests;
use super::{Answer, Approve};
use crate::client::net;
use crate::client::say::{Event, clean};
use crate::client::tls::{Insecure, Secured};
use crate::client::tunnel::{Handle, Heard};
use crate::decide::invite::security_code;
use crate::decide::mux::{Broken, Frame};
use crate::process::clock;
use crate::wire::relay::Notice;
use crate::wire::tunnel::{FromGuest, FromHost, Refused, Resume};

/// Members that are looked at; others are not answered.
const MAX_MEMBERS: usize = 64;
/// Members that ask to come in and wait for an answer.
const MAX_ASKING: usize = 16;
/// Time for handshake and proof.
const PROOF_TIME: Duration = Duration::from_secs(10);
/// Bytes that are encrypted at a time; a message stays below it by what TLS adds.
const BATCH: usize = 64 * 1024;

/// All members.
pub(super) struct Members {
    known: BTreeMap<u32, Member>,
    queue_bytes: usize,
    batch: usize,
    /// Who sent last.
    turn: u32,
    /// See [`Members::goes_on`].
    goes_on: bool,
}

struct Member {
    phase: Phase,
    /// None once nothing more is said or heard.
    secured: Option<Secured>,
    since: Duration,
}

enum Phase {
    /// Has not proved anything yet.
    Stranger,
    /// Has the secret; the host is asked.
    Asking(Asker),
    /// Is in, with this ticket.
    In(String),
    /// Refused, or broke the protocol.
    Out,
}

/// Somebody who has the secret and was never here before.
struct Asker {
    /// Its number in this session, for people.
    guest: u32,
    name: String,
    code: String,
    resume: Resume,
}

/// Why a member is not heard any more.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error(transparent)]
    Insecure(#[from] Insecure),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("a message that is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

impl Members {
    pub(super) fn new(queue_bytes: usize, max_message_bytes: usize) -> Self {
        // A quarter for what TLS and the address add, and for the frame that goes beyond the batch.
        let batch = BATCH.min(max_message_bytes / 4 * 3);
        Self { known: BTreeMap::new(), queue_bytes, batch, turn: 0, goes_on: false }
    }

    /// Whether something came since the last look that goes on only while the host is heard: no questions of guests,
    /// which they ask whoever does not answer as well.
    pub(super) fn goes_on(&mut self) -> bool {
        std::mem::take(&mut self.goes_on)
    }

    /// Takes a message; gives the streams that it opened.
    pub(super) fn hear(&mut self, from: u32, payload: &[u8], guests: &mut Guests) -> Vec<Handle> {
        if !self.known.contains_key(&from) {
            if self.known.len() >= MAX_MEMBERS {
                return Vec::new();
            }
            let Ok(secured) = Secured::host(&guests.identity) else { return Vec::new() };
            let since = clock::monotonic();
            self.known.insert(from, Member { phase: Phase::Stranger, secured: Some(secured), since });
        }
        let mut opened = Vec::new();
        if let Err(why) = self.try_hear(from, payload, guests, &mut opened) {
            tracing::debug!(%why, "a member is not heard any more");
            self.put_out(from, guests);
        }
        opened
    }

    fn try_hear(
        &mut self,
        from: u32,
        payload: &[u8],
        guests: &mut Guests,
        opened: &mut Vec<Handle>,
    ) -> Result<(), Bad> {
        let secured = self.known.get_mut(&from).and_then(|member| member.secured.as_mut());
        let Some(secured) = secured else { return Ok(()) };
        for (frame, size) in secured.feed(payload)? {
            self.hear_frame(from, frame, size, guests, opened)?;
        }
        Ok(())
    }

    fn hear_frame(
        &mut self,
        from: u32,
        frame: Frame,
        size: usize,
        guests: &mut Guests,
        opened: &mut Vec<Handle>,
    ) -> Result<(), Bad> {
        let Some(member) = self.known.get_mut(&from) else { return Ok(()) };
        match &member.phase {
            Phase::Out => Ok(()),
            Phase::Stranger => match frame {
                Frame::Control(json) => match serde_json::from_slice(&json)? {
                    FromGuest::Hello { proof, name, ticket, resume } => {
                        self.greet(from, &proof, &name, ticket.as_deref(), resume, guests)
                    }
                    FromGuest::Bye | FromGuest::Unknown => Err(Broken::Protocol.into()),
                },
                _ => Err(Broken::Protocol.into()),
            },
            Phase::Asking(_) => match frame {
                Frame::Ping => member.write(&Frame::Pong),
                _ => Err(Broken::Protocol.into()),
            },
            Phase::In(ticket) => {
                let Some(guest) = guests.get(ticket) else { return Err(Broken::Protocol.into()) };
                if let Frame::Control(json) = &frame
                    && serde_json::from_slice::<FromGuest>(json)? == FromGuest::Bye
                {
                    let ticket = ticket.clone();
                    member.phase = Phase::Out;
                    guests.remove(&ticket, "it left");
                    return Ok(());
                }
                self.goes_on |= frame != Frame::Ping;
                let heard = guest.tunnel.hear(frame, size)?;
                opened.extend(heard.into_iter().filter_map(|heard| match heard {
                    Heard::Opened(handle) => Some(handle),
                    Heard::Unreachable => None,
                }));
                Ok(())
            }
        }
    }

    /// Somebody says who it is.
    fn greet(
        &mut self,
        from: u32,
        proof: &str,
        name: &str,
        ticket: Option<&str>,
        resume: Resume,
        guests: &mut Guests,
    ) -> Result<(), Bad> {
        let asking = self.known.values().filter(|member| matches!(member.phase, Phase::Asking(_))).count();
        let Some(member) = self.known.get_mut(&from) else { return Ok(()) };
        let Some(secured) = &member.secured else { return Ok(()) };
        let exporter = secured.exporter(&guests.session)?;
        if !guests.secret.proves(proof, &exporter) {
            return member.refuse(Refused::Secret);
        }
        if let Some(ticket) = ticket {
            let Some(guest) = guests.get(ticket) else { return member.refuse(Refused::Ticket) };
            let (number, old) = (guest.number, guest.member);
            member.admit(ticket, &resume, self.queue_bytes, guests, from)?;
            guests.say.say(&Event::GuestBack { guest: number });
            // The connection that it has lost may not have noticed yet.
            if let Some(old) = old.and_then(|old| self.known.get_mut(&old)) {
                old.phase = Phase::Out;
                old.secured = None;
            }
            return Ok(());
        }
        let code = security_code(&exporter, &guests.identity.pin);
        let asker = Asker { guest: guests.number(), name: clean(name), code, resume };
        if guests.approve == Approve::Ask {
            if asking >= MAX_ASKING {
                return member.refuse(Refused::Full);
            }
            let (name, code) = (asker.name.clone(), asker.code.clone());
            guests.say.say(&Event::Asks { guest: asker.guest, name, code });
            member.phase = Phase::Asking(asker);
            return member.say(&FromHost::Pending);
        }
        member.welcome(asker, self.queue_bytes, guests, from)
    }

    /// The host has decided about somebody.
    pub(super) fn answer(&mut self, answer: Answer, guests: &mut Guests) {
        let asks = |member: &Member| matches!(&member.phase, Phase::Asking(asker) if asker.guest == answer.guest);
        let Some((from, member)) = self.known.iter_mut().find(|(_, member)| asks(member)) else { return };
        let from = *from;
        let Phase::Asking(asker) = std::mem::replace(&mut member.phase, Phase::Out) else { return };
        let done = if answer.allow {
            member.welcome(asker, self.queue_bytes, guests, from)
        } else {
            guests.say.say(&Event::GuestLeft { guest: asker.guest, why: "it was refused" });
            member.refuse(Refused::Host)
        };
        if let Err(why) = done {
            tracing::debug!(%why, "a member is not heard any more");
            self.put_out(from, guests);
        }
    }

    /// The relay says who comes and goes.
    pub(super) fn notice(&mut self, text: &str, guests: &mut Guests) {
        if let Ok(Notice::Left { member }) = serde_json::from_str(text) {
            self.put_out(member, guests);
            self.known.remove(&member);
        }
    }

    /// Ends those that take too long to prove anything.
    pub(super) fn expire(&mut self, guests: &mut Guests) {
        let now = clock::monotonic();
        let late =
            |member: &Member| matches!(member.phase, Phase::Stranger) && now.saturating_sub(member.since) > PROOF_TIME;
        let late: Vec<u32> = self.known.iter().filter(|(_, member)| late(member)).map(|(from, _)| *from).collect();
        for from in late {
            self.put_out(from, guests);
        }
    }

    fn put_out(&mut self, from: u32, guests: &mut Guests) {
        let Some(member) = self.known.get_mut(&from) else { return };
        member.secured = None;
        match std::mem::replace(&mut member.phase, Phase::Out) {
            Phase::In(ticket) => guests.lost(&ticket, from),
            Phase::Asking(Asker { guest, .. }) => guests.say.say(&Event::GuestLeft { guest, why: "it left" }),
            Phase::Stranger | Phase::Out => {}
        }
    }

    /// The next message to send, taking turns.
    pub(super) fn next_message(&mut self, guests: &mut Guests) -> Option<Message> {
        let after = self.turn;
        let mut order: Vec<u32> = self.known.range(after.saturating_add(1)..).map(|(from, _)| *from).collect();
        order.extend(self.known.range(..=after).map(|(from, _)| *from));
        for from in order {
            let Some(member) = self.known.get_mut(&from) else { continue };
            match member.ciphertext(self.batch, guests) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    self.turn = from;
                    return Some(net::addressed(from, &bytes));
                }
                Err(why) => {
                    tracing::debug!(%why, "a member is not heard any more");
                    self.put_out(from, guests);
                }
            }
        }
        None
    }
}

impl Member {
    fn ciphertext(&mut self, batch: usize, guests: &Guests) -> Result<Vec<u8>, Bad> {
        let mut out = Vec::new();
        let Some(secured) = &mut self.secured else { return Ok(out) };
        if let Phase::In(ticket) = &self.phase
            && let Some(guest) = guests.get(ticket)
        {
            let mut plain = Vec::new();
            guest.tunnel.fill(&mut plain, batch);
            secured.write(&plain)?;
        }
        secured.drain(&mut out)?;
        Ok(out)
    }

    fn write(&mut self, frame: &Frame) -> Result<(), Bad> {
        let Some(secured) = &mut self.secured else { return Ok(()) };
        let mut plain = Vec::new();
        frame.encode(&mut plain);
        Ok(secured.write(&plain)?)
    }

    fn say(&mut self, message: &FromHost) -> Result<(), Bad> {
        self.write(&Frame::Control(serde_json::to_vec(message)?))
    }

    fn refuse(&mut self, why: Refused) -> Result<(), Bad> {
        self.phase = Phase::Out;
        self.say(&FromHost::Refused { why })
    }

    /// Lets somebody new in.
    fn welcome(&mut self, asker: Asker, queue_bytes: usize, guests: &mut Guests, from: u32) -> Result<(), Bad> {
        let Asker { guest, name, code, resume } = asker;
        let Some(ticket) = guests.let_in(guest) else { return self.refuse(Refused::Full) };
        self.admit(&ticket, &resume, queue_bytes, guests, from)?;
        guests.say.say(&Event::GuestJoined { guest, name, code });
        Ok(())
    }

    /// Gives a guest its connection.
    fn admit(
        &mut self,
        ticket: &str,
        resume: &Resume,
        queue_bytes: usize,
        guests: &mut Guests,
        from: u32,
    ) -> Result<(), Bad> {
        let Some(guest) = guests.get(ticket) else { return Err(Broken::Protocol.into()) };
        let (tunnel, shared) = (guest.tunnel.clone(), guests.shared);
        self.say(&FromHost::Admitted { ticket: ticket.to_owned(), shared, resume: tunnel.resume() })?;
        tunnel.attach(resume, queue_bytes)?;
        guests.attached(ticket, from);
        self.phase = Phase::In(ticket.to_owned());
        Ok(())
    }
}
