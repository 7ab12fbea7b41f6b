//! The `brokers` port in memory, and its contract.
