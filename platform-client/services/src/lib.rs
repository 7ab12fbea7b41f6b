//! The platform's side of the broker protocol.
