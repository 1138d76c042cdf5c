//! What can happen to a store, at random.

use convene::decide::sessions::MAX_PLACES;
use proptest::prelude::*;

use super::{GUESTS, IDS, PODS, PROCESSES};

/// Which session, relay or key is meant is a number, so that steps can be random and shrink.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Grant {
        id: usize,
        pod: usize,
        boot: u8,
        capacity: u32,
        key: Option<(u8, bool)>,
    },
    Shift {
        id: usize,
        from: u64,
        pod: usize,
        boot: u8,
        capacity: u32,
    },
    Renew {
        id: usize,
        epoch: u64,
    },
    Rename {
        id: usize,
        name: u8,
    },
    /// Guests that join one after the other; many at once, so that the bound is met.
    Meet {
        id: usize,
        guests: Vec<usize>,
    },
    Close {
        id: usize,
    },
    LinkUp {
        pod: usize,
        late: bool,
        boot: u8,
        capacity: u32,
        records: Vec<(usize, u64)>,
        open: Vec<usize>,
    },
    LinkDown {
        pod: usize,
        stale: bool,
    },
    Load {
        pod: usize,
        stale: bool,
        stats: (u32, u32, u32, bool, bool),
        holds: Option<u64>,
    },
    Keys {
        pod: usize,
        stale: bool,
        keys: usize,
    },
    Opened {
        pod: usize,
        stale: bool,
        id: usize,
        epoch: u64,
    },
    Ended {
        pod: usize,
        stale: bool,
        id: usize,
        epoch: u64,
    },
    Came {
        pod: usize,
        stale: bool,
        came: Vec<(usize, u64, u32)>,
    },
    Present {
        pod: usize,
        stale: bool,
        present: Vec<(usize, u64, Vec<usize>)>,
    },
    Recall {
        key: (u8, bool),
    },
    Ask {
        id: usize,
        guest: usize,
        named: bool,
    },
    Admit {
        id: usize,
        guest: usize,
        approve: bool,
    },
    Leave {
        pod: usize,
        leave: bool,
    },
    /// How long those have waited, in milliseconds, who wait at a process.
    Line {
        process: usize,
        waited: Vec<u64>,
    },
    Wait {
        ms: u64,
    },
    Sweep,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let (id, pod, boot, epoch, capacity) = (0..IDS, 0..PODS.len(), 0..2_u8, 1..4_u64, 0..5_u32);
    let stale = prop::bool::weighted(0.2);
    let key = (0..3_u8, any::<bool>());
    let stats = (0..5_u32, 0..4_u32, 0..3_u32, prop::bool::weighted(0.15), prop::bool::weighted(0.15));
    let records = prop::collection::vec((id.clone(), epoch.clone()), 0..6);
    prop_oneof![
        8 => (id.clone(), pod.clone(), boot.clone(), capacity.clone(), prop::option::of(key.clone()))
            .prop_map(|(id, pod, boot, capacity, key)| Step::Grant { id, pod, boot, capacity, key }),
        4 => (id.clone(), epoch.clone(), pod.clone(), boot.clone(), capacity.clone())
            .prop_map(|(id, from, pod, boot, capacity)| Step::Shift { id, from, pod, boot, capacity }),
        3 => (id.clone(), epoch.clone()).prop_map(|(id, epoch)| Step::Renew { id, epoch }),
        2 => (id.clone(), any::<u8>()).prop_map(|(id, name)| Step::Rename { id, name }),
        6 => (id.clone(), prop::collection::vec(0..2 * MAX_PLACES, 1..24)).prop_map(|(id, guests)| Step::Meet { id, guests }),
        2 => id.clone().prop_map(|id| Step::Close { id }),
        5 => (pod.clone(), stale, boot, capacity, records, prop::collection::vec(id.clone(), 0..5))
            .prop_map(|(pod, late, boot, capacity, records, open)| {
                Step::LinkUp { pod, late, boot, capacity, records, open }
            }),
        1 => (pod.clone(), stale).prop_map(|(pod, stale)| Step::LinkDown { pod, stale }),
        4 => (pod.clone(), stale, stats, prop::option::weighted(0.9, 0..6_u64))
            .prop_map(|(pod, stale, stats, holds)| Step::Load { pod, stale, stats, holds }),
        2 => (pod.clone(), stale, 0..3_usize).prop_map(|(pod, stale, keys)| Step::Keys { pod, stale, keys }),
        5 => (pod.clone(), stale, id.clone(), epoch.clone())
            .prop_map(|(pod, stale, id, epoch)| Step::Opened { pod, stale, id, epoch }),
        3 => (pod.clone(), stale, prop::collection::vec((id.clone(), epoch.clone(), 0..9_u32), 0..4))
            .prop_map(|(pod, stale, came)| Step::Came { pod, stale, came }),
        6 => (pod.clone(), stale, prop::collection::vec((id.clone(), epoch.clone(), prop::collection::vec(0..2 * MAX_PLACES, 0..30)), 0..6))
            .prop_map(|(pod, stale, present)| Step::Present { pod, stale, present }),
        3 => (pod, stale, id, epoch).prop_map(|(pod, stale, id, epoch)| Step::Ended { pod, stale, id, epoch }),
        1 => key.prop_map(|key| Step::Recall { key }),
        3 => (0..IDS, 0..GUESTS, any::<bool>()).prop_map(|(id, guest, named)| Step::Ask { id, guest, named }),
        3 => (0..PROCESSES, prop::collection::vec(0..3_000_u64, 0..4)).prop_map(|(process, waited)| Step::Line { process, waited }),
        2 => (0..IDS, 0..GUESTS, any::<bool>()).prop_map(|(id, guest, approve)| Step::Admit { id, guest, approve }),
        3 => (0..PODS.len(), any::<bool>()).prop_map(|(pod, leave)| Step::Leave { pod, leave }),
        3 => prop_oneof![1..2_000_u64, 1..40_000_u64, 1..700_000_u64, 1..90_000_000_u64].prop_map(|ms| Step::Wait { ms }),
        2 => Just(Step::Sweep),
    ]
}
