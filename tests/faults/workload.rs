//! Workloads, as values: what people do, and what is waited for in between.

use convene::api::{ANNOTATION_WISH, Lobby, RelayPool};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::hollow::Scene;
use crate::state;
use crate::support::{lobby, pool, says, within};

/// Seconds for a step of a run. Generous: a quiet machine needs one or two, a fault may cost the operator a lease, and
/// several operators share what there is.
pub(crate) const PATIENCE: u64 = 90;

/// What is done and what is then waited for.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Somebody applies an object.
    Apply(Value),
    /// Somebody changes fields of a pool.
    Change(&'static str, Value),
    /// Somebody deletes all of a kind.
    Delete(Kind),
    /// A condition of an object says this, of its present spec: `Type=Status/Reason`.
    Says(Kind, &'static str, &'static str),
    /// So many relay Pods are there to stay; they and the lobby become ready.
    Ready(usize),
    /// A relay says that it holds so many sessions.
    Holds(&'static str, u32),
    /// All relays say that they hold nothing.
    Empty,
    /// Somebody wants a relay to leave or to stay, or no longer wants anything.
    Wish(&'static str, Option<&'static str>),
    /// A relay drains for this cause, and obeys its cordon.
    Drains(&'static str, &'static str),
    /// A relay serves, and takes sessions.
    Serves(&'static str),
    /// Just these relays are left.
    Left(&'static [&'static str]),
    /// Nothing that belongs to our objects is left, nor they.
    Gone,
}

/// Our kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lobby,
    Pool,
}

impl Kind {
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::Lobby => ApiResource::erase::<Lobby>(&()),
            Self::Pool => ApiResource::erase::<RelayPool>(&()),
        }
    }
}

/// What is done to the operator's world. Its writes are numbered from the first of `steps` on.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Whether a short run takes it.
    pub(crate) quick: bool,
    /// Comes undisturbed.
    pub(crate) before: Vec<Step>,
    pub(crate) steps: Vec<Step>,
}

use Kind::{Lobby as L, Pool as P};
use Step::{Apply, Change, Delete, Drains, Empty, Gone, Holds, Left, Ready, Says, Serves, Wish};

fn create() -> Vec<Step> {
    vec![
        Apply(lobby(&json!({}))),
        Says(L, "demo", "Accepted=True/AsPlanned"),
        Apply(pool("a", &json!({"replicas": 2}))),
        Apply(pool("b", &json!({"region": "us-east1"}))),
        Ready(3),
        Says(L, "demo", "Ready=True/AsPlanned"),
        Says(P, "a", "Ready=True/AsPlanned"),
        Says(P, "b", "Ready=True/AsPlanned"),
    ]
}

pub(crate) fn small() -> Vec<Step> {
    vec![
        Apply(lobby(&json!({}))),
        Says(L, "demo", "Accepted=True/AsPlanned"),
        Apply(pool("a", &json!({}))),
        Ready(1),
        Says(L, "demo", "Ready=True/AsPlanned"),
        Says(P, "a", "Ready=True/AsPlanned"),
    ]
}

/// Two relays with sessions, more on the second.
fn held() -> Vec<Step> {
    vec![
        Apply(lobby(&json!({}))),
        Says(L, "demo", "Accepted=True/AsPlanned"),
        Apply(pool("a", &json!({"replicas": 2}))),
        Ready(2),
        Says(P, "a", "Ready=True/AsPlanned"),
        Holds("a-0", 2),
        Holds("a-1", 3),
    ]
}

/// All workloads that the operator is killed in.
pub(crate) fn all() -> Vec<Workload> {
    let workload = |name, before, steps| Workload { name, quick: name == "scale_up", before, steps };
    vec![
        workload("create", vec![], create()),
        workload(
            "scale_up",
            small(),
            vec![Change("a", json!({"replicas": 3})), Ready(3), Says(P, "a", "Ready=True/AsPlanned")],
        ),
        workload(
            "scale_down",
            create(),
            vec![Change("a", json!({"replicas": 0})), Ready(1), Says(P, "a", "Available=False/ScaledToZero")],
        ),
        workload("delete", create(), vec![Delete(P), Delete(L), Gone]),
        workload(
            "rollout",
            small(),
            vec![
                Change("a", json!({"sessionsPerRelay": 7})),
                Ready(2),
                Left(&["a-1"]),
                Says(P, "a", "Progressing=False/AsPlanned"),
                Says(P, "a", "Ready=True/AsPlanned"),
            ],
        ),
        workload(
            "drain_cancel",
            held(),
            vec![
                Change("a", json!({"replicas": 1})),
                Drains("a-0", "ScaleDown"),
                Change("a", json!({"replicas": 2})),
                Serves("a-0"),
                Says(P, "a", "Ready=True/AsPlanned"),
            ],
        ),
        workload(
            "wish",
            held(),
            vec![
                Wish("a-0", Some("leave")),
                Ready(3),
                Drains("a-0", "Person"),
                Holds("a-0", 0),
                Left(&["a-1", "a-2"]),
                Says(P, "a", "Ready=True/AsPlanned"),
            ],
        ),
        workload(
            "delete_pool",
            held(),
            vec![Holds("a-1", 0), Delete(P), Drains("a-0", "Deletion"), Holds("a-0", 0), Left(&[]), Delete(L), Gone],
        ),
    ]
}

