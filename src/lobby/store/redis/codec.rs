//! What stands in Redis, as values: sessions, runs and orders from replies. A reply that is none of these is an error,
//! never a default.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use serde::{Deserialize, Serialize};

use crate::decide::sessions::{Facts, Known, Order, OrderKind, Party, RunView, SecretHashes, Seen, Session, in_order};
use crate::wire::claims::RecordClaims;
use crate::wire::session::{Beside, ClientPlace, GeoPoint, Guest, GuestState, SessionState};
use crate::wire::stats::RelayStats;

/// A reply that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store's reply is not as expected")]
pub(super) struct Garbled;

/// When a reply was made: on which connection of this process, and after how many writes. What was said later is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) connection: u64,
    pub(super) writes: u64,
}

/// A list of values, taken one by one.
#[derive(Debug)]
pub(super) struct Reply {
    values: std::vec::IntoIter<Value>,
    /// Of a step's reply.
    pub(super) stamp: Stamp,
}

impl Reply {
    pub(super) fn new(value: Value) -> Result<Self, Garbled> {
        match value {
            Value::Array(values) => Ok(Self { values: values.into_iter(), stamp: Stamp::default() }),
            _ => Err(Garbled),
        }
    }

    pub(super) fn list(&mut self) -> Result<Self, Garbled> {
        Self::new(self.values.next().ok_or(Garbled)?)
    }

    /// The rest, as lists.
    pub(super) fn lists(self) -> impl Iterator<Item = Result<Self, Garbled>> {
        self.values.map(Self::new)
    }

    pub(super) fn text(&mut self) -> Result<String, Garbled> {
        redis::from_redis_value(self.values.next().ok_or(Garbled)?).map_err(|_| Garbled)
    }

    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<T, Garbled> {
        self.text()?.parse().map_err(|_| Garbled)
    }

    fn flag(&mut self) -> Result<bool, Garbled> {
        Ok(self.number::<u8>()? != 0)
    }

    pub(super) fn is_done(&self) -> bool {
        self.values.as_slice().is_empty()
    }
}

/// A session from the fields of its hash.
pub(super) fn session(id: String, fields: Reply) -> Result<Session, Garbled> {
    let mut flat = fields.values;
    let mut fields = HashMap::new();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        let text = |value| redis::from_redis_value::<String>(value).map_err(|_| Garbled);
        fields.insert(text(name)?, text(value)?);
    }
    // Sessions that stood there before sessions had names have none.
    let name = fields.remove("name").filter(|name| !name.is_empty());
    let approval = fields.remove("approval").is_some_and(|approval| approval == "1");
    // Only there once somebody has come to where it has moved.
    let came = fields.remove("came").map_or(Ok(0), |came| came.parse()).map_err(|_| Garbled)?;
    // Of sessions that stood there before guests had places, nothing is known.
    let parties = fields.remove("parties").filter(|parties| !parties.is_empty());
    let parties = parties.map_or(Ok(Vec::new()), |parties| self::parties(&parties))?;
    let moved_at = fields.remove("moved").map_or(Ok(0), |moved| moved.parse()).map_err(|_| Garbled)?;
    let mut field = |name: &str| fields.remove(name).ok_or(Garbled);
    let ends = field("ends")?;
    Ok(Session {
        id,
        name,
        created_at: field("created")?.parse().map_err(|_| Garbled)?,
        epoch: field("epoch")?.parse().map_err(|_| Garbled)?,
        state: match field("state")?.as_str() {
            "open" => SessionState::Open,
            "leased" => SessionState::Leased,
            _ => return Err(Garbled),
        },
        secrets: SecretHashes { host_token: field("host")?, join_key: field("join")? },
        approval,
        place: place(&field("place")?)?,
        parties,
        moved_at,
        home: serde_json::from_str(&field("home")?).map_err(|_| Garbled)?,
        homeless: field("homeless")? == "1",
        came,
        ends_at: match ends.as_str() {
            "" => None,
            ends => Some(Duration::from_millis(ends.parse().map_err(|_| Garbled)?)),
        },
    })
}

/// A place with what is known beside the client's own words, which is in no message. What stood there before had only those.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredPlace {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    latencies: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<GeoPoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    residency: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    network: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geoip: Option<GeoPoint>,
}

/// A place as it stands with a session.
pub(super) fn place_text(place: &ClientPlace) -> String {
    let ClientPlace { latencies, location, region, residency, beside: Beside { network, geoip } } = place.clone();
    let stored = StoredPlace { latencies, location, region, residency, network, geoip };
    serde_json::to_string(&stored).expect("places are JSON")
}

