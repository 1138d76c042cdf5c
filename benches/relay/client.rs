//! A thin WebSocket client: the load must cost far less than what it measures.
//!
//! Its masks are zero, which RFC 6455 allows to a test. It answers no pings: no connection lasts as long as any
//! server's patience.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, TcpStream};

use crate::server::Ticket;

/// Bytes that are read at a time.
const READ: usize = 64 * 1024;
/// Longest answer to a handshake, in bytes.
const ANSWER: usize = 4096;

/// Connects from one of many loopback addresses, since servers count connections by address.
pub(crate) async fn connect(target: SocketAddr, number: usize, ticket: &Ticket) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let last = u8::try_from(2 + number % 32)?;
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    let mut stream = socket.connect(target).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let Ticket { path, token, greeting } = ticket;
    let token = token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{token}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // A byte at a time would be slow, and more might take frames that follow: peek.
    while !answer.ends_with(b"\r\n\r\n") {
        let mut peeked = [0; 1024];
        let bytes = stream.peek(&mut peeked).await?;
        ensure!(bytes > 0 && answer.len() < ANSWER, "no handshake: {}", String::from_utf8_lossy(&answer));
        let seen = &peeked[..bytes];
        let end = seen.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes, |at| at + 4);
        let mut part = vec![0; end];
        stream.read_exact(&mut part).await?;
        answer.extend(part);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101 "), "not let in: {}", String::from_utf8_lossy(&answer));
    if let Some(greeting) = greeting {
        stream.write_all(&frame(greeting.as_bytes())).await?;
        skip(&mut stream).await?;
    }
    Ok(stream)
}

/// Reads one short frame.
async fn skip(stream: &mut TcpStream) -> anyhow::Result<()> {
    let length = match stream.read_u16().await? & 0x7f {
        126 => stream.read_u16().await?,
        short => short,
    };
    stream.read_exact(&mut vec![0; length.into()]).await?;
    Ok(())
}

/// A binary message of a client as one frame.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => frame.push(0x80 | short.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 0x7e);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 0x7f);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Hands each message to `take` until the connection ends.
pub(crate) async fn listen(mut stream: OwnedReadHalf, mut take: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ];
    let mut filled = 0;
    loop {
        let bytes = stream.read(&mut buffer[filled..]).await?;
        ensure!(bytes > 0, "the server has closed a connection");
        filled += bytes;
        let mut start = 0;
        while let Some((opcode, head, length)) = header(&buffer[start..filled]) {
            let end = start + head + length;
            ensure!(head + length <= READ, "a message of {length} bytes");
            if end > filled {
                break;
            }
            ensure!(opcode != 8, "the server has said goodbye: {:?}", &buffer[start + head..end]);
            if opcode < 8 {
                take(&buffer[start + head..end]);
            }
            start = end;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}

/// Opcode, length of the header and of the payload, once they are there. Servers do not mask.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let opcode = bytes.first()? & 0x0f;
    match bytes.get(1)? {
        126 => Some((opcode, 4, u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]).into())),
        127 => {
            let length = bytes.get(2..10)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            Some((opcode, 10, length))
        }
        short => Some((opcode, 2, usize::from(*short))),
    }
}
