//! What relays are given to know their lobby by, over time.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::*;

const HOST: &str = "hub-lobby-link.team.svc";
const DAY: i64 = 86_400;

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + day * DAY).expect("a time")
}

fn pair(certificates: &Certificates) -> (String, String) {
    (certificates.authority.clone(), certificates.link.clone())
}

fn trusts(authority: &str, link: &str, host: &str, now: Timestamp) -> bool {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    believed(roots([&der(authority)]), &der(link), host, now)
}

#[test]
fn relays_believe_the_link_port_under_its_own_name_and_time_only() {
    let made = certify(&fresh(), HOST, None, at(0)).expect("made");
    assert_eq!(made.link_ends, at(90).as_second());
    assert!(trusts(&made.authority, &made.link, HOST, at(0)));
    assert!(trusts(&made.authority, &made.link, HOST, at(89)));
    assert!(!trusts(&made.authority, &made.link, HOST, at(91)), "it has ended");
    assert!(!trusts(&made.authority, &made.link, HOST, at(-1)), "it has not begun");
    assert!(!trusts(&made.authority, &made.link, "other-lobby-link.team.svc", at(0)), "another lobby's");
    let other = certify(&fresh(), HOST, None, at(0)).expect("made");
    assert!(!trusts(&other.authority, &made.link, HOST, at(0)), "another authority");
    assert!(!trusts(&made.link, &made.link, HOST, at(0)), "the port's own certificate signs nothing");
}

#[test]
fn what_is_good_stays_byte_for_byte() {
    let keys = fresh();
    let made = certify(&keys, HOST, None, at(0)).expect("made");
    for day in [0, 1, 30, 59] {
        assert_eq!(certify(&keys, HOST, Some(&pair(&made)), at(day)).expect("kept"), made, "day {day}");
    }
}

#[test]
fn both_are_renewed_in_time_and_relays_that_have_heard_of_neither_go_on() {
    let keys = fresh();
    let first = certify(&keys, HOST, None, at(0)).expect("made");
    let mut now = first.clone();
    for day in 0..800 {
        let next = certify(&keys, HOST, Some(&pair(&now)), at(day)).expect("made");
        // A file may reach the lobby before the relay, or the other way round.
        for (authority, link) in [(&now, &next), (&next, &now), (&next, &next), (&first, &next)] {
            assert!(trusts(&authority.authority, &link.link, HOST, at(day)), "day {day}");
        }
        now = next;
    }
    assert_ne!((&now.authority, &now.link), (&first.authority, &first.link));
}

#[test]
fn what_is_broken_or_foreign_is_made_anew() {
    let (keys, other) = (fresh(), fresh());
    let (made, foreign) =
        (certify(&keys, HOST, None, at(0)).expect("made"), certify(&other, HOST, None, at(0)).expect("made"));
    let elsewhere = certify(&keys, "x.y.svc", Some(&pair(&made)), at(0)).expect("made");
    assert_eq!(elsewhere.authority, made.authority, "the authority is for any name");
    let wrong = [
        (String::new(), String::new()),
        ("broken".to_owned(), made.link.clone()),
        (made.authority.clone(), "broken".to_owned()),
        (foreign.authority.clone(), foreign.link.clone()),
        (made.authority.clone(), foreign.link.clone()),
        (made.authority.clone(), elsewhere.link.clone()),
        (made.link.clone(), made.authority.clone()),
    ];
    for published in wrong {
        let again = certify(&keys, HOST, Some(&published), at(0)).expect("made");
        assert_ne!(pair(&again), published);
        assert!(trusts(&again.authority, &again.link, HOST, at(0)));
    }
}

#[test]
fn keys_that_are_none_are_named() {
    let keys = LinkKeys { server: "broken".to_owned(), ..fresh() };
    let why = certify(&keys, HOST, None, at(0)).expect_err("no key");
    assert!(why.contains("tls.key"), "{why}");
}
