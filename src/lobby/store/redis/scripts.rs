//! The steps of the Redis store: Lua that stands in files of its own, made into scripts with this lobby's limits.

use redis::Script;

use crate::decide::sessions::{
    APPROVED_LIFE, EVERY_EPOCH, LEASE_GRACE, Limits, MAX_GUESTS, MAX_PLACES, MAX_WAITING, ON_THE_WAY, REFUSED_LIFE,
    WAITING_LIFE,
};

const COMMON: &str = include_str!("common.lua");
const GUESTS: &str = include_str!("guests.lua");

/// All steps.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) admit: Script,
    pub(super) ask: Script,
    pub(super) begin: Script,
    pub(super) came: Script,
    pub(super) close: Script,
    pub(super) dial: Script,
    pub(super) ended: Script,
    pub(super) find: Script,
    pub(super) grant: Script,
    pub(super) keep_networks: Script,
    pub(super) keys: Script,
    pub(super) leave: Script,
    pub(super) line: Script,
    pub(super) link_down: Script,
    pub(super) link_up: Script,
    pub(super) load: Script,
    pub(super) look: Script,
    pub(super) meet: Script,
    pub(super) networks: Script,
    pub(super) open_on: Script,
    pub(super) opened: Script,
    pub(super) page: Script,
    pub(super) present: Script,
    pub(super) recall: Script,
    pub(super) rename: Script,
    pub(super) renew: Script,
    pub(super) shift: Script,
    pub(super) sweep: Script,
    pub(super) view: Script,
}

impl Scripts {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { sessions, keys, lease, key_life, answer_life, silent, orphan } = limits;
        let constants = [
            ("LEASE", (*lease + LEASE_GRACE).as_millis()),
            ("GRACE", LEASE_GRACE.as_millis()),
            ("EVERY_EPOCH", u128::from(EVERY_EPOCH)),
            ("SILENT", silent.as_millis()),
            ("ORPHAN", orphan.as_millis()),
            ("KEY_LIFE", key_life.as_millis()),
            ("ANSWER_LIFE", answer_life.as_millis()),
            ("SESSIONS", *sessions as u128),
            ("ANSWERS", *keys as u128),
            ("WAITING_LIFE", WAITING_LIFE.as_millis()),
            ("REFUSED_LIFE", REFUSED_LIFE.as_millis()),
            ("APPROVED_LIFE", APPROVED_LIFE.as_millis()),
            ("MAX_WAITING", MAX_WAITING as u128),
            ("MAX_GUESTS", MAX_GUESTS as u128),
            ("MAX_PLACES", MAX_PLACES as u128),
            ("ON_THE_WAY", u128::from(ON_THE_WAY.unsigned_abs())),
        ];
        let constants = constants.map(|(name, value)| format!("local {name} = {value}\n")).concat();
        let step = |text: &str| Script::new(&format!("{constants}{COMMON}{text}"));
        let of_guests = |text: &str| step(&format!("{GUESTS}{text}"));
        Self {
            admit: of_guests(include_str!("admit.lua")),
            ask: of_guests(include_str!("ask.lua")),
            begin: Script::new(include_str!("begin.lua")),
            came: step(include_str!("came.lua")),
            close: step(include_str!("close.lua")),
            dial: step(include_str!("dial.lua")),
            ended: step(include_str!("ended.lua")),
            find: step(include_str!("find.lua")),
            grant: step(include_str!("grant.lua")),
            keep_networks: step(include_str!("keep_networks.lua")),
            keys: step(include_str!("keys.lua")),
            leave: step(include_str!("leave.lua")),
            line: step(include_str!("line.lua")),
            link_down: step(include_str!("link_down.lua")),
            link_up: step(include_str!("link_up.lua")),
            load: step(include_str!("load.lua")),
            look: of_guests(include_str!("look.lua")),
            meet: step(include_str!("meet.lua")),
            networks: step(include_str!("networks.lua")),
            open_on: step(include_str!("open_on.lua")),
            opened: step(include_str!("opened.lua")),
            page: step(include_str!("page.lua")),
            present: step(include_str!("present.lua")),
            recall: step(include_str!("recall.lua")),
            rename: step(include_str!("rename.lua")),
            renew: step(include_str!("renew.lua")),
            shift: step(include_str!("shift.lua")),
            sweep: step(include_str!("sweep.lua")),
            view: step(include_str!("view.lua")),
        }
    }
}
