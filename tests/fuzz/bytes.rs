//! The parsers of bytes that are no JSON: frames of WebSocket and of the client's tunnel, replies of Redis, links, PEM.

use std::path::PathBuf;
use std::sync::LazyLock;

use convene::decide::invite::Invite;
use convene::decide::mux::{Decoder, Frame, MAX_STREAMS, Mux, Side};
use convene::decide::token::SigningKey;
use convene::process::metrics::Catalogue;
use convene::process::tls;
use convene::wire::tunnel::{FromGuest, FromHost, Resume};

use crate::{codec, websocket};

/// Largest message of the relay in these tests, in bytes.
const MOST: usize = 4096;
/// Bytes that a relay lets wait for one member.
const QUEUE: usize = 256 * 1024;

/// The first byte says in how large pieces the rest arrives: that must make no difference.
pub(crate) fn websocket(data: &[u8]) -> bool {
    let Some((step, data)) = data.split_first() else { return false };
    let whole = items(data, data.len());
    assert_eq!(items(data, usize::from(*step)), whole, "in pieces");
    let (items, fault) = whole;
    for item in &items {
        if let websocket::Item::Message(message) = item {
            assert!(message.payload().len() <= MOST);
            assert!(!message.is_text() || std::str::from_utf8(message.payload()).is_ok());
        }
    }
    fault.is_none() && !items.is_empty()
}

fn items(data: &[u8], step: usize) -> (Vec<websocket::Item>, Option<websocket::Fault>) {
    let (mut decoder, mut items) = (websocket::Decoder::new(MOST), Vec::new());
    for mut piece in data.chunks(step.max(1)) {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(fault) => return (items, Some(fault)),
            }
        }
        assert!(piece.is_empty(), "nothing is left over");
    }
    (items, None)
}

/// What one end of a tunnel hears inside TLS; the first byte says which end.
pub(crate) fn tunnel(data: &[u8]) -> bool {
    let Some((end, data)) = data.split_first() else { return false };
    let mut mux = Mux::new(if end % 2 == 0 { Side::Host } else { Side::Guest });
    mux.open();
    let resume = Resume { highest: 1, streams: vec![(1, 0)] };
    mux.attach(&resume, QUEUE).expect("a new tunnel");
    let (mut decoder, mut again) = (Decoder::default(), Vec::new());
    decoder.push(data);
    let mut heard = 0;
    loop {
        let (frame, size) = match decoder.next_frame() {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(_) => return false,
        };
        assert_eq!(frame.encode(&mut again), size, "written again as it was");
        if let Frame::Data { stream, .. } = &frame
            && heard % 2 == 0
        {
            mux.next(*stream, 1000);
            mux.took(*stream, 1000);
        }
        if mux.hear(frame, size).is_err() {
            return false;
        }
        assert!(mux.streams() <= MAX_STREAMS);
        mux.fill(&mut Vec::new(), 1000);
        heard += 1;
    }
    assert!(data.starts_with(&again));
    // Whatever was heard, it can say how far it came and go on from there.
    let resume = mux.resume();
    mux.attach(&Resume { streams: Vec::new(), ..resume }, QUEUE).expect("whoever forgot all is not believed, but fits");
    heard > 0
}

/// A guest's words; how far it says to have come is heard by a host that has sent nothing.
pub(crate) fn from_guest(data: &[u8]) -> bool {
    if let Ok(FromGuest::Hello { resume, .. }) = serde_json::from_slice(data) {
        let _ = Mux::new(Side::Host).attach(&resume, QUEUE);
    }
    super::same_value::<FromGuest>(data)
}

/// A host's words; how far it says to have come is heard by a guest with one stream.
pub(crate) fn from_host(data: &[u8]) -> bool {
    if let Ok(FromHost::Admitted { resume, .. }) = serde_json::from_slice(data) {
        let mut guest = Mux::new(Side::Guest);
        guest.open();
        guest.push(1, b"hello");
        if guest.attach(&resume, QUEUE).is_ok() {
            guest.fill(&mut Vec::new(), 1000);
        }
    }
    super::same_value::<FromHost>(data)
}

/// A join link, as somebody typed it.
pub(crate) fn invite(data: &[u8]) -> bool {
    let Ok(invite) = Invite::parse(&String::from_utf8_lossy(data)) else { return false };
    let bare = format!("{}/j/{}", invite.lobby, invite.session);
    assert_eq!(Invite::parse(&Invite::link(&bare, &invite.pin, &invite.secret)), Ok(invite), "written again");
    true
}

/// A reply of Redis, read as each of what the lobby asks for; or an order as it waits there.
pub(crate) fn redis_reply(data: &[u8]) -> bool {
    let order = codec::order(data).is_ok();
    let Ok(value) = redis::parse_redis_value(data) else { return order };
    let reply = || codec::Reply::new(value.clone());
    let session = reply().and_then(|reply| codec::session("s".to_owned(), reply)).is_ok();
    let sessions = reply().and_then(codec::sessions).is_ok_and(|sessions| !sessions.is_empty());
    let run = reply().and_then(codec::run).is_ok();
    let guest = reply().and_then(codec::guest).is_ok();
    let seen = reply().and_then(|reply| codec::seen("s", reply)).is_ok();
    order || session || sessions || run || guest || seen
}

/// A private key in PEM, for signing tokens.
pub(crate) fn signing_key(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| SigningKey::from_pem(text).is_ok())
}

static FILE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tls.pem");
    (folder, file)
});
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
static METRICS: LazyLock<tls::Metrics> = LazyLock::new(|| tls::Metrics::new(&mut Catalogue::new()));

/// Certificates and a key in PEM, in one file: as those of a port, and as the authorities that a client trusts.
pub(crate) fn certificate(data: &[u8]) -> bool {
    let file = &FILE.1;
    std::fs::write(file, data).expect("written");
    let args = tls::Args { tls_cert: Some(file.clone()), tls_key: Some(file.clone()) };
    let served = RUNTIME.block_on(tls::Tls::load(&args, METRICS.clone())).is_ok();
    let trusted = RUNTIME.block_on(tls::client(file)).is_ok();
    assert!(!served || trusted, "whoever serves it has a certificate that can be trusted");
    served
}
