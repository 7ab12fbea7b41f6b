//! The `engine` port in memory, and its contract.
