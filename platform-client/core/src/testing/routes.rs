//! The `routes` port in memory, and its contract.
