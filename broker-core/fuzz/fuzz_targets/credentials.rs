//! `broker_core::fuzzing::credentials` with whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_core::fuzzing::credentials(data));
