//! What the fuzz targets found interesting, once more, and what is near to it: no input may break anything.

use std::{fs, path::Path};

use broker_core::fuzzing::{TARGETS, Target};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn no_input_that_was_found_breaks_anything() {
    for (target, run) in TARGETS {
        corpus(target).iter().for_each(|input| run(input));
    }
}

/// A place in an input, what is done there, and a byte or another place to do it with.
type Change = (Index, u8, u8, Index);

fn changed(mut input: Vec<u8>, changes: &[Change], other: &[u8]) -> Vec<u8> {
    for (place, kind, byte, from) in changes {
        let at = place.index(input.len() + 1);
        match kind % 5 {
            0 => input.insert(at, *byte),
            1 => input.truncate(at),
            2 if at < input.len() => input[at] = *byte,
            3 if at < input.len() => drop(input.remove(at)),
            _ => drop(input.splice(at..at, other[from.index(other.len() + 1)..].iter().copied())),
        }
    }
    input
}

fn try_around_the_corpus(target: &str, run: Target) {
    let inputs = corpus(target);
    let change = (any::<Index>(), any::<u8>(), any::<u8>(), any::<Index>());
    let strategy = (any::<Index>(), any::<Index>(), prop::collection::vec(change, 1..6));
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&strategy, |(one, other, changes)| {
        let (one, other): (&Vec<u8>, &Vec<u8>) = (one.get(&inputs), other.get(&inputs));
        run(&changed(one.clone(), &changes, other));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{target}: {failure}"));
}

#[test]
fn no_input_near_to_those_breaks_anything() {
    for (target, run) in TARGETS {
        try_around_the_corpus(target, run);
    }
}

#[test] // SPEC T-9
fn no_piece_of_syntax_repeated_for_long_breaks_anything() {
    let pieces = ["&", "=", ".", "%", "{\"a\":", "[", "0", "\"", "\\", "parameters.", "\u{0}", "\n---\n"];
    for (_, run) in TARGETS {
        for piece in pieces {
            run(piece.repeat(1 + (1 << 16) / piece.len()).as_bytes());
        }
    }
}
