//! The examples as the API server would hold them: with namespace, UID, generation and age.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use convene::api::{Lobby, RelayPool};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The signing key of all lobbies under test. It signs nothing anywhere else.
pub(crate) const SIGNING_KEY: &str = include_str!("signing-key.pem");
/// The administrator's token of all lobbies under test.
pub(crate) const ADMIN_TOKEN: &str = "an-admin-token-that-opens-nothing";
/// Namespace of what names none.
const NAMESPACE: &str = "examples";
/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600;

/// One folder of `examples/`.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) name: String,
    pub(crate) lobbies: Vec<Lobby>,
    pub(crate) pools: Vec<RelayPool>,
    /// Labels of its namespaces.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// All of them.
pub(crate) fn all() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut folders: Vec<PathBuf> = entries(&root).into_iter().filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.iter().map(|folder| read(folder)).collect()
}

/// YAML files below a folder, sorted.
pub(crate) fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in entries(folder) {
        if path.is_dir() {
            files.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let paths = entries.map(|entry| entry.expect("a folder can be listed").path());
    // Of the example that is a program: not ours, and not committed.
    paths.filter(|path| !path.ends_with("node_modules")).collect()
}

fn read(folder: &Path) -> Example {
    let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
    let mut example = Example { name, lobbies: vec![], pools: vec![], namespaces: BTreeMap::new() };
    let mut age = 0;
    for path in yaml_files(folder) {
        let text = fs::read_to_string(&path).expect("examples are text");
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for document in documents {
            age += 1;
            match document["kind"].as_str() {
                Some("Lobby") => example.lobbies.push(complete(parse(&path, document), age)),
                Some("RelayPool") => example.pools.push(complete(parse(&path, document), age)),
                Some("Namespace") => {
                    let Namespace { metadata, .. } = parse(&path, document);
                    let labels = metadata.labels.unwrap_or_default();
                    example.namespaces.insert(metadata.name.expect("a namespace has a name"), labels);
                }
                kind => panic!("{}: no plan for kind {kind:?}; teach tests/plan/examples.rs about it", path.display()),
            }
        }
    }
    example
}

fn parse<K: DeserializeOwned>(path: &Path, document: Value) -> K {
    serde_json::from_value(document).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the API server adds.
pub(crate) fn complete<K: kube::Resource<DynamicType = ()>>(mut object: K, age: i64) -> K {
    let kind = K::kind(&()).to_lowercase();
    let meta: &mut ObjectMeta = object.meta_mut();
    meta.namespace.get_or_insert_with(|| NAMESPACE.to_owned());
    meta.uid = Some(format!("uid-of-{kind}-{}", meta.name.as_deref().expect("examples have names")));
    meta.generation = Some(1);
    meta.creation_timestamp = Some(Time(Timestamp::from_second(NEW_YEAR + age).expect("a time")));
    object
}
