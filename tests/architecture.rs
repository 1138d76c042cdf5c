//! The rules of ARCHITECTURE.md that a machine can hold: who imports whom, who writes, what is generated, what must agree
//! with what. Each failure names the file, the line and what to do.

#[cfg(test)]
#[path = "architecture/agreement.rs"]
mod agreement;
#[cfg(test)]
#[path = "architecture/chart.rs"]
mod chart;
#[cfg(test)]
#[path = "architecture/imports.rs"]
mod imports;
#[cfg(test)]
#[path = "architecture/shape.rs"]
mod shape;
#[cfg(test)]
#[path = "architecture/source.rs"]
mod source;

/// Fails with all findings at once.
#[cfg(test)]
#[track_caller]
fn none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}\n  {}\n", findings.join("\n  "));
}
