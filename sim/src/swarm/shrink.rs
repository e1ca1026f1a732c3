//! A smaller schedule that fails too: delta debugging (Zeller and Hildebrandt 2002).

/// Runs that are tried, at most.
const RUNS_MAX: usize = 400;

/// A part of these places with which `fails` still says so, from which no single place can be taken
/// away unless the tries were used up. `fails` is asked of parts alone.
pub(super) fn smallest(places: &[usize], fails: &mut dyn FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept = places.to_vec();
    let (mut parts, mut runs) = (2, 0);
    if fails(&[]) {
        return Vec::new();
    }
    while kept.len() >= 2 {
        let size = kept.len().div_ceil(parts);
        let without = |index: usize| -> Vec<usize> {
            let cut = index * size..((index + 1) * size).min(kept.len());
            let outside = kept.iter().enumerate().filter(|(place, _)| !cut.contains(place));
            outside.map(|(_, fault)| *fault).collect()
        };
        let candidates: Vec<Vec<usize>> =
            (0..kept.len().div_ceil(size)).map(without).filter(|one| !one.is_empty()).collect();
        let smaller = candidates.into_iter().find(|candidate| {
            runs += 1;
            runs <= RUNS_MAX && fails(candidate)
        });
        match smaller {
            Some(smaller) => {
                kept = smaller;
                parts = (parts - 1).max(2);
            }
            None if parts >= kept.len() || runs > RUNS_MAX => break,
            None => parts = (2 * parts).min(kept.len()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_stays_and_nothing_else() {
        let places: Vec<usize> = (0..20).collect();
        for needed in [vec![], vec![7], vec![0, 19], vec![3, 4, 5, 17]] {
            let mut fails = |kept: &[usize]| needed.iter().all(|place| kept.contains(place));
            assert_eq!(smallest(&places, &mut fails), needed);
        }
    }
}
