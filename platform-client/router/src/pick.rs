//! Which unit answers: of two chosen at random the one with fewer requests in flight.

use std::sync::Arc;

use crate::table::Target;

/// A unit for a request that `tried` (keys) could not serve. `None` when all were tried.
pub(crate) fn pick<'a>(units: &'a [Arc<Target>], tried: &[u64]) -> Option<&'a Arc<Target>> {
    if tried.is_empty() && !units.iter().any(|unit| unit.is_suspect()) {
        return less_loaded(units.len(), |index| &units[index]);
    }
    let untried: Vec<&Arc<Target>> = units.iter().filter(|unit| !tried.contains(&unit.key)).collect();
    let trusted: Vec<&Arc<Target>> = untried.iter().copied().filter(|unit| !unit.is_suspect()).collect();
    let among = if trusted.is_empty() { untried } else { trusted };
    less_loaded(among.len(), |index| among[index])
}

/// Power of two choices; equals are as likely as each other.
fn less_loaded<'a>(count: usize, unit: impl Fn(usize) -> &'a Arc<Target>) -> Option<&'a Arc<Target>> {
    match count {
        0 => None,
        1 => Some(unit(0)),
        _ => {
            let first = rand::random_range(0..count);
            let second = (first + rand::random_range(1..count)) % count;
            let (first, second) = (unit(first), unit(second));
            Some(if second.load.in_flight() < first.load.in_flight() { second } else { first })
        }
    }
}

#[cfg(test)]
mod tests {
    use platform_core::UnitId;

    use super::*;
    use crate::load::Load;

    fn units(count: u64) -> Vec<Arc<Target>> {
        let target =
            |key| Target::new(key, UnitId(format!("u{key}")), ([127, 0, 0, 1], 1).into(), Arc::new(Load::new()));
        (0..count).map(|key| Arc::new(target(key))).collect()
    }

    fn picks(units: &[Arc<Target>], tried: &[u64]) -> [u32; 3] {
        let mut counts = [0; 3];
        for _ in 0..1000 {
            counts[usize::try_from(pick(units, tried).expect("a unit").key).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn nobody_is_picked_from_none() {
        assert!(pick(&[], &[]).is_none());
        assert!(pick(&units(2), &[0, 1]).is_none());
    }

    #[test] // SPEC R-8
    fn idle_units_take_turns_at_random() {
        let counts = picks(&units(3), &[]);
        assert!(counts.iter().all(|&count| count > 200), "{counts:?}");
    }

    #[test] // SPEC R-8
    fn the_busiest_unit_is_left_alone() {
        let units = units(3);
        let _busy = units[1].load.enter();
        assert_eq!(picks(&units, &[])[1], 0);
    }

    #[test]
    fn units_that_were_tried_or_refused_lately_come_last() {
        let units = units(3);
        assert_eq!(picks(&units, &[0])[0], 0);
        units[1].suspect();
        assert_eq!(picks(&units, &[0]), [0, 0, 1000]);
        assert_eq!(picks(&units, &[0, 2]), [0, 1000, 0], "better than nobody");
    }
}
