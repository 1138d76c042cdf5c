//! How a pass can fail, and what that means.

use kube::core::Status;

use crate::api::condition::Reason;
use crate::decide::valid::Invalid;

/// A pass failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody must change something; status says what.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Somebody else changed the object first: look at it again.
    #[error("{doing}: {source}")]
    Outrun {
        /// What was being done.
        doing: String,
        /// The API server's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server could not be reached, or was busy: try again.
    #[error("{doing}: {source}")]
    Transient {
        /// What was being done.
        doing: String,
        /// The API server's answer, or why there was none.
        #[source]
        source: Box<kube::Error>,
    },
    /// The pass did not end in its time.
    #[error("the pass did not end within {0} s")]
    Deadline(u64),
}

impl Error {
    /// Stable word: label of metrics.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Invalid(invalid) => invalid.reason,
            Self::Outrun { .. } | Self::Transient { .. } => Reason::ApiError,
            Self::Deadline(_) => Reason::DeadlineExceeded,
        }
    }
}

/// Failure of a read in a namespace: forbidden means that nobody granted the namespace.
pub(crate) fn reading(doing: &str, namespace: &str, error: kube::Error) -> Error {
    match &error {
        kube::Error::Api(status) if status.code == 403 => not_granted(namespace).into(),
        _ => transient(doing, error),
    }
}

/// The namespace is not the operator's to work in.
pub(crate) fn not_granted(namespace: &str) -> Invalid {
    let message = format!(
        "the operator may not work in namespace {namespace}: list it in the chart's watchNamespaces, or bind ClusterRole convene-operator-namespace to the operator's ServiceAccount there"
    );
    Invalid { reason: Reason::NamespaceNotGranted, message }
}

/// Failure of a write: an answer that says the object itself is the problem needs a person.
pub(crate) fn writing(doing: &str, error: kube::Error) -> Error {
    match &error {
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => refused(doing, status).into(),
        _ => transient(doing, error),
    }
}

fn refused(doing: &str, status: &Status) -> Invalid {
    let mut answer = status.message.clone();
    answer.truncate(answer.floor_char_boundary(1024));
    Invalid { reason: Reason::Refused, message: format!("{doing}: the API server refused it: {answer}") }
}

/// Failure that needs nobody: the API server was away or busy, or somebody else was faster, in changing the object or in
/// making one of its name (each 409).
pub(crate) fn transient(doing: &str, error: kube::Error) -> Error {
    let (doing, source) = (doing.to_owned(), Box::new(error));
    match &*source {
        kube::Error::Api(status) if status.code == 409 => Error::Outrun { doing, source },
        _ => Error::Transient { doing, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure("no", reason).with_code(code)))
    }

    #[test]
    fn who_was_slower_is_outrun_wherever_it_wrote() {
        for reason in ["Conflict", "AlreadyExists", ""] {
            for error in [writing("write", answer(409, reason)), transient("write", answer(409, reason))] {
                assert!(matches!(error, Error::Outrun { .. }), "{reason}: {error:?}");
            }
        }
    }

    #[test]
    fn what_a_person_must_change_is_told_and_the_rest_is_tried_again() {
        for (code, reason) in [(400, "BadRequest"), (403, "Forbidden"), (422, "Invalid")] {
            assert!(
                matches!(writing("write", answer(code, reason)), Error::Invalid(why) if why.reason == Reason::Refused)
            );
        }
        for (code, reason) in [(429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable")] {
            assert!(matches!(writing("write", answer(code, reason)), Error::Transient { .. }), "{code}");
        }
    }
}
