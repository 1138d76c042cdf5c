//! Bytes from outside, at every parser that reads them ([`targets`]): the kept corpus, what a few thousand changes make
//! of it. `make fuzz` looks for more, guided by what an input reaches ([`coverage`](coverage.rs)); what it finds is kept
//! as `grown-…`.
//!
//! A corpus file that begins with `good` must be taken, one with `bad` refused, any other only survived. What breaks a
//! parser is written where the message says: keep it in `corpus/` under a name that tells why.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use convene::{decide, wire};

#[path = "../../src/lobby/store/redis/codec.rs"]
#[allow(dead_code, reason = "it is used by the lobby")]
mod codec;
#[path = "../../src/relay/credentials.rs"]
#[allow(dead_code, reason = "it is used by the relay")]
mod credentials;
#[path = "../../src/lobby/query.rs"]
mod lobby_query;
#[path = "../../src/router/query.rs"]
mod router_query;
mod targets;
#[path = "../../src/relay/websocket.rs"]
#[allow(dead_code, reason = "it is used by the relay")]
mod websocket;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use targets::{ALL, Target};

/// Changed inputs of one target in the normal tests.
const ROUNDS: u32 = 1500;
/// Longest input: above the largest that a port takes for one of these.
const LONGEST: usize = 32 * 1024;

/// Pieces that parsers trip over.
const PIECES: [&[u8]; 28] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"1.5",
    b"9223372036854775808",
    b"18446744073709551616",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\0",
    b".",
    b"==",
    b"Bearer ",
    b"convene.token.",
    b"\n",
    b"\"aud\":\"x\",",
];

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
    files.sort();
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    files.into_iter().map(|path| (name(&path), std::fs::read(&path).expect("read"))).collect()
}

/// Runs one input; keeps it where it can be found if it breaks something.
fn run((name, target): Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(input))).unwrap_or_else(|_| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-broken"));
        std::fs::write(&kept, input).expect("written");
        panic!("{name} broke on what is now in {}", kept.display());
    })
}

/// A generator of numbers that anybody can run again: xorshift64 (Marsaglia, 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("64 bits") % below.max(1)
    }

    /// One to six changes to `input`.
    fn change(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.roll(6) {
            let (at, end) = (self.roll(bytes.len() + 1), self.roll(bytes.len() + 1));
            let (from, to) = (at.min(end), at.max(end));
            match self.roll(7) {
                0 if from < bytes.len() => bytes[from] ^= 1 << self.roll(8),
                1 if from < bytes.len() => bytes[from] = u8::try_from(self.roll(256)).expect("a byte"),
                2 => drop(bytes.drain(from..to.min(from + 16))),
                3 => {
                    let again = bytes[from..to].to_vec();
                    bytes.splice(from..from, again);
                }
                4 => {
                    let start = self.roll(other.len() + 1);
                    let length = self.roll(other.len() - start + 1);
                    bytes.splice(from..from, other[start..start + length].iter().copied());
                }
                _ => drop(bytes.splice(from..from, PIECES[self.roll(PIECES.len())].iter().copied())),
            }
            bytes.truncate(LONGEST);
        }
        bytes
    }

    /// Changes inputs of a target while `more` says so; how many were run, and how many of them taken.
    fn fuzz(&mut self, target: Target, mut more: impl FnMut(u32) -> bool) -> (u32, u32) {
        let seeds = corpus(target.0);
        let (mut rounds, mut taken) = (0, 0);
        while more(rounds) {
            let (one, other) = (self.roll(seeds.len()), self.roll(seeds.len()));
            let input = self.change(&seeds[one].1, &seeds[other].1);
            taken += u32::from(run(target, &input));
            rounds += 1;
        }
        (rounds, taken)
    }
}

#[test]
fn the_corpus_is_taken_and_refused_as_it_says() {
    for target in ALL {
        let files = corpus(target.0);
        assert!(files.len() >= 3, "{}: {} files", target.0, files.len());
        for (name, input) in files {
            let taken = run(target, &input);
            assert!(!name.starts_with("good") || taken, "{}/{name} is refused", target.0);
            assert!(!name.starts_with("bad") || !taken, "{}/{name} is taken", target.0);
        }
    }
}

#[test]
fn what_a_few_changes_make_of_it_breaks_nothing() {
    for target in ALL {
        // Dice of its own: another target beside it changes nothing here.
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let (rounds, taken) = dice.fuzz(target, |rounds| rounds < ROUNDS);
        assert_eq!(rounds, ROUNDS);
        assert!(
            taken > 0 || target.0 == "token",
            "{}: no change was ever taken: the fuzzer sees only the door",
            target.0
        );
        assert!(taken < rounds, "{}: everything is taken", target.0);
    }
}
