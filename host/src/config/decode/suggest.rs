//! "Did you mean".

/// Longest text compared: names are short, and the comparison is quadratic.
const MAX_COMPARED: usize = 64;

/// The candidate that `text` is most likely a misspelling of.
pub(in crate::config) fn closest<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let near = |candidate: &&str| text.chars().count().max(candidate.chars().count()) / 3 + 1;
    candidates
        .into_iter()
        .filter(|candidate| text.len() <= MAX_COMPARED && candidate.len() <= MAX_COMPARED)
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= near(candidate) && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits from one to the other: insert, delete, replace, swap neighbours.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, have) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, want) in to.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut edits = at(&above, j) + usize::from(have != want);
            edits = edits.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && from.get(i - 1) == Some(want) && to.get(j - 1) == Some(have);
            if swapped {
                edits = edits.min(at(&before, j - 1) + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_far_ones_are_not() {
        let keys = ["instances", "config", "command", "start_timeout", "env"];
        for (text, found) in [
            ("instnaces", Some("instances")),
            ("instance", Some("instances")),
            ("comand", Some("command")),
            ("start-timeout", Some("start_timeout")),
            ("enf", Some("env")),
            ("zzz", None),
            ("", None),
            ("replicas", None),
        ] {
            assert_eq!(closest(text, keys), found, "{text}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(closest(&"x".repeat(1 << 20), keys), None);
    }
}