fn place(text: &str) -> Result<ClientPlace, Garbled> {
    let stored: StoredPlace = serde_json::from_str(text).map_err(|_| Garbled)?;
    let StoredPlace { latencies, location, region, residency, network, geoip } = stored;
    Ok(ClientPlace { latencies, location, region, residency, beside: Beside { network, geoip } })
}

/// Guests and their places: of each its id, since when, whether it is there, and its place as text.
fn parties(text: &str) -> Result<Vec<Party>, Garbled> {
    let stored: Vec<(String, i64, u8, String)> = serde_json::from_str(text).map_err(|_| Garbled)?;
    let party = |(id, since, here, text): (String, i64, u8, String)| {
        Ok(Party { id, since, here: here != 0, place: place(&text)? })
    };
    stored.into_iter().map(party).collect()
}

/// Sessions with their ids.
pub(super) fn sessions(list: Reply) -> Result<Vec<Session>, Garbled> {
    list.lists()
        .map(|pair| {
            let mut pair = pair?;
            session(pair.text()?, pair.list()?)
        })
        .collect()
}

/// A run and the UID of its Pod; no run if the Pod has none.
pub(super) fn run(mut fields: Reply) -> Result<(String, Option<RunView>), Garbled> {
    let pod_uid = fields.text()?;
    if fields.is_done() {
        return Ok((pod_uid, None));
    }
    let (boot_id, linked, told) = (fields.text()?, fields.flag()?, fields.flag()?);
    let silence = Duration::from_millis(fields.number()?);
    let (held, in_flight) = (fields.number()?, fields.number()?);
    let stats = RelayStats {
        capacity: fields.number()?,
        sessions: fields.number()?,
        leases: fields.number()?,
        participants: fields.number()?,
        cordoned: fields.flag()?,
        draining: fields.flag()?,
    };
    let keys = fields.text()?.split(',').filter(|kid| !kid.is_empty()).map(str::to_owned).collect();
    // Of runs that linked up at a lobby of before, it is not there.
    let home = match fields.text()?.as_str() {
        "" => None,
        home => Some(Arc::new(serde_json::from_str(home).map_err(|_| Garbled)?)),
    };
    Ok((pod_uid, Some(RunView { boot_id, home, linked, told, silence, stats, held, keys, in_flight })))
}

/// Ids of keys as they stand with a run. They are base64url: no comma is in one.
pub(super) fn keys(keys: &[String]) -> String {
    keys.join(",")
}

/// A guest.
pub(super) fn guest(mut fields: Reply) -> Result<Guest, Garbled> {
    let (id, state, asked_at, name) = (fields.text()?, fields.text()?, fields.number()?, fields.text()?);
    let state = match state.as_str() {
        "waiting" => GuestState::Waiting,
        "approved" => GuestState::Approved,
        "refused" => GuestState::Refused,
        _ => return Err(Garbled),
    };
    Ok(Guest { id, name: Some(name).filter(|name| !name.is_empty()), state, asked_at })
}

/// A session of this id, and its guests.
pub(super) fn seen(id: &str, mut reply: Reply) -> Result<Seen, Garbled> {
    let known = match reply.text()?.as_str() {
        "live" => Known::Live(Box::new(session(id.to_owned(), reply.list()?)?)),
        "closed" => Known::Closed { host_token: reply.text()? },
        "nothing" => reply.text().map(|_| Known::Nothing)?,
        _ => return Err(Garbled),
    };
    let mut guests = reply.list()?.lists().map(|fields| guest(fields?)).collect::<Result<Vec<Guest>, Garbled>>()?;
    in_order(&mut guests);
    Ok(Seen { known, guests })
}

/// An order as it waits for the process that has the link.
#[derive(Debug, Deserialize)]
struct StoredOrder {
    pod: String,
    boot: String,
    link: String,
    session: String,
    epoch: u64,
    kind: String,
    host: Option<String>,
    join: Option<String>,
    created: Option<i64>,
    #[serde(default)]
    approval: bool,
}

/// An order and the number of the link that it is for.
pub(super) fn order(text: &[u8]) -> Result<(u64, Order), Garbled> {
    let stored: StoredOrder = serde_json::from_slice(text).map_err(|_| Garbled)?;
    let StoredOrder { pod, boot, link, session, epoch, kind, host, join, created, approval } = stored;
    let kind = match (kind.as_str(), host, join, created) {
        ("close", ..) => OrderKind::Close,
        ("move", ..) => OrderKind::Move,
        ("renew", ..) => OrderKind::Renew,
        ("leave", ..) => OrderKind::Leave,
        ("stay", ..) => OrderKind::Stay,
        ("hold", Some(host_token), Some(join_key), Some(created_at)) => {
            OrderKind::Hold(Box::new(Facts { secrets: SecretHashes { host_token, join_key }, approval, created_at }))
        }
        _ => return Err(Garbled),
    };
    let order = Order { pod_uid: pod, boot_id: boot, session, epoch, kind };
    Ok((link.parse().map_err(|_| Garbled)?, order))
}

