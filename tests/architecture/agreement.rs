//! What is said in two places says the same.

use std::collections::BTreeSet;

use crate::none;
use crate::source::{files_below, read};

#[test]
fn generated_files_are_current() {
    let mut files = convene::generate::crd_files().expect("the definitions can be written");
    files.push(("docs/metrics.md".to_owned(), convene::generate::metrics_page()));
    files.push(("docs/openapi.json".to_owned(), convene::generate::openapi_document()));
    let stale = files.iter().filter(|(path, text)| read(path) != *text);
    let mut findings: Vec<String> =
        stale.map(|(path, text)| format!("{path}:{}: run `make gen`", first_difference(&read(path), text))).collect();
    for folder in ["crds", "charts/convene/files/crds"] {
        let orphans =
            files_below(folder).into_iter().filter(|path| files.iter().all(|(generated, _)| generated != path));
        findings.extend(orphans.map(|path| format!("{path}: nothing writes this any more: remove it")));
    }
    none("Generated files are current.", &findings);
}

#[test]
fn versions_are_equal() {
    let crate_version = env!("CARGO_PKG_VERSION");
    let chart = read("charts/convene/Chart.yaml");
    let said = |key: &str| {
        chart.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().trim_matches('"').to_owned())
    };
    let findings: Vec<String> = ["version:", "appVersion:"]
        .into_iter()
        .filter(|key| said(key).as_deref() != Some(crate_version))
        .map(|key| format!("charts/convene/Chart.yaml: `{key}` is {:?}, Cargo.toml says {crate_version}", said(key)))
        .collect();
    none("Crate, chart and image have one version.", &findings);
}

#[test]
fn conditions_and_reasons_are_explained() {
    let code = read("src/api/condition.rs");
    let page = read("docs/conditions.md");
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let types: BTreeSet<String> = code.lines().filter(|line| line.starts_with("pub const ")).map(quoted).collect();
    let arms = code.lines().filter(|line| line.contains("=> \""));
    let mut findings: Vec<String> = arms
        .clone()
        .filter(|line| !line.contains(&format!("Self::{} =>", quoted(line))))
        .map(|line| format!("src/api/condition.rs: `{}`: spell the word as the variant", line.trim()))
        .collect();
    let reasons: BTreeSet<String> = arms.map(quoted).collect();
    assert!(
        types.contains("Accepted") && reasons.contains("AsPlanned"),
        "src/api/condition.rs is not laid out as it was"
    );
    for (heading, words) in [("## Types", types), ("## Reasons", reasons)] {
        let told = rows(&page, heading);
        let missing = words.iter().filter(|word| !told.contains(word));
        findings.extend(missing.map(|word| format!("docs/conditions.md, {heading}: `{word}` is missing: explain it")));
        let gone = told.iter().filter(|word| !words.contains(*word));
        findings.extend(
            gone.map(|word| format!("docs/conditions.md, {heading}: `{word}` is said by nobody: take the row out")),
        );
        if told.len() != told.iter().collect::<BTreeSet<_>>().len() {
            findings.push(format!("docs/conditions.md, {heading}: a word stands there twice"));
        }
    }
    none("docs/conditions.md explains every word of src/api/condition.rs, and no other.", &findings);
}

/// First column of the table below a heading.
fn rows(page: &str, heading: &str) -> Vec<String> {
    let lines = page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    lines.filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

fn first_difference(one: &str, other: &str) -> usize {
    one.lines().zip(other.lines()).take_while(|(one, other)| one == other).count() + 1
}

#[test]
fn every_field_is_described() {
    let mut findings = Vec::new();
    for crd in convene::api::crds() {
        let kind = crd.spec.names.kind.clone();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).expect("a schema is JSON");
        undescribed(&schema["openAPIV3Schema"], &kind, &mut findings);
    }
    none("`kubectl explain` has an answer for every field.", &findings);
}

fn undescribed(schema: &serde_json::Value, path: &str, findings: &mut Vec<String>) {
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, property) in properties {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            findings.push(format!("{path}: has no description: write a doc comment on the field in src/api/"));
        }
        undescribed(property, &path, findings);
        undescribed(&property["items"], &path, findings);
    }
}
