//! The demo: hosts and guests in cities of the world create and join sessions and check that each byte arrives.
//!
//! It is a client like any other: all that it knows comes from the lobby's public API. It judges placement by the regions
//! that it sees there, before and after, and the latency model.

use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::decide::geo::{distance_km, round_trip_ms};
use crate::decide::regions::{self, CloudRegion};
use crate::wire::regions::RegionView;
use crate::wire::session::{ClientPlace, GeoPoint, RankedPool, SessionCreated};
use cities::{CITIES, City};
use client::LobbyApi;
use report::Row;

mod cities;
mod client;
mod exchange;
mod report;

/// Sessions that are played at once.
const AT_ONCE: usize = 3;
/// Pools whose estimates differ by no more count as equally near, in milliseconds: the lobby rounds to a tenth.
const SAME_MS: f64 = 0.2;

/// Arguments of `convene demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Base URL of the lobby.
    #[arg(long, env = "CONVENE_LOBBY_URL")]
    pub lobby: String,
    /// Messages that each participant sends.
    #[arg(long, default_value_t = 200)]
    pub messages: u32,
    /// Regions that were declared, separated by commas: all must serve before it begins, and no session may go past a
    /// nearer one of them. By default those that the lobby names when it first answers.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub regions: Vec<String>,
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
    let declared = lobby.regions_once_serving(&args.regions).await?;
    let sessions = CITIES.iter().enumerate().map(|(index, host)| {
        let guest = &CITIES[(index + CITIES.len() / 2) % CITIES.len()];
        let (lobby, declared) = (&lobby, &declared);
        async move {
            let row = session(lobby, declared, index, (*host, *guest), args.messages).await;
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

/// One session from its creation to its end, between a host and a guest.
async fn session(
    lobby: &LobbyApi,
    declared: &[RegionView],
    index: usize,
    (host, guest): (City, City),
    messages: u32,
) -> anyhow::Result<Row> {
    let before = lobby.regions().await?;
    let (place, from) = place(index, host);
    let created = lobby.create(place).await?;
    let after = lobby.regions().await?;
    let played = async {
        let (chosen, runner_up) = judge(from, &created, declared, [&before, &after])?;
        let join_key = created.join_key.as_deref().context("the lobby gave no join key")?;
        let joined = lobby.join(&created.session.id, join_key).await?;
        ensure!(joined.connect.url == created.connect.url, "host and guest were sent to different relays");
        let mut host_socket = client::connect(&created.connect).await.context("host")?;
        let mut guest_socket = client::connect(&joined.connect).await.context("guest")?;
        let seed = index as u64 + 1;
        let exchanged = exchange::exchange(&mut host_socket, &mut guest_socket, seed, messages).await?;
        anyhow::Ok((chosen, runner_up, exchanged, host_socket, guest_socket))
    };
    let played = played.await;
    // Also after a failure: a demo leaves no session behind.
    let closed = lobby.close(&created.session.id, &created.host_token).await;
    let (chosen, runner_up, mut exchanged, mut host_socket, mut guest_socket) = played?;
    closed?;
    tokio::try_join!(exchange::closed(&mut host_socket), exchange::closed(&mut guest_socket))?;
    Ok(Row {
        city: host.name,
        guest: guest.name,
        session: created.session.id,
        region: created.session.region,
        rung: chosen.rung,
        estimate_ms: chosen.estimate_ms,
        runner_up,
        messages: exchanged.messages,
        bytes: exchanged.bytes,
        p50: report::percentile(&mut exchanged.round_trips, 50),
        p99: report::percentile(&mut exchanged.round_trips, 99),
    })
}

/// What a host says of where it is, and where the lobby then knows it to be: two in three tell their coordinates, each third
/// names the region of a cloud that is nearest to it.
fn place(index: usize, host: City) -> (ClientPlace, GeoPoint) {
    let at = |region: &CloudRegion| GeoPoint { latitude: region.latitude, longitude: region.longitude };
    let km = |region: &&CloudRegion| distance_km(host.point, at(region));
    let nearest = regions::all().iter().min_by(|a, b| km(a).total_cmp(&km(b)));
    match nearest.filter(|_| index % 3 == 2) {
        Some(region) => (ClientPlace { region: Some(region.name.to_owned()), ..ClientPlace::default() }, at(region)),
        None => (ClientPlace { location: Some(host.point), ..ClientPlace::default() }, host.point),
    }
}

/// The next best region, and how many milliseconds the lobby thinks it away.
type RunnerUp = Option<(String, Option<f64>)>;

/// What the lobby says of the chosen region, and the next best declared one that could have taken the session with what the
/// lobby thinks of its distance; an error if one with a shorter estimated round trip could, or was away. Other sessions come
/// and go meanwhile, so a region counts as having had room only if it had it before and after.
fn judge(
    from: GeoPoint,
    created: &SessionCreated,
    declared: &[RegionView],
    seen: [&[RegionView]; 2],
) -> anyhow::Result<(RankedPool, RunnerUp)> {
    let point = |region: &RegionView| GeoPoint { latitude: region.latitude, longitude: region.longitude };
    let ms = |region: &RegionView| round_trip_ms(from, point(region));
    let at = |seen: &[RegionView], name: &str| seen.iter().find(|region| region.region == name).cloned();
    let chosen = &created.session.region;
    let chosen_region = declared.iter().find(|region| region.region == *chosen);
    let chosen_region =
        chosen_region.with_context(|| format!("sent to {chosen}, which is not a region that was declared"))?;
    let chosen_ms = ms(chosen_region);
    let mut runner_up: Option<&RegionView> = None;
    for region in declared.iter().filter(|region| region.region != *chosen) {
        let (name, region_ms) = (&region.region, ms(region));
        let nearer = region_ms < chosen_ms - SAME_MS;
        let views = seen.map(|seen| at(seen, name).filter(|region| region.relays > 0));
        let [Some(before), Some(after)] = views else {
            ensure!(
                !nearer,
                "sent to {chosen} ({chosen_ms:.0} ms), but {name} is nearer ({region_ms:.0} ms) and did not serve"
            );
            continue;
        };
        if before.free_seats == 0 || after.free_seats == 0 {
            continue;
        }
        ensure!(!nearer, "sent to {chosen} ({chosen_ms:.0} ms), but {name} is nearer ({region_ms:.0} ms) and had room");
        if runner_up.is_none_or(|best| region_ms < ms(best)) {
            runner_up = Some(region);
        }
    }
    let told = |region: &str| created.ranking.iter().find(|ranked| ranked.region == region);
    let runner_up = runner_up.map(|region| (region.region.clone(), told(&region.region).and_then(|of| of.estimate_ms)));
    let chosen =
        told(chosen).with_context(|| format!("sent to {chosen}, of which the answer's ranking says nothing"))?;
    Ok((chosen.clone(), runner_up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::claims::Role;
    use crate::wire::session::{Connect, Rung, SessionState, SessionView};

    fn region(name: &str, latitude: f64, longitude: f64, free_seats: u32) -> RegionView {
        RegionView { region: name.to_owned(), latitude, longitude, relays: 1, free_seats, probes: Vec::new() }
    }

    /// A farther region that has room, behind a nearer one with these relays and seats.
    fn near_and_far(relays: u32, free_seats: u32) -> Vec<RegionView> {
        vec![RegionView { relays, ..region("tokyo", 35.7, 139.7, free_seats) }, region("dublin", 53.4, -6.3, 5)]
    }

    fn ranked(region: &str) -> RankedPool {
        RankedPool {
            pool: region.to_owned(),
            region: region.to_owned(),
            rung: Rung::Coordinates,
            estimate_ms: Some(if region == "tokyo" { 30.0 } else { 230.0 }),
            distance_km: None,
            free_seats: 5,
            load: 0.0,
            score: None,
            reason: String::new(),
        }
    }

    fn sent_to(region: &str) -> SessionCreated {
        SessionCreated {
            session: SessionView {
                id: "s".to_owned(),
                name: None,
                created_at: 0,
                epoch: 1,
                approval: false,
                region: region.to_owned(),
                relay: String::new(),
                state: SessionState::Leased,
            },
            join_link: String::new(),
            join_key: None,
            host_token: String::new(),
            connect: Connect {
                url: String::new(),
                token: String::new(),
                expires_at: 0,
                participant: String::new(),
                role: Role::Host,
            },
            ranking: near_and_far(1, 5).into_iter().map(|of| ranked(&of.region)).collect(),
        }
    }

    #[test]
    fn a_farther_region_is_wrong_only_while_a_nearer_one_has_room() {
        let seoul = GeoPoint { latitude: 37.6, longitude: 127.0 };
        let judged = |chosen: &str, before, after| {
            let seen: [&[RegionView]; 2] = [&near_and_far(1, before), &near_and_far(1, after)];
            judge(seoul, &sent_to(chosen), &near_and_far(1, 5), seen)
        };
        let (chosen, runner_up) = judged("tokyo", 5, 5).expect("right");
        assert_eq!((chosen.rung, chosen.estimate_ms), (Rung::Coordinates, Some(30.0)));
        assert_eq!(runner_up, Some(("dublin".to_owned(), Some(230.0))));
        let wrong = judged("dublin", 5, 5).expect_err("tokyo is nearer").to_string();
        assert!(wrong.contains("tokyo is nearer") && wrong.ends_with("and had room"), "{wrong}");
        assert!(judged("dublin", 0, 5).is_ok() && judged("dublin", 5, 0).is_ok());
        assert!(judged("nowhere", 5, 5).is_err());
    }

    #[test]
    fn a_declared_region_that_is_away_excuses_nothing_but_matters_only_where_it_is_nearer() {
        let declared = near_and_far(1, 5);
        let (whole, away) = (near_and_far(1, 5), near_and_far(0, 0));
        let unnamed: Vec<RegionView> = declared.iter().filter(|region| region.region != "tokyo").cloned().collect();
        let judged = |from: (f64, f64), before: &[RegionView], after: &[RegionView]| {
            let from = GeoPoint { latitude: from.0, longitude: from.1 };
            judge(from, &sent_to("dublin"), &declared, [before, after]).map_err(|error| error.to_string())
        };
        let (seoul, london) = ((37.6, 127.0), (51.5, -0.1));
        for (before, after) in [(&away, &away), (&away, &whole), (&whole, &away), (&unnamed, &unnamed)] {
            let wrong = judged(seoul, before, after).expect_err("tokyo was declared");
            assert!(wrong.contains("tokyo is nearer") && wrong.ends_with("and did not serve"), "{wrong}");
            assert_eq!(judged(london, before, after).expect("dublin is nearer").1, None);
        }
    }
}
