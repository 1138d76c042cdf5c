//! Source files as text, without comments, strings and test modules. No parser: what the rules look for can be seen
//! without one, and a rule that somebody evades on purpose is a matter for review.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct Source {
    /// Path in the repository.
    pub(crate) path: String,
    /// As it stands.
    pub(crate) text: String,
    /// What is compiled into the product: comments, string contents and test modules are blank, lines stay where they are.
    pub(crate) code: String,
}

impl Source {
    /// All Rust files below a folder of the repository.
    pub(crate) fn below(folder: &str) -> Vec<Self> {
        let files = files_below(folder)
            .into_iter()
            .filter(|path| Path::new(path).extension().is_some_and(|extension| extension == "rs"));
        files.map(Self::read).collect()
    }

    fn read(path: String) -> Self {
        let text = read(&path);
        let code = if is_test(&path) { blank_out(&text) } else { without_tests(&without_text(&text)) };
        Self { path, text, code }
    }

    /// Names of the modules on the way to this one: `src/decide/plan/mod.rs` is `["decide", "plan"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        inside.split('/').filter(|name| !matches!(*name, "lib" | "main")).collect()
    }

    /// Lines of code with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines that are not blank once tests are left out; comments count, since they are read too.
    pub(crate) fn length(&self) -> usize {
        if is_test(&self.path) {
            return 0;
        }
        let tests = self.text.lines().zip(self.code.lines()).filter(|(text, code)| {
            !text.trim().is_empty() && code.trim().is_empty() && !text.trim_start().starts_with("//")
        });
        self.text.lines().count() - tests.count()
    }
}

/// Whole files of tests stand beside the code that they test.
fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("tests.rs") || path.contains("/tests/")
}

/// Paths of all files below a folder of the repository, sorted. What npm puts there and vite builds is not the repository's.
pub(crate) fn files_below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.expect("a folder can be listed").path();
            if !path.is_dir() {
                found.push(relative(&path));
            } else if !path.ends_with("node_modules") && !path.ends_with("editor/dist") {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("found below the root").to_string_lossy().into_owned()
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository; empty where it is missing or not text.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn blank(character: char) -> char {
    if character == '\n' { '\n' } else { ' ' }
}

fn blank_out(text: &str) -> String {
    text.chars().map(blank).collect()
}

/// Blanks comments and the contents of strings and characters.
fn without_text(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (kept, blanked) = token(rest);
        let (kept, after) = rest.split_at(kept);
        let (inside, after) = after.split_at(blanked);
        code.push_str(kept);
        code.extend(inside.chars().map(blank));
        rest = after;
    }
    code
}

/// At the start of `rest`: how many bytes to keep, and how many after them to blank.
fn token(rest: &str) -> (usize, usize) {
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    let hashes = rest.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
    if let Some(hashes) = hashes
        && rest[1 + hashes..].starts_with('"')
    {
        let open = hashes + 2;
        let close = format!("\"{}", "#".repeat(hashes));
        return (open, rest[open..].find(&close).unwrap_or(rest.len() - open) + close.len());
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = quoted.find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        // The closing quote is blanked too, so that it does not open the next string.
        return (1, end.map_or(rest.len() - 1, |end| end + 1));
    }
    if let Some(quoted) = rest.strip_prefix('\'') {
        let escaped = quoted.starts_with('\\');
        let end = quoted.char_indices().skip(if escaped { 2 } else { 1 }).find(|(_, character)| *character == '\'');
        // More than one character up to the quote: a lifetime.
        if let Some((end, _)) = end.filter(|(end, _)| escaped || quoted[..*end].chars().count() == 1) {
            return (1, end + 1);
        }
    }
    let word = rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len());
    (if word > 0 { word } else { rest.chars().next().map_or(1, char::len_utf8) }, 0)
}

/// Blanks `#[cfg(test)] mod … { … }`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let Some(start) = code.find(MARK) else { return code.to_owned() };
    let (before, tests) = code.split_at(start);
    let mut depth = 0_usize;
    let end = tests.char_indices().find_map(|(index, character)| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return Some(index + 1),
            _ => return None,
        }
        (depth == 0).then_some(index + 1)
    });
    let (inside, after) = tests.split_at(end.unwrap_or(tests.len()));
    before.to_owned() + &blank_out(inside) + &without_tests(after)
}

#[test]
fn only_what_is_compiled_counts() {
    let text = r##"fn kept<'a>(of: &'a str) { /* gone */ } // gone
let kept = "gone \" gone"; let kept = r#"gone " gone"#; let kept = '\''; let kept = '"'; kept();
#[cfg(test)]
mod gone { fn gone() { gone(); } }
fn kept() {}
#[cfg(test)]
mod gone;
kept();"##;
    let code = without_tests(&without_text(text));
    assert!(!code.contains("gone"), "{code}");
    assert_eq!(code.matches("kept").count(), 8, "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
}
