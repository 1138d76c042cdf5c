//! As whom pods run, and which Role that gives them.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};

use super::names::Labels;
use super::{Child, ChildKind, meta};
use crate::decide::valid::Owner;

/// A service account. Its token is mounted by those pods alone that ask for it.
pub(super) fn service_account(owner: &Owner, name: String, labels: Labels) -> Child {
    let account = ServiceAccount {
        metadata: meta(owner, name, labels),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    Child::new(ChildKind::ServiceAccount, account)
}

/// Gives `role` to the service account of the binding's own name.
pub(super) fn role_binding(owner: &Owner, name: String, labels: Labels, role: String) -> Child {
    let binding = RoleBinding {
        metadata: meta(owner, name.clone(), labels),
        role_ref: RoleRef { api_group: "rbac.authorization.k8s.io".to_owned(), kind: "Role".to_owned(), name: role },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(owner.namespace.clone()),
            api_group: None,
        }]),
    };
    Child::new(ChildKind::RoleBinding, binding)
}
