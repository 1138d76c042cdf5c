//! `convene simulate` as it is run: the traces of `examples/`, and the tables and the picture of `docs/scaling.md`, which
//! are what it prints. `make bless` writes them anew.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Once;

use serde_json::Value;

/// The blocks of `docs/scaling.md`, and the arguments that print each.
const PRINTED: [(&str, &[&str]); 5] = [
    ("workday", &["--trace", "examples/traces/workday.trace", "--policy", "examples/traces/policy.yml"]),
    ("flash-crowd", &["--trace", "examples/traces/flash-crowd.trace", "--policy", "examples/traces/policy.yml"]),
    ("lossy-signal", &["--trace", "examples/traces/lossy-signal.trace", "--policy", "examples/traces/policy.yml"]),
    (
        "no-handoff",
        &["--trace", "examples/traces/workday.trace", "--policy", "examples/traces/policy.yml", "--no-handoff"],
    ),
    (
        "office-hours",
        &["--trace", "examples/traces/workday.trace", "--repeat", "2", "--policy", "examples/traces/office-hours.yml"],
    ),
];

const PAGE: &str = "docs/scaling.md";
const PICTURE: &str = "docs/scaling.svg";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn convene(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convene"));
    command.current_dir(root()).arg("simulate").args(args).output().expect("convene can be run")
}

/// The traces, before anything is replayed: whoever blesses must not read one that is being written.
fn traces() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for shape in ["workday", "flash-crowd", "lossy-signal"] {
            let output = convene(&["--generate", shape]);
            let made = String::from_utf8(output.stdout).expect("it prints text");
            hold(&format!("examples/traces/{shape}.trace"), &made);
        }
    });
}

fn printed(args: &[&str]) -> String {
    traces();
    let output = convene(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

fn blessing() -> bool {
    std::env::var_os("CONVENE_BLESS").is_some()
}

/// Holds a file against what was made, or writes it.
fn hold(path: &str, made: &str) {
    let path = root().join(path);
    if blessing() && fs::read_to_string(&path).ok().as_deref() != Some(made) {
        fs::write(&path, made).expect("the file can be written");
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == made, "{} is not what is printed now: run `make bless` and read the difference", path.display());
}

#[test]
fn traces_are_those_that_are_generated() {
    traces();
}

/// The page with each block replaced by what is printed now.
#[test]
fn the_page_tells_what_is_printed() {
    let mut page = fs::read_to_string(root().join(PAGE)).expect("the page can be read");
    for (name, args) in PRINTED {
        let begin = format!("<!-- printed: {name} -->\n```\n");
        let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} has no block {name}"));
        let (_, after) = rest.split_once("```\n").unwrap_or_else(|| panic!("{PAGE}: block {name} has no end"));
        let command = format!("$ convene simulate {}\n", args.join(" "));
        page = format!("{before}{begin}{command}{}```\n{after}", printed(args));
    }
    hold(PAGE, &page);
}

#[test]
fn the_picture_is_what_is_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture.svg");
    let mut args = PRINTED[1].1.to_vec();
    args.extend(["--svg", path.to_str().expect("a path is text")]);
    printed(&args);
    hold(PICTURE, &fs::read_to_string(path).expect("it was drawn"));
}

#[test]
fn json_has_every_decision_with_its_inputs() {
    let mut args = PRINTED[1].1.to_vec();
    args.push("--json");
    let told: Value = serde_json::from_str(&printed(&args)).expect("it is JSON");
    let rows = told["autoscalers"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["convene", "hpa-like", "agones-buffer-like"]);
    let decisions = told["decisions"].as_array().expect("decisions");
    assert_eq!(rows[0]["changes"].as_u64(), u64::try_from(decisions.len()).ok());
    for decision in decisions {
        assert!(decision["inputs"]["needed"].is_i64() && decision["message"].is_string(), "{decision}");
    }
}

#[test]
fn what_cannot_be_replayed_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| -> String {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path.to_string_lossy().into_owned()
    };
    let (trace, policy) = ("examples/traces/flash-crowd.trace", "examples/traces/policy.yml");
    let broken = file("broken.trace", "convene-trace 1\nlength 10\nsession 1 x\n");
    let late = file("late.trace", "convene-trace 1\nlength 10\nsession 10 5\n");
    let unbounded = file("unbounded.yml", "sessionsPerRelay: 10\nscaling:\n  maxReplicas: 1000\n");
    let unknown = file("unknown.yml", "sessionsPerRelay: 10\nscaling:\n  maxReplicas: 10\n  bufer: {}\n");
    for (trace, policy, expected) in [
        (broken.as_str(), policy, "line 3: `session 1 x`"),
        (&late, policy, "a session begins at 10, which is not before `length 10`"),
        (trace, &unbounded, "maxReplicas: 1000 is not from 1 to 64"),
        (trace, &unknown, "there is no field `scaling.bufer`"),
        ("no/such/file", policy, "cannot open no/such/file"),
    ] {
        let output = convene(&["--trace", trace, "--policy", policy]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{expected}: {said}");
    }
}