/// A record as the step that takes it in reads it.
#[derive(Debug, Serialize)]
struct StoredRecord<'a> {
    sid: &'a str,
    epoch: u64,
    host: &'a str,
    join: &'a str,
    approval: bool,
    created: i64,
}

/// Records as the step that takes them in reads them.
pub(super) fn records(records: &[RecordClaims]) -> String {
    let stored: Vec<StoredRecord<'_>> = records
        .iter()
        .map(|record| StoredRecord {
            sid: &record.sid,
            epoch: record.epoch,
            host: &record.host_token_hash,
            join: &record.join_key_hash,
            approval: record.approval,
            created: record.iat,
        })
        .collect();
    serde_json::to_string(&stored).expect("records are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::BulkString(text.as_bytes().to_vec())).collect())
    }

    #[test]
    fn orders_are_read_and_broken_ones_are_not() {
        let hold = r#"{"pod":"p","boot":"b","link":"18446744073709551615","session":"s","epoch":2,"kind":"hold","host":"h","join":"j","created":7}"#;
        let (link, read) = order(hold.as_bytes()).expect("whole");
        assert_eq!((link, read.kind.as_str(), read.epoch), (u64::MAX, "hold", 2));
        let leave = r#"{"pod":"p","boot":"b","link":"7","session":"","epoch":0,"kind":"leave"}"#;
        assert_eq!(order(leave.as_bytes()).expect("whole").1.kind, OrderKind::Leave);
        for broken in
            [hold.replace(",\"host\":\"h\"", ""), hold.replace("hold", "hug"), hold.replace("1844", "x"), String::new()]
        {
            assert_eq!(order(broken.as_bytes()), Err(Garbled), "{broken}");
        }
    }

    #[test]
    fn places_are_read_as_they_were_written_and_broken_ones_are_not() {
        let point = GeoPoint { latitude: 52.52, longitude: -13.4 };
        let whole = ClientPlace {
            latencies: [("r".to_owned(), 7.5)].into(),
            location: Some(point),
            region: Some("r".to_owned()),
            residency: Some("eu".to_owned()),
            beside: Beside { network: [("r".to_owned(), 8.5)].into(), geoip: Some(point) },
        };
        for written in [whole.clone(), ClientPlace::default()] {
            assert_eq!(place(&place_text(&written)), Ok(written));
        }
        // As a lobby of before has written it.
        assert_eq!(place(r#"{"region":"r"}"#).expect("whole").region.as_deref(), Some("r"));
        let text = serde_json::to_string(&place_text(&whole)).expect("JSON");
        let guest = |here: &str| format!(r#"[["g",1700000000,{here},{text}]]"#);
        let read = parties(&guest("1")).expect("whole");
        assert_eq!(read, [Party { id: "g".to_owned(), since: 1_700_000_000, here: true, place: whole }]);
        for broken in [guest("true"), guest("1").replace("52.52", "x"), r#"[["g",1,0]]"#.to_owned(), "{}".to_owned()] {
            assert_eq!(parties(&broken), Err(Garbled), "{broken}");
        }
    }

    #[test]
    fn runs_are_read_and_broken_ones_are_not() {
        let whole = ["pod", "boot", "1", "0", "250", "3", "2", "10", "1", "2", "4", "0", "1", "k1,k2", ""];
        let (pod, known) = run(Reply::new(texts(&whole)).expect("a list")).expect("whole");
        let known = known.expect("a run");
        assert_eq!((pod.as_str(), known.linked, known.told, known.used()), ("pod", true, false, 5));
        assert!(known.stats.draining && !known.stats.cordoned && known.keys == ["k1", "k2"]);
        assert_eq!(run(Reply::new(texts(&["pod"])).expect("a list")), Ok(("pod".to_owned(), None)));
        assert_eq!(run(Reply::new(texts(&whole[..14])).expect("a list")), Err(Garbled));
        assert_eq!(known.home, None);
        let home = r#"{"podUid": "pod", "bootId": "boot", "pool": "p", "region": "r", "relay": "p-0", "url": "wss://x", "point": {"latitude": 1, "longitude": 2}}"#;
        let of = |home: &str| {
            let mut fields = whole;
            fields[14] = home;
            run(Reply::new(texts(&fields)).expect("a list"))
        };
        assert_eq!(of(home).expect("whole").1.expect("a run").home.expect("it is told").relay, "p-0");
        assert_eq!(of("{}"), Err(Garbled));
    }
}
