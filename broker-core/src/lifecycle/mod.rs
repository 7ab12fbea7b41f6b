//! The heart: what was begun is finished, whatever happens in between.

pub(crate) mod records;
pub(crate) mod states;
