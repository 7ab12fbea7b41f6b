//! What units write (contract 7.9).

use std::{future, sync::Arc};

use axum::extract::State;
use futures::{StreamExt as _, stream as streams};
use platform_core::{AppName, Platform, ports::LogLine};

use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{Answer, Failure},
    stream,
};

/// Lines that are looked through for those of one source or unit.
const SEARCHED: usize = 10_000;

/// `GET /apps/{app}/log`
pub(crate) async fn read(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer {
    let lines = input.text("lines").ok_or_else(|| Failure::bad("Parameter \"lines\" is mandatory."))?;
    let lines: usize =
        lines.parse().map_err(|_| Failure::bad("Parameter \"lines\" must be an integer, and not less than 0."))?;
    let follow = input.flag("follow");
    let filter = Filter::read(&input);
    if !filter.is_needed() {
        let log = platform.logs(&user, &name, lines, follow).await?;
        return Ok(stream::log(name, log, follow));
    }
    if follow {
        // Where the past ends and the present begins is not marked, so the last lines are filtered as they are.
        let log = platform.logs(&user, &name, lines, true).await?;
        return Ok(stream::log(name, log.filter(move |line| future::ready(filter.lets_through(line))), true));
    }
    let log = platform.logs(&user, &name, SEARCHED.max(lines), false).await?;
    let mut found: Vec<_> = log.filter(|line| future::ready(filter.lets_through(line))).collect().await;
    let found = found.split_off(found.len().saturating_sub(lines));
    Ok(stream::log(name, streams::iter(found), false))
}

/// Which lines to show.
struct Filter {
    source: Option<String>,
    inverted: bool,
    units: Vec<String>,
}

impl Filter {
    fn read(input: &Input) -> Self {
        Self { source: input.text("source"), inverted: input.flag("invert-source"), units: input.texts("unit") }
    }

    fn is_needed(&self) -> bool {
        self.source.is_some() || !self.units.is_empty()
    }

    fn lets_through(&self, line: &LogLine) -> bool {
        self.source.as_ref().is_none_or(|source| (line.source == *source) != self.inverted)
            && (self.units.is_empty() || self.units.contains(&line.unit))
    }
}
