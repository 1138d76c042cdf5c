//! The demo: hosts and guests in cities of the world create and join sessions and check that each byte arrives.
//!
//! It is a client like any other: all that it knows comes from the lobby's public API. It judges placement by its own
//! arithmetic, not by the lobby's.

use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::wire::session::{GeoPoint, RegionView, SessionCreated};
use cities::{CITIES, City, distance_km};
use client::LobbyApi;
use report::Row;

mod cities;
mod client;
mod exchange;
mod report;

/// Sessions that are played at once.
const AT_ONCE: usize = 3;
/// Pools so close to one another count as equally near, in kilometres.
const SAME_PLACE_KM: f64 = 1.0;

/// Arguments of `convene demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Base URL of the lobby.
    #[arg(long, env = "CONVENE_LOBBY_URL")]
    pub lobby: String,
    /// Messages that each participant sends.
    #[arg(long, default_value_t = 200)]
    pub messages: u32,
}

/// Plays the demo and prints its table; an error if anything was lost or misplaced.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Some(table) = shutdown.run_until_cancelled(play(&args)).await else { bail!("interrupted") };
    let table = table?;
    std::io::stdout().write_all(table.as_bytes()).context("cannot print the table")?;
    Ok(())
}

/// Plays all cities; the table, or an error that tells everything that went wrong.
pub async fn play(args: &Args) -> anyhow::Result<String> {
    let lobby = LobbyApi::new(&args.lobby)?;
    lobby.regions_once_ready().await?;
    let sessions = CITIES.iter().enumerate().map(|(index, host)| {
        let guest = &CITIES[(index + CITIES.len() / 2) % CITIES.len()];
        let lobby = &lobby;
        async move {
            let row = session(lobby, index, *host, *guest, args.messages).await;
            row.with_context(|| format!("{} with a guest in {}", host.name, guest.name))
        }
    });
    let played: Vec<anyhow::Result<Row>> = futures::stream::iter(sessions).buffered(AT_ONCE).collect().await;
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for row in played {
        match row {
            Ok(row) => rows.push(row),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    let table = report::render(&rows);
    ensure!(failures.is_empty(), "{table}\n{} sessions failed:\n{}", failures.len(), failures.join("\n"));
    Ok(table)
}

/// One session from its creation to its end.
async fn session(lobby: &LobbyApi, index: usize, host: City, guest: City, messages: u32) -> anyhow::Result<Row> {
    let before = lobby.regions().await?;
    let created = lobby.create(host.point).await?;
    let after = lobby.regions().await?;
    let played = async {
        let (km, runner_up) = judge(host.point, &created, &before, &after)?;
        let joined = lobby.join(&created.session.id, &created.join_key).await?;
        ensure!(joined.connect.url == created.connect.url, "host and guest were sent to different relays");
        let mut host_socket = client::connect(&created.connect).await.context("host")?;
        let mut guest_socket = client::connect(&joined.connect).await.context("guest")?;
        let seed = index as u64 + 1;
        let exchanged = exchange::exchange(&mut host_socket, &mut guest_socket, seed, messages).await?;
        anyhow::Ok((km, runner_up, exchanged, host_socket, guest_socket))
    };
    let played = played.await;
    // Also after a failure: a demo leaves no session behind.
    let closed = lobby.close(&created.session.id, &created.host_token).await;
    let (km, runner_up, mut exchanged, mut host_socket, mut guest_socket) = played?;
    closed?;
    tokio::try_join!(exchange::closed(&mut host_socket), exchange::closed(&mut guest_socket))?;
    Ok(Row {
        city: host.name,
        guest: guest.name,
        session: created.session.id,
        region: created.session.region,
        km,
        runner_up,
        messages: exchanged.messages,
        bytes: exchanged.bytes,
        p50: report::percentile(&mut exchanged.round_trips, 50),
        p99: report::percentile(&mut exchanged.round_trips, 99),
    })
}

/// Distance to the chosen region and the next nearest one; an error if a nearer region had room. Other sessions come and
/// go meanwhile, so a region counts as having had room only if it had it before and after.
fn judge(
    from: GeoPoint,
    created: &SessionCreated,
    before: &[RegionView],
    after: &[RegionView],
) -> anyhow::Result<(f64, Option<(String, f64)>)> {
    let to =
        |region: &RegionView| distance_km(from, GeoPoint { latitude: region.latitude, longitude: region.longitude });
    let chosen = &created.session.region;
    let chosen_km = before.iter().find(|region| region.region == *chosen).map(to);
    let chosen_km = chosen_km.with_context(|| format!("sent to {chosen}, which is not a region of the lobby"))?;
    let had_room_after = |name: &str| after.iter().any(|region| region.region == name && region.free_seats > 0);
    let mut others: Vec<(f64, &RegionView)> = before
        .iter()
        .filter(|region| region.region != *chosen && region.free_seats > 0 && had_room_after(&region.region))
        .map(|region| (to(region), region))
        .collect();
    others.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let runner_up = others.first().map(|(km, region)| (region.region.clone(), *km));
    if let Some((region, km)) = &runner_up {
        ensure!(
            *km > chosen_km - SAME_PLACE_KM,
            "sent to {chosen} ({chosen_km:.0} km), but {region} is nearer ({km:.0} km) and had room"
        );
    }
    Ok((chosen_km, runner_up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::claims::Role;
    use crate::wire::session::{Connect, SessionState, SessionView};

    fn region(name: &str, latitude: f64, longitude: f64, free_seats: u32) -> RegionView {
        RegionView { region: name.to_owned(), latitude, longitude, relays: 1, free_seats }
    }

    fn sent_to(region: &str) -> SessionCreated {
        SessionCreated {
            session: SessionView {
                id: "s".to_owned(),
                created_at: 0,
                epoch: 1,
                region: region.to_owned(),
                relay: String::new(),
                state: SessionState::Leased,
            },
            join_link: String::new(),
            join_key: String::new(),
            host_token: String::new(),
            connect: Connect {
                url: String::new(),
                token: String::new(),
                expires_at: 0,
                participant: String::new(),
                role: Role::Host,
            },
            ranking: Vec::new(),
        }
    }

    #[test]
    fn a_farther_region_is_wrong_only_while_a_nearer_one_has_room() {
        let all = |tokyo| vec![region("tokyo", 35.7, 139.7, tokyo), region("dublin", 53.4, -6.3, 5)];
        let seoul = GeoPoint { latitude: 37.6, longitude: 127.0 };
        let judged = |chosen: &str, before, after| judge(seoul, &sent_to(chosen), &all(before), &all(after));
        let (km, runner_up) = judged("tokyo", 5, 5).expect("right");
        assert!((km - 1_155.0).abs() < 20.0, "{km}");
        assert_eq!(runner_up.map(|(region, _)| region).as_deref(), Some("dublin"));
        let wrong = judged("dublin", 5, 5).expect_err("tokyo is nearer").to_string();
        assert!(wrong.contains("tokyo is nearer"), "{wrong}");
        assert!(judged("dublin", 0, 5).is_ok() && judged("dublin", 5, 0).is_ok());
        assert!(judged("nowhere", 5, 5).is_err());
    }
}
