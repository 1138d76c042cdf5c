//! Standard input: the host's answers about guests, and keys for a terminal.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::say::{Event, Say};
use super::share::Answer;

/// Bytes that are read at a time.
const PIECE: usize = 1024;
/// Pieces and answers that may wait.
const AHEAD: usize = 16;
/// Longest line of a program that answers.
const MAX_LINE: usize = 1024;

/// What is typed, piece by piece. A thread of its own, which the end of the process does not wait for.
pub(super) fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut buffer = [0; PIECE];
        while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Guests about whom the host is asked, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<Mutex<VecDeque<u32>>>);

impl Asked {
    fn with<T>(&self, act: impl FnOnce(&mut VecDeque<u32>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes who asks and who does no longer, and tells everything on.
    pub(super) fn note(&self, say: Say) -> Say {
        let asked = self.clone();
        Say::to(move |event| {
            match event {
                Event::Asks { guest, .. } => asked.with(|waiting| waiting.push_back(*guest)),
                Event::GuestLeft { guest, .. } | Event::GuestJoined { guest, .. } => {
                    asked.with(|waiting| waiting.retain(|other| other != guest));
                }
                _ => {}
            }
            say.say(event);
        })
    }

    /// What a key means: an answer about the oldest, if the host is asked about anybody.
    pub(super) fn key(&self, key: u8) -> Key {
        self.with(|waiting| {
            let Some(guest) = waiting.front().copied() else { return Key::NotAsked };
            let allow = match key {
                b'y' | b'Y' => true,
                b'n' | b'N' => false,
                _ => return Key::NoAnswer,
            };
            waiting.pop_front();
            Key::Answer(Answer { guest, allow })
        })
    }
}

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Nobody asked.
    NotAsked,
    /// Somebody asked, and this is no answer.
    NoAnswer,
    /// This is one.
    Answer(Answer),
}

/// Answers out of JSON lines; what is none is told and left out.
pub(super) async fn json_answers(mut typed: mpsc::Receiver<Vec<u8>>, answers: mpsc::Sender<Answer>) {
    let mut line = Vec::new();
    while let Some(piece) = typed.recv().await {
        for byte in piece {
            if byte != b'\n' {
                line.push(byte);
                line.truncate(MAX_LINE);
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(answer) => {
                    if answers.send(answer).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, r#"not an answer; write {{"guest":1,"allow":true}}"#),
            }
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_answer_about_the_oldest_who_still_asks() {
        let asked = Asked::default();
        let say = asked.note(Say::to(|_| {}));
        assert_eq!(asked.key(b'y'), Key::NotAsked);
        for guest in 1..=3 {
            say.say(&Event::Asks { guest, name: String::new(), code: String::new() });
        }
        say.say(&Event::GuestLeft { guest: 1, why: "it left" });
        assert_eq!(asked.key(b'x'), Key::NoAnswer);
        assert_eq!(asked.key(b'y'), Key::Answer(Answer { guest: 2, allow: true }));
        assert_eq!(asked.key(b'N'), Key::Answer(Answer { guest: 3, allow: false }));
        assert_eq!(asked.key(b'y'), Key::NotAsked);
    }
}
