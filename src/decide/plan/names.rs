//! Names and labels of children. Suffixes differ by kind, so that no two owners of a namespace can want the same name:
//! a lobby's children end in `-lobby…`, a pool's in `-relays…` or in an ordinal.

use std::collections::BTreeMap;

use crate::api::{LABEL_LOBBY, LABEL_POOL, LABEL_RELAY};
use crate::wire::admin;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Key of a lobby's Secret: its private key.
pub const SIGNING_KEY: &str = "signing-key.pem";
/// Key of a lobby's Secret: the administrator's token.
pub const ADMIN_TOKEN: &str = admin::ADMIN_TOKEN;
/// Key of the Secret of a lobby's own Redis, and of a user's: the URL.
pub const REDIS_URL: &str = "url";
/// Key of the Secret of a lobby's own Redis: the server's settings that are secret.
pub const REDIS_CONFIG: &str = "redis.conf";
/// Key of ConfigMaps: public keys, a JSON Web Key Set.
pub const JWKS: &str = "jwks.json";
/// Key of the Secret of a lobby's link: the private key of its certificate authority.
pub const AUTHORITY_KEY: &str = "authority-key.pem";
/// Key of the same Secret: the private key of the link port.
pub const LINK_KEY: &str = "tls.key";
/// Key of ConfigMaps: the certificate of a lobby's authority, which its relays trust.
pub const AUTHORITY: &str = "ca.crt";
/// Key of a lobby's ConfigMap: the certificate of its link port.
pub const LINK_CERTIFICATE: &str = "link.crt";
/// Key of the Secret of a control port: its private key.
pub const CONTROL_KEY: &str = "tls.key";
/// Key of a lobby's or pool's ConfigMap: the certificate of its control ports.
pub const CONTROL_CERTIFICATE: &str = "control.crt";
/// Key of the same ConfigMap: the operator's authorities, by one of which its own certificate is signed.
pub const CONTROL_AUTHORITIES: &str = "control-ca.crt";

/// Variable that tells a relay how many seats it has.
pub const SEATS: &str = "CONVENE_CAPACITY";

/// Label that all children carry; what the operator lists and watches.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "convene");

/// Port for clients.
pub const PUBLIC_PORT: i32 = 8080;
/// Port of /healthz, /readyz and /metrics.
pub const HEALTH_PORT: i32 = 8081;
/// Port of a lobby's own Redis.
pub const REDIS_PORT: i32 = 6379;
/// Port for the operator: events, and its orders.
pub const CONTROL_PORT: i32 = 8082;
/// Port of routers for questions of the DNS: unprivileged; their Service has 53.
pub const DNS_PORT: i32 = 5353;
/// Port of a lobby at which its relays link.
pub const LINK_PORT: i32 = 8083;

/// Name of most of a lobby's children.
pub fn lobby(lobby: &str) -> String {
    format!("{lobby}-lobby")
}

/// Name of what belongs to a lobby's routers.
pub fn lobby_dns(lobby: &str) -> String {
    format!("{lobby}-lobby-dns")
}

/// Name of a lobby's Secret.
pub fn lobby_keys(lobby: &str) -> String {
    admin::secret_of(lobby)
}

/// Name of what belongs to a lobby's own Redis, its Secret too.
pub fn lobby_redis(lobby: &str) -> String {
    format!("{lobby}-lobby-redis")
}

/// Name of the Secret in a slot for a key, and of the ConfigMap that owns it.
pub fn lobby_key(lobby: &str, slot: u8) -> String {
    format!("{lobby}-lobby-key-{slot}")
}

/// Name of most of a pool's children.
pub fn pool(pool: &str) -> String {
    format!("{pool}-relays")
}

/// Name of a relay, of its Pod, Service and Ingress.
pub fn relay(pool: &str, ordinal: u32) -> String {
    format!("{pool}-{ordinal}")
}

/// The number in the name of a relay of this pool.
pub fn ordinal(pool: &str, relay: &str) -> Option<u32> {
    relay.strip_prefix(pool)?.strip_prefix('-')?.parse().ok()
}

/// Name of what belongs to the link between a lobby and its relays: Service and Secret.
pub fn lobby_link(lobby: &str) -> String {
    format!("{lobby}-lobby-link")
}

/// Name of the Secret of a lobby's control port.
pub fn lobby_control(lobby: &str) -> String {
    format!("{lobby}-lobby-control")
}

/// Name of the Secret of the control ports of a pool's relays.
pub fn pool_control(pool: &str) -> String {
    format!("{pool}-relays-control")
}

/// Host name at which relays of any namespace of the cluster link to a lobby.
pub fn lobby_link_host(namespace: &str, name: &str) -> String {
    format!("{}.{namespace}.svc", lobby_link(name))
}

/// URL at which they do.
pub fn lobby_link_url(namespace: &str, name: &str) -> String {
    format!("https://{}:{LINK_PORT}", lobby_link_host(namespace, name))
}

/// Labels of a lobby's children.
pub fn lobby_labels(name: &str) -> Labels {
    labels(&[
        ("app.kubernetes.io/name", "convene-lobby"),
        ("app.kubernetes.io/instance", name),
        MANAGED_BY,
        (LABEL_LOBBY, name),
    ])
}

/// Labels by which a lobby's pods are selected.
pub fn lobby_selector(name: &str) -> Labels {
    labels(&[("app.kubernetes.io/name", "convene-lobby"), (LABEL_LOBBY, name)])
}

/// Labels of the pod of a lobby's own Redis.
pub fn lobby_redis_labels(name: &str) -> Labels {
    let mut labels = lobby_labels(name);
    labels.insert("app.kubernetes.io/name".to_owned(), "convene-redis".to_owned());
    labels
}

/// Labels by which that pod is selected.
pub fn lobby_redis_selector(name: &str) -> Labels {
    labels(&[("app.kubernetes.io/name", "convene-redis"), (LABEL_LOBBY, name)])
}

/// Labels of the pods of a lobby's routers.
pub fn lobby_dns_labels(name: &str) -> Labels {
    let mut labels = lobby_labels(name);
    labels.insert("app.kubernetes.io/name".to_owned(), "convene-router".to_owned());
    labels
}

/// Labels by which those pods are selected.
pub fn lobby_dns_selector(name: &str) -> Labels {
    labels(&[("app.kubernetes.io/name", "convene-router"), (LABEL_LOBBY, name)])
}

/// Labels of a pool's children.
pub fn pool_labels(name: &str) -> Labels {
    labels(&[
        ("app.kubernetes.io/name", "convene-relay"),
        ("app.kubernetes.io/instance", name),
        MANAGED_BY,
        (LABEL_POOL, name),
    ])
}

/// Labels by which a pool's pods are selected.
pub fn pool_selector(name: &str) -> Labels {
    labels(&[("app.kubernetes.io/name", "convene-relay"), (LABEL_POOL, name)])
}

/// Labels by which all relays are selected, of whichever pool.
pub fn relays_selector() -> Labels {
    labels(&[("app.kubernetes.io/name", "convene-relay"), MANAGED_BY])
}

/// Labels of what belongs to one relay.
pub fn relay_labels(pool: &str, relay: &str) -> Labels {
    let mut labels = pool_labels(pool);
    labels.insert(LABEL_RELAY.to_owned(), relay.to_owned());
    labels
}

/// Labels by which one relay's pod is selected.
pub fn relay_selector(pool: &str, relay: &str) -> Labels {
    let mut labels = pool_selector(pool);
    labels.insert(LABEL_RELAY.to_owned(), relay.to_owned());
    labels
}

/// Labels as a selector in text.
pub fn selector_text(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
