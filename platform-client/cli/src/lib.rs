//! The tsuru command line.
