//! Names that people give and other people see: of sessions. A name is shown as it is, so it must not be able to rearrange
//! what stands around it.

/// Longest name, in characters.
pub const MAX_NAME: usize = 100;

/// What a name must be, for those whose name is not one.
pub const RULE: &str =
    "must be 1 to 100 characters, without control characters and those that change the direction of writing";

/// Whether this can be shown as a name.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.chars().count()) && !text.chars().any(disturbs)
}

/// Controls, breaks of lines, and marks that turn the direction of what follows.
fn disturbs(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_any_script_and_disturb_nothing() {
        for name in
            ["a", "stand-up of team 7", "Réunion", "定例会議", "שלום", "\u{1f9d1}\u{200d}\u{1f4bb}", &"ü".repeat(100)]
        {
            assert!(is_name(name), "{name}");
        }
        for wrong in
            ["", "a\nb", "a\u{0}", "\u{7f}", "\u{85}", "\u{202e}gpj.exe", "\u{2066}x", "a\u{2028}b", &"a".repeat(101)]
        {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }
}
