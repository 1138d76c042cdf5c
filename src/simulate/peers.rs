//! Two autoscalers that people know, with the parameters that their documentation gives. Written from that documentation;
//! docs/scaling.md names it, and says what this leaves out.

use super::world::{Controller, Phase, Relay, World};
use crate::api::scaling::{Buffer, Scaling};

/// The share of free seats where the policy says none, as the operator reads it.
const DEFAULT_PERCENT: i32 = 20;

fn buffer(scaling: &Scaling) -> Buffer {
    scaling.buffer.clone().unwrap_or(Buffer { seats: None, percent: Some(DEFAULT_PERCENT) })
}

fn bounds(scaling: &Scaling) -> (usize, usize) {
    let size = |replicas: i32| usize::try_from(replicas).unwrap_or(0);
    (size(scaling.min_replicas), size(scaling.max_replicas))
}

/// A Deployment under the HorizontalPodAutoscaler: sessions per Pod, averaged, against a target.
#[derive(Debug)]
pub(super) struct Hpa {
    bounds: (usize, usize),
    /// Sessions per Pod that leave as many seats free as the buffer of the policy.
    target: f64,
    replicas: usize,
    /// What it recommended, and when.
    recommended: Vec<(u32, usize)>,
}

impl Hpa {
    /// `--horizontal-pod-autoscaler-sync-period`.
    const SYNC_SECONDS: u32 = 15;
    /// `--horizontal-pod-autoscaler-tolerance`.
    const TOLERANCE: f64 = 0.1;
    /// `behavior.scaleDown.stabilizationWindowSeconds`.
    const DOWN_WINDOW_SECONDS: u32 = 300;
    /// `behavior.scaleUp.policies`: the larger of these within 15 seconds.
    const UP_PODS: usize = 4;
    const UP_TIMES: usize = 2;
    /// How old a metric may be that its adapter still serves.
    const METRIC_SECONDS: u32 = 60;

    pub(super) fn new(scaling: &Scaling, seats: u32) -> Self {
        // A target is a share of one Pod: a number of seats of the whole pool cannot be said in it.
        let percent = buffer(scaling).percent.unwrap_or(DEFAULT_PERCENT);
        let target = (f64::from(seats) * f64::from(100 - percent) / 100.0).max(1.0);
        let bounds = bounds(scaling);
        // What there is when it begins counts as recommended.
        Self { bounds, target, replicas: bounds.0, recommended: vec![(0, bounds.0)] }
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, replicas: usize) {
        self.replicas = replicas;
        self.recommended = vec![(0, replicas)];
    }

    /// What the metrics recommend, before windows and bounds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "few relays"
    )]
    fn recommend(&self, world: &World<'_>) -> usize {
        let metric = |relay: &Relay| {
            relay.report.filter(|(_, at)| world.now - at <= Self::METRIC_SECONDS).map(|(value, _)| value)
        };
        let ready: Vec<&Relay> = world.relays.iter().filter(|relay| relay.phase == Phase::Serving).collect();
        let starting = world.relays.iter().filter(|relay| relay.phase == Phase::Starting).count();
        let mut metrics: Vec<f64> = ready.iter().filter_map(|relay| metric(relay)).collect();
        let missing = ready.len() - metrics.len();
        if metrics.is_empty() {
            return self.replicas;
        }
        let ratio = |metrics: &[f64]| metrics.iter().sum::<f64>() / metrics.len() as f64 / self.target;
        let first = ratio(&metrics);
        // Pods without a metric count against the change: full when it would shrink, empty when it would grow.
        let assumed = if first < 1.0 { self.target } else { 0.0 };
        metrics.extend(std::iter::repeat_n(assumed, missing));
        if first > 1.0 {
            metrics.extend(std::iter::repeat_n(0.0, starting));
        }
        let second = ratio(&metrics);
        let turned = (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0);
        if (second - 1.0).abs() <= Self::TOLERANCE || turned {
            return self.replicas;
        }
        let wanted = (second * metrics.len() as f64).ceil() as usize;
        let against = (second < 1.0 && wanted > self.replicas) || (second > 1.0 && wanted < self.replicas);
        if against { self.replicas } else { wanted }
    }
}

