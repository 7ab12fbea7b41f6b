//! The whole story, from outside, on real parts.
