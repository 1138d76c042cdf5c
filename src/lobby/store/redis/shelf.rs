//! What clients have measured, in Redis: a hash of texts by network, and an index of them by the number of the change.

use async_trait::async_trait;

use super::Redis;
use super::codec::{Garbled, Reply};
use super::connection::garbled;
use crate::decide::networks::{Kept, LIFE, MAX_NETWORKS};
use crate::lobby::store::Away;
use crate::lobby::store::shelf::{Changed, Shelf, Wrote};
use crate::process::secret;

fn kept(reply: &mut Reply) -> Result<Kept, Garbled> {
    let network = reply.text()?.parse().map_err(|_| Garbled)?;
    Ok(Kept { network, number: reply.number()?, text: reply.text()? })
}

fn changed(reply: &mut Reply) -> Result<Changed, Garbled> {
    let (shelf, last) = (reply.text()?, reply.number()?);
    let networks = reply.list()?.lists().map(|one| kept(&mut one?)).collect::<Result<_, _>>()?;
    Ok(Changed { shelf, last, networks })
}

fn wrote(reply: &mut Reply) -> Result<Wrote, Garbled> {
    match reply.text()?.as_str() {
        "under" => Ok(Wrote::Under(reply.number()?)),
        "other" => Ok(Wrote::Other(kept(reply)?)),
        _ => Err(Garbled),
    }
}

#[async_trait]
impl Shelf for Redis {
    async fn changed(&self, after: u64, limit: usize) -> Result<Changed, Away> {
        let step = self.connection.step(&self.scripts.networks, |call| {
            call.arg(after).arg(limit);
        });
        let (_, mut reply) = step.await?;
        changed(&mut reply).map_err(garbled)
    }

    async fn keep(&self, all: &[Kept]) -> Result<Vec<Wrote>, Away> {
        let step = self.connection.step(&self.scripts.keep_networks, |call| {
            let life = u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX);
            call.arg(MAX_NETWORKS).arg(life).arg(secret::random_id());
            for Kept { network, number, text } in all {
                call.arg(network.to_string()).arg(number).arg(text);
            }
        });
        let (_, mut reply) = step.await?;
        let all = reply.list().and_then(|list| list.lists().map(|one| wrote(&mut one?)).collect());
        all.map_err(garbled)
    }
}