impl Controller for Hpa {
    fn name(&self) -> &'static str {
        "hpa-like"
    }

    fn replicas(&mut self, world: &World<'_>) -> usize {
        if !world.now.is_multiple_of(Self::SYNC_SECONDS) {
            return self.replicas;
        }
        let wanted = self.recommend(world).clamp(self.bounds.0, self.bounds.1);
        self.recommended.retain(|(at, _)| world.now - at < Self::DOWN_WINDOW_SECONDS);
        self.recommended.push((world.now, wanted));
        let highest = self.recommended.iter().map(|(_, replicas)| *replicas).max().unwrap_or(wanted);
        let limit = (self.replicas + Self::UP_PODS).max(self.replicas * Self::UP_TIMES);
        self.replicas = if wanted > self.replicas { wanted.min(limit) } else { self.replicas.min(highest) };
        self.replicas
    }

    /// Pods that are not ready, then the youngest: a ReplicaSet does not know who is busy.
    fn leave(&self, world: &World<'_>, surplus: usize) -> Vec<usize> {
        let mut pods: Vec<usize> = (0..world.relays.len()).filter(|index| !world.relays[*index].leaves()).collect();
        pods.sort_by_key(|index| {
            let relay = &world.relays[*index];
            (relay.phase == Phase::Serving, std::cmp::Reverse((relay.born, relay.ordinal)))
        });
        pods.truncate(surplus);
        pods
    }

    fn may_stay(&self) -> bool {
        false
    }

    fn must_hear(&self) -> bool {
        false
    }
}

/// A Fleet of Agones under a FleetAutoscaler of type Buffer: so many servers ready beyond those in use.
#[derive(Debug)]
pub(super) struct Agones {
    bounds: (usize, usize),
    buffer: Buffer,
    seats: u32,
    replicas: usize,
}

impl Agones {
    /// `sync.fixedInterval.seconds`.
    const SYNC_SECONDS: u32 = 30;

    pub(super) fn new(scaling: &Scaling, seats: u32) -> Self {
        let bounds = bounds(scaling);
        Self { bounds, buffer: buffer(scaling), seats, replicas: bounds.0 }
    }
}

impl Controller for Agones {
    fn name(&self) -> &'static str {
        "agones-buffer-like"
    }

    fn replicas(&mut self, world: &World<'_>) -> usize {
        if world.now.is_multiple_of(Self::SYNC_SECONDS) {
            // A server is allocated while somebody is there. That is in its object, so no report can be lost.
            let allocated = world.relays.iter().filter(|relay| !relay.sessions.is_empty()).count();
            let size = |value: i32| usize::try_from(value).unwrap_or(0);
            let wanted = match self.buffer {
                Buffer { percent: Some(percent), .. } => (allocated * 100).div_ceil(100 - size(percent.clamp(0, 90))),
                Buffer { seats, .. } => allocated + size(seats.unwrap_or(0)).div_ceil(self.seats.max(1) as usize),
            };
            self.replicas = wanted.clamp(self.bounds.0, self.bounds.1);
        }
        self.replicas
    }

    /// Servers that nobody uses. One in use stays until its last session has ended, and takes new ones meanwhile.
    fn leave(&self, world: &World<'_>, surplus: usize) -> Vec<usize> {
        let unused = |relay: &Relay| relay.sessions.is_empty() && !relay.leaves();
        let mut servers: Vec<usize> = (0..world.relays.len()).filter(|index| unused(&world.relays[*index])).collect();
        servers.sort_by_key(|index| {
            let relay = &world.relays[*index];
            (relay.phase == Phase::Serving, std::cmp::Reverse((relay.born, relay.ordinal)))
        });
        servers.truncate(surplus);
        servers
    }

    fn may_stay(&self) -> bool {
        false
    }

    fn must_hear(&self) -> bool {
        false
    }
}
