//! The plans of all examples, against `tests/golden/`: what the operator would put into a cluster for each object there.
//! `make bless` rewrites them; the diff is then what a reviewer reads.
//!
//! Properties of plans over random specs stand in `plan/properties.rs`.

#[cfg(test)]
#[path = "plan/cluster.rs"]
mod cluster;
#[cfg(test)]
#[path = "plan/credential.rs"]
mod credential;
#[cfg(test)]
#[path = "plan/examples.rs"]
mod examples;
#[cfg(test)]
#[path = "plan/pod_security.rs"]
mod pod_security;
#[cfg(test)]
#[path = "plan/properties.rs"]
mod properties;
#[cfg(test)]
#[path = "plan/random.rs"]
mod random;
#[cfg(test)]
#[path = "plan/settings.rs"]
mod settings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use convene::decide::plan::Plan;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::examples::Example;

/// What stands in a golden file in place of the content of a Secret: "masked", in base64.
const MASK: &str = "bWFza2Vk";

#[test]
fn plans_of_the_examples_are_as_blessed() {
    let root = golden_root();
    let planned: BTreeMap<PathBuf, String> = examples::all().iter().flat_map(files).collect();
    assert!(!planned.is_empty(), "no plan came out of examples/");
    if std::env::var_os("CONVENE_BLESS").is_some() {
        bless(&root, &planned);
        return;
    }
    for (path, text) in &planned {
        let blessed = fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(blessed == *text, "{}", difference(path, &blessed, text));
    }
    let orphans: Vec<PathBuf> = standing(&root).into_iter().filter(|path| !planned.contains_key(path)).collect();
    assert!(orphans.is_empty(), "no example plans these any more; `make bless` removes them: {orphans:?}");
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    for example in examples::all() {
        let mut shuffled = example.clone();
        shuffled.pools.reverse();
        shuffled.lobbies.reverse();
        let middle = shuffled.pools.len() / 2;
        shuffled.pools.rotate_left(middle);
        assert_eq!(files(&example), files(&example), "{}: planned twice", example.name);
        assert_eq!(files(&example), files(&shuffled), "{}: planned with its pools in another order", example.name);
    }
}

#[test]
fn golden_files_hold_no_secret() {
    let key = examples::SIGNING_KEY.lines().nth(1).expect("a key has lines");
    for path in standing(&golden_root()) {
        let text = fs::read_to_string(golden_root().join(&path)).expect("golden files are text");
        let told = text.contains(key) || text.contains(examples::ADMIN_TOKEN) || text.contains("PRIVATE KEY");
        assert!(!told, "tests/golden/{}: holds the content of a Secret", path.display());
    }
}

/// The golden files of one example, by path.
fn files(example: &Example) -> BTreeMap<PathBuf, String> {
    let cluster = Cluster::of(example);
    let folder = Path::new(&example.name);
    let lobbies = cluster.lobby_plans().map(|(name, plan)| ("lobby", "Lobby", name, plan));
    let pools = cluster.pool_plans().map(|(name, plan)| ("relaypool", "RelayPool", name, plan));
    lobbies
        .chain(pools)
        .map(|(prefix, kind, name, plan)| {
            let head = format!(
                "# Written by `make bless`: what is planned for {kind} {name} of examples/{}. Secrets are masked.\n",
                example.name
            );
            (folder.join(format!("{prefix}-{name}.yaml")), head + &documents(plan))
        })
        .collect()
}

/// A plan as YAML: what is made once, what is applied, Pods.
fn documents(plan: &Plan) -> String {
    let Plan { secrets, held_secrets, children, pods } = plan;
    let secrets = secrets.iter().chain(held_secrets.iter().map(|held| &held.secret)).map(|secret| {
        let mut secret = value(secret);
        for content in secret["data"].as_object_mut().expect("a Secret has data").values_mut() {
            *content = json!(MASK);
        }
        secret
    });
    let children = children.iter().map(|child| child.object.clone());
    let mut text = String::new();
    for object in secrets.chain(children).chain(pods.iter().map(value)) {
        let document = serde_saphyr::to_string(&object).expect("objects are YAML");
        let read: Value = serde_saphyr::from_str(&document).expect("what was written can be read");
        assert_eq!(read, object, "YAML changes the object");
        text = text + "---\n" + document.trim_end() + "\n";
    }
    text
}

fn value<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("objects are JSON")
}

fn golden_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Golden files that are there, relative to their folder.
fn standing(root: &Path) -> Vec<PathBuf> {
    let mut found = examples::yaml_files(root);
    for path in &mut found {
        *path = path.strip_prefix(root).expect("found below the root").to_owned();
    }
    found
}

fn bless(root: &Path, planned: &BTreeMap<PathBuf, String>) {
    for path in standing(root).iter().filter(|path| !planned.contains_key(*path)) {
        fs::remove_file(root.join(path)).expect("an orphan can be removed");
    }
    for (path, text) in planned {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
        fs::write(path, text).expect("a golden file can be written");
    }
}

/// The first line that differs.
fn difference(path: &Path, blessed: &str, planned: &str) -> String {
    let path = path.display();
    if blessed.is_empty() {
        return format!("tests/golden/{path} is not there: run `make bless` and commit it");
    }
    let (mut old, mut new) = (blessed.lines(), planned.lines());
    let mut line = 0;
    loop {
        line += 1;
        let (old, new) = (old.next(), new.next());
        if old != new || old.is_none() {
            let (old, new) = (old.unwrap_or("(end)"), new.unwrap_or("(end)"));
            return format!(
                "tests/golden/{path}:{line}: blessed and planned differ; if that is meant, run `make bless` and read the diff\n  blessed: {old}\n  planned: {new}"
            );
        }
    }
}
