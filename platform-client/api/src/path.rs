//! Names in paths. A text that can't be the name of anything names nothing: that is a 404 with the
//! sentence of the thing that was looked for, not a lesson about names.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use platform_core::{AppName, Email, EventId, InstanceName, PlanName, PlatformName, PoolName, ServiceName, TeamName};

use crate::respond::Failure;

/// The path's names, in order.
pub(crate) struct Path<T>(pub(crate) T);

/// One name of a path.
pub(crate) trait Segment: Sized {
    /// Reads it, or says that there is no such thing.
    fn read(raw: &str) -> Result<Self, Failure>;
}

macro_rules! segments {
    ($($name:ident: $raw:ident => $unknown:expr),* $(,)?) => {$(
        impl Segment for $name {
            fn read($raw: &str) -> Result<Self, Failure> {
                $raw.parse().map_err(|_| Failure::NotFound($unknown))
            }
        }
    )*};
}

segments! {
    AppName: raw => format!("App {raw} not found."),
    Email: _raw => "user not found".to_owned(),
    InstanceName: _raw => "service instance not found".to_owned(),
    PlanName: _raw => "plan not found".to_owned(),
    PlatformName: _raw => "Platform doesn't exist.".to_owned(),
    PoolName: _raw => "Pool does not exist.".to_owned(),
    ServiceName: _raw => "Service not found.".to_owned(),
    TeamName: raw => format!("Team \"{raw}\" not found."),
}

impl Segment for EventId {
    fn read(raw: &str) -> Result<Self, Failure> {
        Ok(raw.parse()?)
    }
}

impl Segment for String {
    fn read(raw: &str) -> Result<Self, Failure> {
        Ok(raw.to_owned())
    }
}

/// The names of one path.
pub(crate) trait Segments: Sized {
    /// Reads them in order.
    fn read(raw: &[&str]) -> Result<Self, Failure>;
}

impl<A: Segment> Segments for A {
    fn read(raw: &[&str]) -> Result<Self, Failure> {
        let [a] = raw else { return Err(misrouted()) };
        A::read(a)
    }
}

impl<A: Segment, B: Segment> Segments for (A, B) {
    fn read(raw: &[&str]) -> Result<Self, Failure> {
        let [a, b] = raw else { return Err(misrouted()) };
        Ok((A::read(a)?, B::read(b)?))
    }
}

impl<A: Segment, B: Segment, C: Segment> Segments for (A, B, C) {
    fn read(raw: &[&str]) -> Result<Self, Failure> {
        let [a, b, c] = raw else { return Err(misrouted()) };
        Ok((A::read(a)?, B::read(b)?, C::read(c)?))
    }
}

/// A handler wants more or fewer names than its route has: a mistake of ours, answered like any unknown path.
fn misrouted() -> Failure {
    Failure::NotFound("404 page not found".to_owned())
}

impl<S: Send + Sync, T: Segments> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let unreadable = |_| Failure::bad("the path is not text: its %-encoded bytes are not UTF-8");
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(unreadable)?;
        let raw: Vec<&str> = params.iter().map(|(_, value)| value).collect();
        T::read(&raw).map(Self)
    }
}
