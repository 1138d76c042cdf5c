//! Who may name whom.

use crate::none;
use crate::source::{Source, read};

/// For each module at the top: which others it may name. ARCHITECTURE.md draws it.
const ARROWS: [(&str, &[&str]); 14] = [
    ("api", &[]),
    ("wire", &[]),
    ("process", &["wire", "api"]),
    ("decide", &["wire", "api"]),
    ("operator", &["process", "decide", "wire", "api"]),
    ("lobby", &["process", "decide", "wire", "api"]),
    ("relay", &["process", "decide", "wire", "api"]),
    ("router", &["process", "decide", "wire", "api"]),
    ("client", &["process", "decide", "wire", "api"]),
    ("kubectl", &["process", "wire", "api"]),
    ("demo", &["process", "decide", "wire", "api"]),
    ("simulate", &["decide", "api"]),
    ("standalone", &["lobby", "relay", "process", "decide", "wire", "api"]),
    ("generate", &["operator", "lobby", "relay", "router", "process", "api"]),
];

/// Crates whose values decisions are made of. A crate that does I/O, reads a clock or is random has no place here.
const CRATES_OF_DECIDE: [&str; 12] = [
    "aws-lc-rs",
    "base64",
    "croner",
    "ipnet",
    "jiff",
    "jsonwebtoken",
    "k8s-openapi",
    "kube",
    "pem",
    "serde",
    "serde_json",
    "thiserror",
];

/// What decisions must not name, of crates that they may.
const NOT_IN_DECIDE: [&str; 21] = [
    "async",
    "await",
    "Client",
    "Api",
    "kube::client",
    "kube::api",
    "kube::runtime",
    "kube::config",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "rand",
    "SystemRandom",
    "thread_local",
];

#[test]
fn arrows_point_one_way() {
    let mut findings = Vec::new();
    for source in Source::below("src") {
        let module = source.module();
        let Some(home) = module.first() else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == home) else {
            findings.push(format!("{}: module `{home}` is new: say in ARROWS here what it may import", source.path));
            continue;
        };
        for (line, name) in named(&source, module.len()) {
            let known = ARROWS.iter().any(|(other, _)| *other == name);
            if known && name != *home && !allowed.contains(&name.as_str()) {
                let path = &source.path;
                findings.push(format!(
                    "{path}:{line}: `{home}` must not name `{name}`; what both need goes to wire, process or decide"
                ));
            }
        }
    }
    none("Modules import along the arrows of ARCHITECTURE.md only.", &findings);
}

#[test]
fn decisions_have_no_io_no_clock_and_no_chance() {
    let manifest = read("Cargo.toml");
    let dependencies =
        manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or_default();
    let crates = dependencies.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim());
    let foreign: Vec<String> =
        crates.filter(|name| !CRATES_OF_DECIDE.contains(name)).map(|name| name.replace('-', "_")).collect();
    assert!(foreign.contains(&"tokio".to_owned()), "the dependencies in Cargo.toml cannot be found any more");
    let mut findings = Vec::new();
    for source in Source::below("src/decide") {
        for (line, code) in source.lines() {
            let named = foreign.iter().map(String::as_str).filter(|name| names_crate(code, name));
            for name in named.chain(NOT_IN_DECIDE.into_iter().filter(|name| has_words(code, name))) {
                findings.push(format!(
                    "{}:{line}: names `{name}`; take the value as an argument, and do the rest in operator, lobby or relay",
                    source.path
                ));
            }
        }
    }
    none("decide has no I/O, no clock and no randomness.", &findings);
}

#[test]
fn only_six_files_write_to_the_api_server() {
    const WRITERS: [&str; 6] = [
        "src/operator/apply.rs",
        "src/operator/finalizer.rs",
        "src/operator/status.rs",
        "src/operator/lease.rs",
        "src/operator/control/mod.rs",
        "src/kubectl/cluster.rs",
    ];
    const WRITES: [&str; 10] = [
        ".patch(",
        ".patch_status(",
        ".patch_metadata(",
        ".patch_scale(",
        ".create(",
        ".replace(",
        ".replace_status(",
        ".delete(",
        ".delete_collection(",
        ".evict(",
    ];
    let mut findings = Vec::new();
    for source in Source::below("src") {
        let names = |words: &str| source.code.lines().any(|line| has_words(line, words));
        let uses_api = names("kube") && (names("Api") || names("Client"));
        if !uses_api || WRITERS.contains(&source.path.as_str()) {
            continue;
        }
        for (line, code) in source.lines() {
            // `replace` of a text is another.
            let code = code.replace(".replace(\"", "").replace(".replace('", "");
            for write in WRITES.iter().filter(|write| code.contains(*write)) {
                let path = &source.path;
                findings.push(format!("{path}:{line}: calls `{write}…)` where the API is at hand; plan it, and let operator/apply.rs write it"));
            }
        }
    }
    none(
        "Only operator/{apply,finalizer,status,lease,control} write to the API server, and for people kubectl/cluster.",
        &findings,
    );
    for writer in WRITERS {
        let text = read(writer);
        assert!(WRITES.iter().any(|write| text.contains(write)), "{writer} writes nothing: take it from WRITERS here");
    }
}

/// Names right below the crate's root that a file names, with their lines.
fn named(source: &Source, depth: usize) -> Vec<(usize, String)> {
    // `use crate::{a, b::{c, d}}` may go over several lines.
    let up = "super::".repeat(depth);
    let mut found = Vec::new();
    for start in ["crate::", &up] {
        for (at, _) in source.code.match_indices(start) {
            let before = source.code[..at].chars().next_back();
            if before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':') {
                continue;
            }
            let line = source.code[..at].matches('\n').count() + 1;
            found.extend(heads(&source.code[at + start.len()..]).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// First names of a path: one, or those of a group.
fn heads(path: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut heads = vec![word(group)];
    let mut depth = 0_usize;
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(&group[index + 1..])),
            _ => {}
        }
    }
    heads
}

/// Whether a line names a crate: in a path, or in a `use` of the whole.
fn names_crate(code: &str, name: &str) -> bool {
    let in_path = code.match_indices(&format!("{name}::")).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(|character| character.is_alphanumeric() || "_:".contains(character))
    });
    in_path || code.trim() == format!("use {name};")
}

/// Whether a line has this word or path, not as a part of a longer word.
fn has_words(code: &str, words: &str) -> bool {
    let part = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let hits = code.match_indices(words);
    hits.into_iter()
        .any(|(at, _)| !part(code[..at].chars().next_back()) && !part(code[at + words.len()..].chars().next()))
}

#[test]
fn groups_of_imports_are_seen() {
    assert_eq!(heads("{a, b::{c, d}, e}; f"), ["a", "b", "e"]);
    assert_eq!(heads("a::b"), ["a"]);
    assert!(has_words("use kube::{Api, Client};", "Api") && !has_words("ApiError", "Api"));
    assert!(names_crate("tokio::spawn(x)", "tokio") && !names_crate("crate::tokio::x", "tokio"));
}
