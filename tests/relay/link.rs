//! The relay link and the event stream.
