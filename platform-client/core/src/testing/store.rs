//! The `store` port in memory, and its contract.
