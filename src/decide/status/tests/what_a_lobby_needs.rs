//! A lobby says what it lacks: its Redis, the claim with its places, or what its processes cannot reach.

use serde_json::{Value, json};

use super::{hub_with, kstatus, pair, rolled, says};
use crate::api::condition::Reason;
use crate::api::{Lobby, LobbyStatus};
use crate::decide::fixtures::{self, NamespaceLabels, at};
use crate::decide::heard::Heard;
use crate::decide::plan::{Applied, ChildKind, names};
use crate::decide::status::lobby;
use crate::decide::valid::{self, Invalid, ValidLobby};
use crate::wire::stats::StoreState;

#[test]
fn a_lobby_is_available_once_its_own_redis_is_ready() {
    let (lobby, valid) = hub_with(json!({"redis": {"managed": {}}}));
    let told = |redis: Option<Value>| {
        let mut applied = Applied::default();
        applied.children.insert((ChildKind::Deployment, "hub-lobby".to_owned()), rolled(1, (1, 1), (1, 1, 1)));
        if let Some(status) = redis {
            let set = json!({"spec": {"selector": {}, "template": {}}, "status": status});
            applied.children.insert((ChildKind::StatefulSet, "hub-lobby-redis".to_owned()), set);
        }
        let status = lobby::applied(&lobby, &valid, Some("http://a".to_owned()), &applied, &[], at(900));
        (says(&status.conditions, "Available"), kstatus(&lobby, &status))
    };
    let waits = (pair("False", Reason::WaitingForPods), "InProgress");
    assert_eq!(told(None), waits);
    assert_eq!(told(Some(json!({"replicas": 1}))), waits);
    assert_eq!(told(Some(json!({"replicas": 1, "readyReplicas": 1}))), (pair("True", Reason::AsPlanned), "Current"));
}

#[test]
fn a_lobby_says_that_the_claim_with_its_places_is_not_there() {
    let spec = json!({"exposure": {"nodePort": {}}, "routing": {"geoip": {"volumeClaimRef": {"name": "places"}}}});
    let lobby = fixtures::lobby("here", "hub", spec);
    let labels = NamespaceLabels::new();
    let told = |claim_there| {
        let geoip = valid::GeoIpInputs { claim_there, allowed: &[] };
        let inputs = valid::LobbyInputs { geoip, ..fixtures::lobby_inputs(&lobby, &labels) };
        let valid = valid::lobby(inputs).expect("valid");
        let deployment = [((ChildKind::Deployment, names::lobby("hub")), rolled(1, (1, 1), (1, 1, 1)))];
        let applied = Applied { children: deployment.into(), ..Applied::default() };
        let status = lobby::applied(&lobby, &valid, Some("http://a".to_owned()), &applied, &[], at(900));
        let available = status.conditions.into_iter().find(|condition| condition.type_ == "Available");
        available.map(|condition| (condition.status, condition.message)).expect("it is set")
    };
    assert_eq!(told(true), ("True".to_owned(), "serving at http://a".to_owned()));
    let (status, message) = told(false);
    assert_eq!(status, "True", "it serves all the same");
    assert!(message.starts_with("serving at http://a; there is no PersistentVolumeClaim places"), "{message}");
}

#[test]
fn a_lobby_says_what_its_processes_say_of_the_store() {
    let told = |available| Heard::Told(StoreState { available });
    let (redis, memory) = (json!({"redis": {"secretRef": {"name": "r"}}}), json!({"memory": {}}));
    let up = || (pair("True", Reason::AsPlanned), pair("True", Reason::AsPlanned));
    let away = || (pair("False", Reason::StoreAway), pair("False", Reason::StoreAway));
    let partly = || (pair("True", Reason::PartlyAvailable), pair("True", Reason::AsPlanned));
    let unknown = || (pair("Unknown", Reason::Pending), pair("True", Reason::AsPlanned));
    // One after another, as time goes by.
    let table: [(&[Heard<StoreState>], _); 10] = [
        (&[], unknown()),
        (&[Heard::NotYet], unknown()),
        (&[told(true)], up()),
        (&[told(true), told(false)], partly()),
        (&[told(false), told(false)], away()),
        // Another operator leads, which has heard nothing yet.
        (&[Heard::NotYet, Heard::NotYet], away()),
        (&[Heard::Silent, told(false)], away()),
        (&[Heard::Silent, Heard::Silent], unknown()),
        (&[Heard::NotYet, told(true)], up()),
        (&[Heard::NotYet, Heard::Silent], up()),
    ];
    let (mut lobby, valid) = hub_with(redis);
    for (heard, expected) in table {
        let status = status_of(&lobby, &valid, heard);
        let said = ["StoreAvailable", "Available"].map(|type_| says(&status.conditions, type_));
        assert_eq!(said, <[_; 2]>::from(expected), "{heard:?}");
        lobby.status = Some(status);
    }
    let refused = Invalid { reason: Reason::SecretInvalid, message: "m".to_owned() };
    let kept = lobby::invalid(&lobby, &refused, None, at(900));
    assert_eq!(says(&kept.conditions, "StoreAvailable"), pair("True", Reason::AsPlanned));
    let (lobby, valid) = hub_with(memory);
    let status = status_of(&lobby, &valid, &[]);
    assert_eq!(says(&status.conditions, "StoreAvailable"), pair("True", Reason::AsPlanned));
}

/// Of a lobby whose pod serves.
fn status_of(lobby: &Lobby, valid: &ValidLobby, heard: &[Heard<StoreState>]) -> LobbyStatus {
    let mut applied = Applied::default();
    applied.children.insert((ChildKind::Deployment, "hub-lobby".to_owned()), rolled(1, (1, 1), (1, 1, 1)));
    lobby::applied(lobby, valid, Some("http://a".to_owned()), &applied, heard, at(900))
}