/// All at once, and nobody waits before the end.
pub(crate) fn life() -> Workload {
    let steps = vec![
        Apply(pool("b", &json!({"region": "us-east1"}))),
        Apply(lobby(&json!({}))),
        Apply(pool("a", &json!({"replicas": 2}))),
        Ready(3),
        Says(L, "demo", "Ready=True/AsPlanned"),
        Says(P, "a", "Ready=True/AsPlanned"),
        Says(P, "b", "Ready=True/AsPlanned"),
    ];
    Workload { name: "life", quick: true, before: vec![], steps }
}

/// The workload of this name.
pub(crate) fn named(name: &str) -> Workload {
    all().into_iter().find(|workload| workload.name == name).expect("there is such a workload")
}

/// The end of every run, after all was compared.
pub(crate) fn end() -> Vec<Step> {
    vec![Empty, Delete(P), Delete(L), Gone]
}

impl Step {
    /// Does it, or waits for it.
    pub(crate) async fn run(&self, scene: &Scene<'_>) {
        let client = || scene.world.client.clone();
        let api = |kind: Kind| Api::<DynamicObject>::namespaced_with(client(), &scene.namespace, &kind.resource());
        match self {
            Apply(object) => {
                let kind = if object["kind"] == "Lobby" { L } else { P };
                let name = object["metadata"]["name"].as_str().expect("a name");
                let params = PatchParams::apply("a-person").force();
                api(kind).patch(name, &params, &Patch::Apply(object)).await.expect("applies");
            }
            Change(name, spec) => {
                let change = json!({"spec": spec});
                api(P).patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.expect("changes");
            }
            Delete(kind) => {
                for object in api(*kind).list(&ListParams::default()).await.expect("lists") {
                    let name = object.metadata.name.unwrap_or_default();
                    api(*kind).delete(&name, &DeleteParams::default()).await.expect("deletes");
                }
            }
            Says(kind, name, expected) => {
                let api = api(*kind);
                within(PATIENCE, &format!("{kind:?} {name}: {expected}"), async || {
                    scene.sweep().await;
                    let object = api.get(name).await.map_err(|error| error.to_string())?;
                    let seen = condition(&object, expected.split('=').next().unwrap_or_default());
                    if seen == *expected { Ok(()) } else { Err(seen) }
                })
                .await;
            }
            Ready(count) => scene.ready(*count).await,
            Holds(relay, sessions) => scene.process(relay).await.holds(*sessions, 0),
            Empty => scene.empty(),
            Wish(relay, wish) => {
                let patch = json!({"metadata": {"annotations": {ANNOTATION_WISH: wish}}});
                let pods: Api<Pod> = scene.world.api(&scene.namespace);
                pods.patch(relay, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patches");
            }
            Drains(relay, cause) => {
                within(PATIENCE, &format!("{relay} drains: {cause}"), async || {
                    let (status, cordon) = (told(&api(P), relay).await?, scene.process(relay).await.cordon());
                    let drains = status["phase"] == "Draining" && status["drain"]["cause"] == *cause;
                    if drains && cordon.is_some() { Ok(()) } else { Err(format!("{status}, cordon {cordon:?}")) }
                })
                .await;
            }
            Serves(relay) => {
                within(PATIENCE, &format!("{relay} serves"), async || {
                    let (status, cordon) = (told(&api(P), relay).await?, scene.process(relay).await.cordon());
                    let serves = status["phase"] == "Ready" && status["drain"].is_null();
                    if serves && cordon.is_none() { Ok(()) } else { Err(format!("{status}, cordon {cordon:?}")) }
                })
                .await;
            }
            Left(expected) => {
                within(PATIENCE, &format!("just {expected:?} are left"), async || {
                    scene.sweep().await;
                    let mut left: Vec<String> = scene.relays().await?.iter().map(kube::ResourceExt::name_any).collect();
                    left.sort();
                    if left == *expected { Ok(()) } else { Err(format!("{left:?}")) }
                })
                .await;
            }
            Gone => {
                within(PATIENCE, "nothing of ours is left", async || {
                    scene.sweep().await;
                    let left: Vec<String> = state::read(scene.world, &scene.namespace).await.into_keys().collect();
                    if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
                })
                .await;
            }
        }
    }
}

/// What the status of its pool tells of a relay.
async fn told(pools: &Api<DynamicObject>, relay: &str) -> Result<Value, String> {
    let pools = pools.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let relays = pools.items.into_iter().filter_map(|pool| pool.data["status"]["relays"].as_array().cloned()).flatten();
    relays.into_iter().find(|known| known["name"] == relay).ok_or_else(|| "it is in no status".to_owned())
}

/// What a condition of an object says, if it says so of the present spec.
fn condition(object: &DynamicObject, type_: &str) -> String {
    let conditions: Vec<Condition> =
        serde_json::from_value(object.data["status"]["conditions"].clone()).unwrap_or_default();
    let of_present = |condition: &Condition| condition.observed_generation == object.metadata.generation;
    let (present, earlier): (Vec<_>, Vec<_>) = conditions.into_iter().partition(of_present);
    if present.is_empty() && !earlier.is_empty() {
        return format!("{} of an earlier spec", says(&earlier, type_));
    }
    says(&present, type_)
}
