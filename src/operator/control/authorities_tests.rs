//! What the operator's authorities sign over the years, and who believes it.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;

use super::*;

const DAY: i64 = 86_400;

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + day * DAY).expect("a time")
}

fn server() -> Server {
    Server::pool("team", "eu")
}

fn made(day: i64) -> Authorities {
    Authorities::default().renewed(at(day)).expect("made")
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}

/// Whether the operator takes this certificate for that of a server.
fn takes(authorities: &Authorities, certificate: &str, server: &Server, day: i64) -> bool {
    let host = server.host([10, 0, 0, 7].into());
    believed(authorities.roots(at(day)), &certificates(certificate)[0], &host, at(day))
}

/// Whether a server that was given this takes the operator's certificate.
fn lets_in(given: &ControlCertificates, shown: &Shown, day: i64) -> bool {
    let roots = x509::roots(&certificates(&given.authorities));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("authorities");
    let now = Duration::from_secs(u64::try_from(at(day).as_second()).expect("after 1970"));
    verifier.verify_client_cert(&shown.certificate, &[], UnixTime::since_unix_epoch(now)).is_ok()
}

#[test]
fn a_certificate_is_good_for_its_server_and_its_time_and_stays_as_it_is() {
    let (authorities, key) = (made(0), ControlKey(fresh_key()));
    let given = authorities.certify(&server(), &key, None, at(0)).expect("certified");
    for (day, expected) in [(-1, false), (0, true), (89, true), (91, false)] {
        assert_eq!(takes(&authorities, &given.server, &server(), day), expected, "day {day}");
    }
    let others = [Server::pool("team", "us"), Server::pool("other", "eu"), Server::lobby("team", "eu")];
    assert!(others.iter().all(|other| !takes(&authorities, &given.server, other, 0)));
    assert!(!takes(&made(0), &given.server, &server(), 0), "another authority");
    for day in [0, 1, 30, 59] {
        let again = authorities.certify(&server(), &key, Some(&given.server), at(day)).expect("certified");
        assert_eq!(again, given, "day {day}");
    }
    let renewed = authorities.certify(&server(), &key, Some(&given.server), at(61)).expect("certified");
    assert!(renewed.server != given.server && renewed.authorities == given.authorities);
    let wrong = [
        ("another key", ControlKey(fresh_key()), server(), &given.server),
        ("another server", key.clone(), Server::pool("team", "us"), &given.server),
        ("no certificate", key.clone(), server(), &"broken".to_owned()),
        ("the authority's own", key.clone(), server(), &given.authorities),
    ];
    for (what, key, server, published) in wrong {
        let again = authorities.certify(&server, &key, Some(published), at(0)).expect("certified");
        assert!(again.server != *published && takes(&authorities, &again.server, &server, 0), "{what}");
    }
    assert!(authorities.certify(&server(), &ControlKey("broken".to_owned()), None, at(0)).is_err());
}

#[test]
fn the_operator_is_let_in_and_servers_are_not() {
    let authorities = made(0);
    let given = authorities.certify(&server(), &ControlKey(fresh_key()), None, at(0)).expect("certified");
    let shown = authorities.show(at(0)).expect("shown");
    assert!(lets_in(&given, &shown, 0));
    assert!(!lets_in(&given, &shown, 2), "its day is over");
    assert!(!lets_in(&given, &made(0).show(at(0)).expect("shown"), 0), "another authority");
    let as_client = Shown { certificate: certificates(&given.server).remove(0), ..shown };
    assert!(!lets_in(&given, &as_client, 0), "it is a server's");
}

#[test]
fn what_stands_in_the_secret_comes_back_and_what_is_broken_does_not() {
    let authorities = made(0).renewed(at(300)).expect("made");
    let entries = authorities.entries();
    assert_eq!(entries.len(), 4);
    assert_eq!(Authorities::read(&entries).entries(), entries);
    let names: Vec<&String> = entries.keys().collect();
    for name in &names {
        let mut one_is_missing = entries.clone();
        one_is_missing.remove(*name);
        assert_eq!(Authorities::read(&one_is_missing).0.len(), 1, "{name}");
        let mut one_is_broken = entries.clone();
        one_is_broken.insert((*name).clone(), ByteString(b"broken".to_vec()));
        assert_eq!(Authorities::read(&one_is_broken).0.len(), 1, "{name}");
    }
    // Keys that have changed places.
    let (old, young) = (&entries[names[1]], &entries[names[3]]);
    let mut swapped = entries.clone();
    swapped.insert(names[1].clone(), young.clone());
    swapped.insert(names[3].clone(), old.clone());
    assert!(Authorities::read(&swapped).0.is_empty());
    assert!(Authorities::read(&BTreeMap::new()).is_due(at(0)));
    assert!(Authorities::default().show(at(0)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// An operator that looks at least each few weeks, over four years, and a server whose files are those of its last look or
    /// of the one before: both always know one another.
    #[test]
    fn both_sides_know_one_another_through_all_renewals(gaps in prop::collection::vec(1..25_i64, 60..120)) {
        let key = ControlKey(fresh_key());
        let (mut day, mut authorities) = (0, made(0));
        let mut given = authorities.certify(&server(), &key, None, at(0)).expect("certified");
        let mut seen = Vec::new();
        for gap in gaps {
            let last = std::mem::take(&mut authorities);
            authorities = if last.is_due(at(day)) { last.renewed(at(day)).expect("made") } else { last };
            prop_assert!(authorities.0.len() <= 2, "{authorities:?}");
            let next = authorities.certify(&server(), &key, Some(&given.server), at(day)).expect("certified");
            let shown = authorities.show(at(day)).expect("shown");
            for standing in [&given, &next] {
                prop_assert!(takes(&authorities, &standing.server, &server(), day), "day {day}: {authorities:?}");
                prop_assert!(lets_in(standing, &shown, day), "day {day}: {authorities:?}");
            }
            seen.extend(authorities.lives().last().copied());
            given = next;
            day += gap;
        }
        seen.dedup();
        prop_assert!(day < 275 || seen.len() > 1, "no authority was made anew in {day} days");
    }
}
