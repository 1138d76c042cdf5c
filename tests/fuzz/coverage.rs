//! The targets of [`targets`] under libFuzzer, which keeps inputs that reach something new: `make fuzz`.

#![no_main]

use convene::{decide, wire};

#[path = "../../src/lobby/store/redis/codec.rs"]
#[allow(dead_code, reason = "it is used by the lobby")]
mod codec;
#[path = "../../src/relay/credentials.rs"]
#[allow(dead_code, reason = "it is used by the relay")]
mod credentials;
#[path = "../../src/lobby/query.rs"]
mod lobby_query;
#[path = "../../src/router/query.rs"]
mod router_query;
mod targets;
#[path = "../../src/relay/websocket.rs"]
#[allow(dead_code, reason = "it is used by the relay")]
mod websocket;

use std::sync::LazyLock;

/// The one that `CONVENE_FUZZ_TARGET` names.
static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("CONVENE_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.into_iter().find(|(known, _)| *known == name);
    found.expect("CONVENE_FUZZ_TARGET names a folder of tests/fuzz/corpus")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.1)(data);
});
