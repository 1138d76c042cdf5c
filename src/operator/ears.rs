//! What the operator makes of what lobbies and relays say on their event streams.

use crate::decide::heard::Heard;
use crate::decide::listening::Listening;
use crate::decide::scale;
use crate::process::{clock, sse};
use crate::wire::stats::{DEMAND_EVENT, Demand, LOAD_EVENT, PoolDemand, RelayReport, STORE_EVENT, StoreState};

use super::streams::Ear;

/// What one lobby process says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OfLobby {
    /// Whether it reaches its store.
    pub(crate) store: Heard<StoreState>,
    /// What it is asked for.
    pub(crate) demand: Heard<Demand>,
}

/// Whom something that a lobby said concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LobbyNews {
    /// The lobby itself.
    Store,
    /// One of its pools.
    Demand {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pool: String,
    },
    /// All pools that name it.
    AllPools,
}

impl Ear for OfLobby {
    type News = LobbyNews;

    fn begin() -> Self {
        Self::default()
    }

    fn hear(&mut self, event: &sse::Event) -> anyhow::Result<Vec<LobbyNews>> {
        match event.name.as_str() {
            STORE_EVENT => {
                let store = Heard::Told(serde_json::from_str(&event.data)?);
                let news = self.store != store;
                self.store = store;
                Ok(news.then_some(LobbyNews::Store).into_iter().collect())
            }
            DEMAND_EVENT => {
                let demand: Demand = serde_json::from_str(&event.data)?;
                let news = match &self.demand {
                    Heard::Told(before) => changed(before, &demand),
                    Heard::NotYet | Heard::Silent => vec![LobbyNews::AllPools],
                };
                self.demand = Heard::Told(demand);
                Ok(news)
            }
            _ => Ok(vec![]),
        }
    }

    fn lose(&mut self) -> Vec<LobbyNews> {
        let lost = Self { store: Heard::Silent, demand: Heard::Silent };
        let news = *self != lost;
        *self = lost;
        if news { vec![LobbyNews::Store, LobbyNews::AllPools] } else { vec![] }
    }
}

/// Pools of which something else is said than before.
fn changed(before: &Demand, now: &Demand) -> Vec<LobbyNews> {
    let of = |demand: &Demand, like: &PoolDemand| {
        let mut pools = demand.pools.iter();
        pools.find(|pool| (&pool.namespace, &pool.pool) == (&like.namespace, &like.pool)).cloned()
    };
    let gone = before.pools.iter().filter(|pool| of(now, pool).is_none());
    let other = now.pools.iter().filter(|pool| of(before, pool).as_ref() != Some(pool));
    gone.chain(other)
        .map(|pool| LobbyNews::Demand { namespace: pool.namespace.clone(), pool: pool.pool.clone() })
        .collect()
}

/// What all processes of a lobby are asked of one pool; nothing where none is heard.
pub(crate) fn demand<'a>(
    heard: impl Iterator<Item = &'a OfLobby>,
    namespace: &str,
    name: &str,
) -> Option<scale::Demand> {
    let told = heard.filter_map(|process| match &process.demand {
        Heard::Told(demand) => Some(demand),
        Heard::NotYet | Heard::Silent => None,
    });
    told.fold(None, |sum: Option<scale::Demand>, demand| {
        let mut sum = sum.unwrap_or_default();
        for pool in demand.pools.iter().filter(|pool| pool.namespace == namespace && pool.pool == name) {
            // Who waits, waits at one process; leases are told by all alike.
            sum.waiting = sum.waiting.saturating_add(pool.waiting);
            sum.leases = sum.leases.max(pool.leases);
        }
        Some(sum)
    })
}

/// What one relay says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfRelay(pub(crate) Listening);

impl Ear for OfRelay {
    type News = ();

    fn begin() -> Self {
        Self(Listening::begin(clock::now()))
    }

    fn hear(&mut self, event: &sse::Event) -> anyhow::Result<Vec<()>> {
        if event.name != LOAD_EVENT {
            return Ok(vec![]);
        }
        let report: RelayReport = serde_json::from_str(&event.data)?;
        Ok(self.0.hear(report, clock::now()).then_some(()).into_iter().collect())
    }

    /// What was heard is kept with its time: that it is too old shows by itself.
    fn lose(&mut self) -> Vec<()> {
        vec![()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &serde_json::Value) -> sse::Event {
        sse::Event { name: name.to_owned(), data: data.to_string() }
    }

    fn demand_of(pools: &[(&str, u32, u32)]) -> sse::Event {
        let pools = pools.iter().map(|(pool, waiting, leases)| {
            serde_json::json!({"namespace": "n", "pool": pool, "region": "r", "waiting": waiting, "leases": leases})
        });
        event(DEMAND_EVENT, &serde_json::json!({"pools": pools.collect::<Vec<_>>()}))
    }

    fn news(pool: &str) -> LobbyNews {
        LobbyNews::Demand { namespace: "n".to_owned(), pool: pool.to_owned() }
    }

    #[test]
    fn only_pools_of_which_something_else_is_said_are_woken() {
        let mut ear = OfLobby::begin();
        assert_eq!(ear.hear(&demand_of(&[("a", 0, 0), ("b", 0, 0)])).expect("JSON"), [LobbyNews::AllPools]);
        assert_eq!(ear.hear(&demand_of(&[("a", 0, 0), ("b", 0, 0)])).expect("JSON"), []);
        assert_eq!(ear.hear(&demand_of(&[("a", 0, 0), ("b", 1, 0)])).expect("JSON"), [news("b")]);
        assert_eq!(ear.hear(&demand_of(&[("b", 1, 0), ("c", 0, 0)])).expect("JSON"), [news("a"), news("c")]);
        assert!(ear.hear(&event(DEMAND_EVENT, &serde_json::json!(7))).is_err(), "nothing is made of it");
        let store = event(STORE_EVENT, &serde_json::json!({"available": true}));
        assert_eq!(ear.hear(&store).expect("JSON"), [LobbyNews::Store]);
        assert_eq!(ear.hear(&store).expect("JSON"), []);
        assert_eq!(ear.lose(), [LobbyNews::Store, LobbyNews::AllPools]);
        assert_eq!(ear.lose(), []);
    }

    #[test]
    fn who_waits_adds_up_and_leases_do_not_and_silence_is_not_zero() {
        let told = |event| {
            let mut ear = OfLobby::begin();
            ear.hear(&event).expect("JSON");
            ear
        };
        let (one, two) = (told(demand_of(&[("a", 2, 3)])), told(demand_of(&[("a", 1, 3), ("b", 5, 5)])));
        let mut silent = one.clone();
        silent.lose();
        let of = |heard: &[OfLobby]| demand(heard.iter(), "n", "a");
        assert_eq!(of(&[one.clone(), two]), Some(scale::Demand { waiting: 3, leases: 3 }));
        assert_eq!(of(&[one, silent.clone(), OfLobby::begin()]), Some(scale::Demand { waiting: 2, leases: 3 }));
        assert_eq!(of(&[silent, OfLobby::begin()]), None);
        assert_eq!(of(&[]), None);
    }
}
