//! The MySQL broker against real servers, which the tests start: `mariadbd` has to be installed.

mod accounts;
mod conformance;
mod isolation;
mod servers;
mod support;
