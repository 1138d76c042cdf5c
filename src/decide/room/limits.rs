//! How much may wait for a member, and how its fill slows those down who add to it.

use std::time::Duration;

/// A queue may take this part of what the relay has left for all: one alone leaves most of it to the others, and many
/// share it evenly, however many they are.
const PART: usize = 8;
/// What a queue may take in any case, in bytes: with nothing left senders wait, and who reads is not dropped for what
/// others hold.
const FLOOR: usize = 64 * 1024;
/// How long all pauses take while a queue is filled from its half to its end: about as long as a reader in addressed mode
/// is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest pause at a time: also who sends large messages must hear of the end soon.
const LONGEST: Duration = Duration::from_secs(1);

/// What may wait for one member, including what was taken and is still being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Frames.
    pub frames: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

impl QueueLimits {
    /// The limits while the relay has so many bytes left for all queues together: they become shorter as it fills, so
    /// that senders wait for late readers, and readers that stand still leave, before nothing is left for the others.
    #[must_use]
    pub fn within(self, left: usize) -> Self {
        Self { bytes: self.bytes.min((left / PART).max(FLOOR)), ..self }
    }

    /// A quarter. Who has taken nothing while so much was added to its queue is not waited for.
    #[must_use]
    pub fn quarter(self) -> Self {
        Self { frames: self.frames / 4, bytes: self.bytes / 4 }
    }

    /// Whether a queue of so many frames and bytes is too full.
    pub fn exceeded(self, frames: usize, bytes: usize) -> bool {
        frames > self.frames || bytes > self.bytes
    }

    /// How long who has just added a frame of `added` bytes pauses, the queue now being of so many frames and bytes.
    /// Nothing up to half; then more and more the fuller it is, in proportion to what was added. So a reader that is a
    /// little late costs little, and to fill the rest of a queue takes [`PATIENCE`], whatever the size of messages.
    pub fn pause(self, frames: usize, bytes: usize, added: usize) -> Duration {
        let fill = part(frames, self.frames).max(part(bytes, self.bytes));
        if fill <= 0.5 {
            return Duration::ZERO;
        }
        let share = part(1, self.frames).max(part(added, self.bytes)).min(1.0);
        let over = (2.0 * fill - 1.0).min(1.0);
        // The integral of 6 (2x - 1)² from 1/2 to 1 is 1.
        PATIENCE.mul_f64(6.0 * over * over * share).min(LONGEST)
    }
}

#[expect(clippy::cast_precision_loss, reason = "queues are far smaller than 2^52")]
fn part(some: usize, all: usize) -> f64 {
    some as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits { frames: 4096, bytes: 4 << 20 };

    /// All pauses while a queue is filled to its end by messages of so many bytes.
    fn pauses(message: usize) -> Duration {
        let mut all = Duration::ZERO;
        for frames in 1.. {
            if LIMITS.exceeded(frames, frames * message) {
                break;
            }
            all += LIMITS.pause(frames, frames * message, message);
        }
        all
    }

    #[test]
    fn to_fill_a_queue_takes_as_long_whatever_the_size_of_messages() {
        for message in [1, 100, 1000, 1024, 5000, 64 * 1024] {
            let all = pauses(message).as_secs_f64();
            assert!((3.5..4.5).contains(&all), "{message} bytes: {all} s");
        }
        assert!(pauses(1 << 20) <= Duration::from_secs(4), "large ones: no longer");
    }

    #[test]
    fn a_queue_up_to_half_costs_nothing_and_a_little_more_costs_little() {
        assert_eq!(LIMITS.pause(2048, 2 << 20, 1024), Duration::ZERO);
        assert!(LIMITS.pause(2250, 1, 1) < Duration::from_micros(100));
        assert!(LIMITS.pause(4096, 1, 1) > Duration::from_millis(5));
    }

    #[test]
    fn queues_become_shorter_as_the_relay_fills_but_never_nothing() {
        assert_eq!(LIMITS.within(usize::MAX), LIMITS);
        assert_eq!(LIMITS.within(32 << 20), LIMITS);
        assert_eq!(LIMITS.within(8 << 20).bytes, 1 << 20);
        assert_eq!(LIMITS.within(0).bytes, FLOOR);
        // What many stalled readers take together never reaches the bound by itself.
        let (most, mut held) = (256_usize << 20, 0);
        for _ in 0..1000 {
            let take = LIMITS.within(most - held).bytes;
            if take <= FLOOR {
                break;
            }
            held += take;
        }
        assert!(held < most, "{held}");
    }
}
