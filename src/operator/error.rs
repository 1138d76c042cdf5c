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
        kube::Error::Api(status) if status.is_conflict() => {
            Error::Outrun { doing: doing.to_owned(), source: Box::new(error) }
        }
        _ => transient(doing, error),
    }
}

fn refused(doing: &str, status: &Status) -> Invalid {
    let mut answer = status.message.clone();
    answer.truncate(answer.floor_char_boundary(1024));
    Invalid { reason: Reason::Refused, message: format!("{doing}: the API server refused it: {answer}") }
}

pub(crate) fn transient(doing: &str, error: kube::Error) -> Error {
    Error::Transient { doing: doing.to_owned(), source: Box::new(error) }
}
