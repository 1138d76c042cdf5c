//! Who is let in, and what the others are told.
