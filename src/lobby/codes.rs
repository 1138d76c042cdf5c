//! The stable codes of refusals: one table, from which refusals are made and which the OpenAPI document shows.

use std::fmt::Write as _;

use http::StatusCode;

/// What stands in the table for one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// HTTP status.
    pub(super) status: StatusCode,
    /// The stable word.
    pub(super) word: &'static str,
    /// What happened.
    pub(super) title: &'static str,
    /// What to do about it.
    pub(super) remedy: &'static str,
    /// Seconds after which to ask again.
    pub(super) retry_after: Option<&'static str>,
}

/// Makes the codes and the list of all of them from one table, so that none can be left out.
macro_rules! codes {
    ($($name:ident $status:ident $word:literal $title:literal, $remedy:literal $(, again after $seconds:literal)?;)+) => {
        /// Codes of refusals.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $(#[doc = $title] $name,)+
        }

        impl Code {
            /// All, in the order of the table.
            pub(super) const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its line of the table.
            pub(super) const fn facts(self) -> Facts {
                match self {
                    $(Self::$name => Facts {
                        status: StatusCode::$status,
                        word: $word,
                        title: $title,
                        remedy: $remedy,
                        retry_after: codes!(@seconds $($seconds)?),
                    },)+
                }
            }
        }
    };
    (@seconds) => { None };
    (@seconds $seconds:literal) => { Some($seconds) };
}

codes! {
    InvalidBody BAD_REQUEST "invalid_body" "the body is not what this route takes",
        "the detail names the field and what it must be";
    InvalidPlace BAD_REQUEST "invalid_place" "the client's place is not one",
        "the detail names the field and what it must be";
    InvalidQuery BAD_REQUEST "invalid_query" "the query is not what this route takes",
        "the detail names the parameter and what it must be";
    InvalidHeader BAD_REQUEST "invalid_header" "a header is not what this route takes",
        "the detail names the header and what it must be";
    Unauthorized UNAUTHORIZED "unauthorized" "not allowed",
        "one answer to every wrong host token, join key, admin token and session id; give the right one";
    GuestRefused FORBIDDEN "guest_refused" "the host has refused this guest",
        "ask the host, who can still approve; the lobby asks it again after an hour";
    NotFound NOT_FOUND "not_found" "there is nothing here",
        "look at the path; a session that is gone is only told to the admin";
    NoSuchGuest NOT_FOUND "no_such_guest" "no guest of this id has asked to be let in",
        "GET the session's guests; one that does not ask again within two minutes is forgotten";
    NoSuchRelay NOT_FOUND "no_such_relay" "this lobby has no relay of this name in this pool",
        "GET /v1/relays lists those that there are";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "this route does not take this method",
        "the header Allow names those that it takes";
    RequestTimeout REQUEST_TIMEOUT "request_timeout" "the request took too long",
        "send the whole body at once";
    IdempotencyAnswerGone CONFLICT "idempotency_answer_gone" "the answer to this request is no longer kept",
        "answers hold secrets and are kept for a minute; the session goes on with whoever got the answer";
    NoSuchRegion CONFLICT "no_such_region" "this lobby has no pool in this region",
        "region: GET /v1/regions lists those that there are";
    NoSuchPool CONFLICT "no_such_pool" "this lobby has no pool of this name",
        "pool: the ranking in the answer that created the session lists those that there are";
    AmbiguousRelay CONFLICT "ambiguous_relay" "pools of several namespaces have a relay of this name",
        "say which is meant: ?namespace=";
    NoSuchResidency CONFLICT "no_such_residency" "no region of this lobby has this residency",
        "place.residency: the Lobby's spec.routing.regions name those that there are; leave it out for any";
    OtherResidency CONFLICT "other_residency" "the session must reside elsewhere",
        "name a region or pool of the residency that its host asked for";
    BodyTooLarge PAYLOAD_TOO_LARGE "body_too_large" "the body is too large",
        "send at most 16384 bytes";
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "the body is not JSON",
        "send Content-Type: application/json";
    IdempotencyMismatch UNPROCESSABLE_ENTITY "idempotency_mismatch" "the key was used for another request",
        "take a new random Idempotency-Key for each request, and the same one for its repeats";
    UpgradeRequired UPGRADE_REQUIRED "upgrade_required" "this route takes WebSockets only",
        "it is for relays";
    RateLimited TOO_MANY_REQUESTS "rate_limited" "too many requests from this address",
        "wait, and ask more slowly", again after "1";
    NoRelay SERVICE_UNAVAILABLE "no_relay" "no relay is linked to this lobby yet",
        "ask again", again after "1";
    RelayNotLinked SERVICE_UNAVAILABLE "relay_not_linked" "no lobby process has this relay's link, so nobody can tell it",
        "ask again; whoever may reach the cluster can drain it there: kubectl convene drain", again after "5";
    NoCapacity SERVICE_UNAVAILABLE "no_capacity" "no relay has room",
        "ask again, or end sessions that are not needed", again after "5";
    TooManySessions SERVICE_UNAVAILABLE "too_many_sessions" "this lobby has as many sessions as it may",
        "ask again, or end sessions that are not needed", again after "5";
    TooManyGuests SERVICE_UNAVAILABLE "too_many_guests" "as many guests wait for this host as may",
        "ask again when the host has decided on some", again after "5";
    TooManyStreams SERVICE_UNAVAILABLE "too_many_streams" "as many event streams are open as may be",
        "close some: a session has at most 8 at each lobby process", again after "5";
    Rebuilding SERVICE_UNAVAILABLE "rebuilding" "the lobby has just started and waits for its relays",
        "ask again", again after "1";
    StoreUnavailable SERVICE_UNAVAILABLE "store_unavailable"
        "the lobby cannot reach its store; sessions that run are not touched",
        "ask again", again after "1";
    Overloaded SERVICE_UNAVAILABLE "overloaded" "too many requests at once",
        "ask again", again after "1";
}

/// The table as text (Markdown), for people.
pub(super) fn table() -> String {
    let mut table = String::from("| code | status | what happened | what to do |\n| --- | --- | --- | --- |\n");
    for code in Code::ALL {
        let Facts { status, word, title, remedy, .. } = code.facts();
        let _ = writeln!(table, "| `{word}` | {} | {title} | {remedy} |", status.as_u16());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own_and_says_what_happened_and_what_to_do() {
        let mut words: Vec<&str> = Code::ALL.iter().map(|code| code.facts().word).collect();
        words.sort_unstable();
        let all = words.len();
        words.dedup();
        assert_eq!(words.len(), all, "two codes have one word");
        for code in Code::ALL {
            let facts = code.facts();
            let word = facts.word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(word && !facts.title.is_empty() && !facts.remedy.contains('|'), "{facts:?}");
            let later = matches!(facts.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(facts.retry_after.is_some(), later, "{facts:?}");
        }
    }
}
