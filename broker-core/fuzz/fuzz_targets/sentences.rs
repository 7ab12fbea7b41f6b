//! `broker_core::fuzzing::sentences` with whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_core::fuzzing::sentences(data));
