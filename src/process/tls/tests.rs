//! What is taken as a certificate and key, and what is not.

use rcgen::{CertificateParams, KeyPair};

use super::*;

const NOW: i64 = 1_800_000_000;

fn pair(ends: i64) -> Files {
    let mut params = CertificateParams::new(["relay.example".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = params.not_before + (Duration::from_secs(u64::try_from(ends - 1_577_836_800).expect("later")));
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed").pem().into_bytes();
    Files { certificate, key: key.serialize_pem().into_bytes(), authorities: None }
}

fn why(files: &Files) -> Option<TlsError> {
    check(files, NOW).err()
}

#[test]
fn a_good_pair_is_taken_and_its_end_is_known() {
    let good = check(&pair(NOW + 100), NOW).expect("good");
    assert_eq!(good.ends, NOW + 100);
}

#[test]
fn what_is_broken_is_told_by_name() {
    let (good, other) = (pair(NOW + 100), pair(NOW + 100));
    let with = |certificate: &[u8], key: &[u8]| Files {
        certificate: certificate.to_vec(),
        key: key.to_vec(),
        authorities: None,
    };
    assert_eq!(why(&with(b"", &good.key)), Some(TlsError::NoCertificate));
    assert_eq!(why(&with(&good.key, &good.key)), Some(TlsError::NoCertificate));
    assert_eq!(why(&with(&good.certificate, b"")), Some(TlsError::NoKey));
    assert_eq!(why(&with(&good.certificate, &good.certificate)), Some(TlsError::NoKey));
    assert!(matches!(why(&with(&good.certificate, &other.key)), Some(TlsError::Pair(_))));
    let half = &good.certificate[..good.certificate.len() / 2];
    assert!(matches!(why(&with(half, &good.key)), Some(TlsError::Certificate(_) | TlsError::NoCertificate)));
    let words = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(why(&with(words, &good.key)), Some(TlsError::Certificate(_))));
}

#[test]
fn authorities_of_clients_are_needed_where_they_are_asked_for() {
    let good = pair(NOW + 100);
    for (authorities, expected) in
        [(&b""[..], false), (b"no PEM", false), (&good.key, false), (&good.certificate, true)]
    {
        let files = Files { authorities: Some(authorities.to_vec()), ..good.clone() };
        assert_eq!(check(&files, NOW).is_ok_and(|good| good.clients.is_some()), expected);
    }
}

#[test]
fn a_certificate_is_good_until_its_end() {
    assert_eq!(why(&pair(NOW)), Some(TlsError::Ended(NOW)));
    assert_eq!(why(&pair(NOW + 1)), None);
}
