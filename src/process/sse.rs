//! Server-sent events as they come in pieces: the format of the control ports, read from the other end.

/// Bytes of one event; a longer one ends the stream.
const MAX_EVENT: usize = 1024 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty where it has none.
    pub name: String,
    /// What it says.
    pub data: String,
}

/// An event that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_EVENT} bytes")]
pub struct TooLong;

/// Events of one stream, and what has come of the next.
#[derive(Debug, Default)]
pub struct Events {
    /// A line that has not ended.
    line: Vec<u8>,
    name: String,
    data: String,
}

impl Events {
    /// Takes what has come, and gives the events that it ends.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() + self.data.len() > MAX_EVENT {
                return Err(TooLong);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line);
                events.extend(self.end_line(text.trim_end_matches(['\n', '\r'])));
            }
        }
        Ok(events)
    }

    /// An empty line ends an event; one that says nothing is none.
    fn end_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            return (!data.is_empty()).then_some(Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments begin with a colon; other fields are not for us.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = b": hello\n\nevent: store\ndata: {\"a\":1}\n\nid: 7\r\nevent:demand\r\ndata:x\r\ndata: y\r\n\r\ndata: z\n\nevent: none\n\nevent: cut\ndata: of";
        let expected = [event("store", "{\"a\":1}"), event("demand", "x\ny"), event("", "z")];
        for size in 1..text.len() {
            let mut events = Events::default();
            let read: Vec<Event> =
                text.chunks(size).flat_map(|piece| events.feed(piece).expect("they are short")).collect();
            assert_eq!(read, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut lines = Events::default();
        let line = [b"data: ".as_slice(), &[b'a'; 1000], b"\n"].concat();
        assert!((0..2000).any(|_| lines.feed(&line) == Err(TooLong)), "many lines");
        let mut one = Events::default();
        assert!((0..2000).any(|_| one.feed(&[b'a'; 1000]) == Err(TooLong)), "one line");
        let mut name = Events::default();
        assert_eq!(name.feed(&vec![b'e'; MAX_EVENT + 1]), Err(TooLong));
    }
}
