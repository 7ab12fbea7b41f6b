//! The platform daemon.
