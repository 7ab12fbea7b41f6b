//! A service broker that hands out Redis.
