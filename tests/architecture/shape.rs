//! Size and manners of files.

use std::path::Path;

use crate::none;
use crate::source::{Source, files_below, read, root};

/// Longer files are read in two goes; these are only told.
const LONG: usize = 300;
/// Longer files are split.
const TOO_LONG: usize = 500;

#[test]
fn files_can_be_read_in_one_go() {
    let mut findings = Vec::new();
    for source in Source::below("src") {
        let length = source.length();
        if length > TOO_LONG {
            findings.push(format!(
                "{}: {length} lines without tests, {TOO_LONG} is the most: split it by what it decides",
                source.path
            ));
        } else if length > LONG {
            eprintln!("{}: {length} lines without tests; think of splitting it", source.path);
        }
    }
    none("Files stay small enough to read in one go.", &findings);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = ["src", "tests"].into_iter().flat_map(Source::below).filter(|source| !source.text.starts_with("//! "));
    let findings: Vec<String> = silent
        .map(|source| {
            format!("{}:1: begin with `//! ` and what the file decides or does, and what it must not do", source.path)
        })
        .collect();
    none("Every Rust file begins with what it is for.", &findings);
}

#[test]
fn every_golden_file_has_its_example() {
    let mut findings = Vec::new();
    for path in files_below("tests/golden") {
        let inside = Path::new(path.trim_start_matches("tests/golden/"));
        let folder = Path::new("examples").join(inside.parent().unwrap_or(Path::new("")));
        let stem = inside.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = stem.split_once('-').map_or("", |(_, name)| name);
        let examples = files_below(&folder.to_string_lossy());
        if !examples.iter().any(|example| read(example).contains(&format!("\n  name: {name}\n"))) {
            findings.push(format!("{path}: {} has no object {name}: run `make bless`", folder.display()));
        }
    }
    none("Every golden file belongs to an example.", &findings);
}

#[test]
fn no_file_names_a_machine() {
    // Put together here, so that this file does not name them either.
    let homes = ["root", "home", "work", "Users"].map(|folder| format!("/{folder}/"));
    let temporary = format!("/{}/", ["tmp", "wt"].join("/"));
    let hosts = ["docker", "ghcr", "quay", "gcr"]
        .map(|host| format!("{host}.io"))
        .into_iter()
        .chain(["registry.k8s".to_owned() + ".io"]);
    let hosts: Vec<String> = hosts.collect();
    let mut findings = Vec::new();
    for path in committed() {
        for (index, line) in read(&path).lines().enumerate() {
            let at = |what: &str, advice: &str| format!("{path}:{}: `{what}`: {advice}", index + 1);
            let paths = homes.iter().chain([&temporary]).filter(|home| starts_a_path(line, home));
            findings.extend(
                paths.map(|home| at(home, "a path of one machine; use $HOME, an XDG folder or a relative path")),
            );
            let named = hosts.iter().filter(|host| line.contains(*host));
            findings.extend(named.map(|host| at(host, "a registry; images are built here, or named by a value")));
        }
    }
    none("Nothing committed names a machine or a registry.", &findings);
}

/// A folder at the start of a path, not one inside another path such as `/proc/1/root/`.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "._-}~*$".contains(character))
    })
}

/// All files but what tools write: lock files, and what lies outside of the repository.
fn committed() -> Vec<String> {
    let skipped = ["Cargo.lock", "go.sum"];
    let entries = std::fs::read_dir(root()).expect("the repository can be listed");
    let names = entries.map(|entry| entry.expect("a folder can be listed").file_name().to_string_lossy().into_owned());
    let mut found = Vec::new();
    for name in names.filter(|name| !matches!(name.as_str(), ".git" | "target" | ".idea")) {
        if root().join(&name).is_dir() { found.extend(files_below(&name)) } else { found.push(name) }
    }
    found.retain(|path| !skipped.iter().any(|name| path.ends_with(name)));
    found.sort();
    found
}

#[test]
fn paths_inside_others_are_no_homes() {
    let home = format!("/{}/", "root");
    assert!(starts_a_path(&format!("cd {home}x"), &home) && starts_a_path(&format!("\"{home}x\""), &home));
    assert!(!starts_a_path(&format!("/proc/1{home}x"), &home) && !starts_a_path(&format!("$pid{home}x"), &home));
}
