//! What the API server takes and refuses.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{lobby, pool};
use crate::world::World;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            // What npm puts into an example is not ours.
            if !path.ends_with("node_modules") {
                found.extend(yaml_files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn dry_run(world: &World, namespace: &str, verb: &str, validate: &str, text: &str) -> Result<String, String> {
    let validate = format!("--validate={validate}");
    world.kubectl.attempt(&["-n", namespace, verb, "--dry-run=server", &validate, "-f", "-"], Some(text))
}

pub(crate) async fn examples_are_accepted(world: &World) {
    let namespace = world.namespace("examples");
    let files = yaml_files(&root().join("examples"));
    assert!(files.len() >= 5, "only {} examples found", files.len());
    // An example that names namespaces makes them itself; a dry run does not, so they are made beforehand.
    let namespaces = files.iter().filter(|file| fs::read_to_string(file).expect("reads").contains("kind: Namespace"));
    for file in namespaces {
        world.kubectl.run(&["apply", "-f", &file.display().to_string()], None);
    }
    for file in &files {
        let text = fs::read_to_string(file).expect("reads");
        let named = text.contains("\n  namespace:") || text.contains("kind: Namespace");
        let namespace = if named { None } else { Some(namespace.as_str()) };
        let path = file.display().to_string();
        let mut arguments = vec!["apply", "--dry-run=server", "--validate=strict", "-f", &path];
        if let Some(namespace) = namespace {
            arguments.extend(["-n", namespace]);
        }
        world.kubectl.run(&arguments, None);
    }
}

pub(crate) async fn goldens_are_accepted(world: &World) {
    let files = yaml_files(&root().join("tests/golden"));
    assert!(!files.is_empty(), "no goldens: run `make bless`");
    let namespaces = files.iter().flat_map(|file| {
        let text = fs::read_to_string(file).expect("reads");
        let named = text.lines().filter_map(|line| Some(line.strip_prefix("  namespace: ")?.trim().to_owned()));
        named.collect::<Vec<_>>()
    });
    let namespaces: std::collections::BTreeSet<String> = namespaces.collect();
    for namespace in &namespaces {
        let _ = world.kubectl.attempt(&["create", "namespace", namespace], None);
        let _ = world
            .kubectl
            .attempt(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"], None);
        // Pods name accounts that a dry run does not make.
        for file in &files {
            let text = fs::read_to_string(file).expect("reads");
            for account in text.lines().filter_map(|line| line.trim().strip_prefix("serviceAccountName: ")) {
                let _ = world.kubectl.attempt(&["-n", namespace, "create", "serviceaccount", account], None);
            }
        }
    }
    for file in files {
        let text = fs::read_to_string(&file).expect("reads");
        // This cluster may have no such kind: the case about it brings one.
        let objects = text.split("\n---\n").filter(|object| !object.contains("\nkind: DNSEndpoint\n"));
        let text = objects.collect::<Vec<_>>().join("\n---\n");
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        if let Err(error) = world.kubectl.attempt(&arguments, Some(&text)) {
            panic!("{}: {error}", file.display());
        }
    }
}

pub(crate) async fn bad_objects_are_refused_with_the_field_named(world: &World) {
    let namespace = world.namespace("rejected");
    let files = fs::read_dir(root().join("tests/rejected")).expect("a folder");
    let mut wrong = vec![];
    let mut seen = 0;
    for file in files.map(|entry| entry.expect("an entry").path()) {
        if file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&file).expect("reads");
        let validate = if text.lines().any(|line| line == "# strict") { "strict" } else { "ignore" };
        if let Some(complaint) = refused(&text, dry_run(world, &namespace, "create", validate, &text)) {
            wrong.push(format!("{}: {complaint}", file.display()));
        }
    }
    assert!(seen >= 50, "only {seen} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(crate) async fn templates_take_what_pods_take(world: &World) {
    // Each form of a value that the schema's patterns are about, in an object of ours and in a Pod.
    let namespace = world.namespace("templates");
    let quantities =
        ["1", "0", "+2", "0.5", ".5", "5.", "500m", "100u", "1k", "1G", "1Ki", "64Mi", "1e3", "1E3", "1e+3"];
    let resources = |amount: &str| json!({"limits": {"cpu": "1", "memory": amount}, "requests": {"cpu": "1000m", "memory": amount}});
    let tolerations = json!([
        {"operator": "Exists"},
        {"key": "", "operator": "Exists", "value": ""},
        {"key": "a", "value": "b"},
        {"key": "example.org/A_b.c-d", "operator": "Equal"},
        {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
        {"key": "a", "value": "", "effect": "PreferNoSchedule"},
    ]);
    let long = "a".repeat(63);
    let labels = json!({"a": "", "b": long.clone(), "example.org/A_b.c": "A_b.c-1", long.clone(): "x"});
    let annotations = json!({"Example.ORG/a": "any text\nat all", "a": ""});
    for amount in quantities {
        let template = json!({"labels": labels.clone(), "annotations": annotations.clone(), "nodeSelector": labels.clone(),
            "tolerations": tolerations.clone(), "resources": resources(amount)});
        let container = json!({"name": "c", "image": "i", "resources": resources(amount), "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"}}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": labels.clone(), "annotations": annotations.clone()},
            "spec": {"containers": [container], "nodeSelector": labels.clone(), "tolerations": tolerations.clone(),
                "automountServiceAccountToken": false}});
        for object in [lobby(&json!({"template": template.clone()})), pool("p", &json!({"template": template})), pod] {
            let answer = dry_run(world, &namespace, "create", "strict", &object.to_string());
            assert!(answer.is_ok(), "{amount}: {}: {answer:?}", object["kind"]);
        }
    }
}

pub(crate) async fn immutable_fields_stay(world: &World) {
    let namespace = world.namespace("immutable");
    let mut wrong = vec![];
    for file in yaml_files(&root().join("tests/rejected/update")) {
        let text = fs::read_to_string(&file).expect("reads");
        let (first, second) = text.split_once("\n---\n").expect("two documents");
        world.kubectl.run(&["-n", &namespace, "create", "-f", "-"], Some(first));
        // The operator may write the object's status between kubectl's read and its write.
        let mut answer = dry_run(world, &namespace, "replace", "strict", second);
        while answer.as_ref().is_err_and(|error| error.contains("(Conflict)")) {
            answer = dry_run(world, &namespace, "replace", "strict", second);
        }
        if let Some(complaint) = refused(&text, answer) {
            wrong.push(format!("{}: {complaint}", file.display()));
        }
        world.kubectl.run(&["-n", &namespace, "delete", "-f", "-"], Some(first));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Nothing if the answer is a refusal that says what the file's first line expects.
fn refused(text: &str, answer: Result<String, String>) -> Option<String> {
    let first = text.lines().next().unwrap_or_default();
    let Some(expected) = first.strip_prefix("# expect: ") else {
        return Some("the first line must be `# expect: <part of the message>`".to_owned());
    };
    match answer {
        Ok(taken) => Some(format!("was taken: {taken}")),
        Err(message) if message.contains(expected) => None,
        Err(message) => Some(format!("expected `{expected}` in: {message}")),
    }
}
