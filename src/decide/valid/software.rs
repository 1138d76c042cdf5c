//! What a pool's relays run, and what that needs: a lobby and keys for Convene's own, nothing of ours for another image.

use k8s_openapi::jiff::SignedDuration;

use super::{Control, Invalid, LobbyOf, Owner, PoolInputs, control, lobby_of};
use crate::api::RelayPoolSpec;

/// What a pool's relays run.
#[derive(Clone, Debug, PartialEq)]
pub enum Software {
    /// Convene's own relay.
    Convene {
        /// The lobby.
        lobby: LobbyOf,
        /// How the relays' control ports and the operator know one another.
        control: Control,
    },
    /// Another image.
    Custom(Custom),
}

/// Relays of another image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custom {
    /// The image.
    pub image: String,
    /// Port for clients.
    pub port: i32,
    /// Port of the metrics, where it is another.
    pub metrics_port: Option<i32>,
    /// Path of the metrics.
    pub path: String,
    /// Name of the metric that says how many sessions there are.
    pub sessions: String,
    /// Time from one look to the next.
    pub interval: SignedDuration,
    /// Path at which a relay is told to take no new sessions, at the port of the metrics; nothing where it cannot be told.
    pub drain: Option<String>,
}

impl Custom {
    /// What a pool's spec says of its relays; nothing where they are Convene's own.
    pub fn of(spec: &RelayPoolSpec) -> Option<Self> {
        let custom = spec.server.as_ref()?.custom.as_ref()?;
        let metrics = &custom.metrics;
        Some(Self {
            image: custom.image.clone(),
            port: custom.port,
            metrics_port: metrics.port.filter(|port| *port != custom.port),
            path: metrics.path.clone(),
            sessions: metrics.sessions.clone(),
            interval: SignedDuration::from_secs(metrics.interval_seconds.max(1).into()),
            drain: custom.drain.as_ref().map(|drain| drain.path.clone()),
        })
    }
}

/// What a pool's relays run, if all that this needs is there.
pub(super) fn software(inputs: &PoolInputs<'_>, owner: &Owner) -> Result<Software, Invalid> {
    match Custom::of(&inputs.pool.spec) {
        Some(custom) => Ok(Software::Custom(custom)),
        None => Ok(Software::Convene {
            lobby: lobby_of::resolve(inputs, owner)?,
            control: control::control(owner, &inputs.control)?,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::decide::fixtures;
    use crate::decide::valid;

    fn custom(server: &Value) -> Custom {
        let pool = fixtures::pool("here", "p", json!({"lobbyRef": null, "server": {"custom": server}}));
        let labels = fixtures::NamespaceLabels::new();
        let valid = valid::pool(&fixtures::inputs(&pool, None, None, &labels)).expect("it needs no lobby");
        match valid.software {
            Software::Custom(custom) => custom,
            Software::Convene { .. } => panic!("another image was asked for"),
        }
    }

    #[test]
    fn another_image_needs_nothing_of_ours_and_has_defaults() {
        let plain = custom(&json!({"image": "i", "port": 80, "metrics": {"sessions": "rooms"}}));
        let expected = Custom {
            image: "i".to_owned(),
            port: 80,
            metrics_port: None,
            path: "/metrics".to_owned(),
            sessions: "rooms".to_owned(),
            interval: SignedDuration::from_secs(5),
            drain: None,
        };
        assert_eq!(plain, expected);
        let metrics = json!({"sessions": "rooms", "port": 81, "path": "/m", "intervalSeconds": 30});
        let full = custom(&json!({"image": "i", "port": 80, "metrics": metrics, "drain": {"path": "/drain"}}));
        let told = Custom {
            metrics_port: Some(81),
            path: "/m".to_owned(),
            interval: SignedDuration::from_secs(30),
            drain: Some("/drain".to_owned()),
            ..expected.clone()
        };
        assert_eq!(full, told);
        let same = custom(&json!({"image": "i", "port": 80, "metrics": {"sessions": "rooms", "port": 80}}));
        assert_eq!(same, expected, "the port for clients, named once more");
    }

    #[test]
    fn convenes_own_relays_need_a_lobby() {
        let pool = fixtures::pool("here", "p", json!({"lobbyRef": null}));
        let labels = fixtures::NamespaceLabels::new();
        let refused = valid::pool(&fixtures::inputs(&pool, None, None, &labels)).expect_err("no lobby");
        assert!(refused.message.contains("spec.lobbyRef"), "{refused}");
    }
}
