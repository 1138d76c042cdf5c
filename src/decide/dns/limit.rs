//! What becomes of a question whose network has asked too often: mostly nothing, so that a forged source address is not
//! flooded, and now and then an empty answer with TC set, upon which a real resolver asks again by TCP, where addresses
//! cannot be forged. That is the "slip" of BIND's and NSD's response rate limiting.

/// Of so many questions above the rate, one is answered with TC.
const SLIP: u64 = 2;

/// What a question over UDP gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its answer.
    Answer,
    /// An empty one with TC set, no longer than the question.
    Truncated,
    /// Nothing.
    Nothing,
}

/// What the `over`-th question above a network's rate gets; none = it is within it.
pub fn due(over: Option<u64>) -> Due {
    match over {
        None => Due::Answer,
        Some(count) if count.is_multiple_of(SLIP) => Due::Truncated,
        Some(_) => Due::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_question_above_the_rate_is_told_to_come_by_tcp() {
        assert_eq!(due(None), Due::Answer);
        let got: Vec<Due> = (0..4).map(|over| due(Some(over))).collect();
        assert_eq!(got, [Due::Truncated, Due::Nothing, Due::Truncated, Due::Nothing]);
    }
}
