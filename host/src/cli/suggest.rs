//! "Did you mean": the closest of the names that exist.

/// The one of `known` that `typed` was probably meant to be, if any is close.
pub(crate) fn closest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&typed, &name.to_ascii_lowercase()), name))
        .min()
        // A third of the letters may be wrong: more, and any name resembles any other.
        .filter(|(distance, _)| *distance <= typed.len().max(3) / 3)
        .map(|(_, name)| name)
}

/// Edit distance: how many letters must be added, removed or replaced.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (slot, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *slot;
            left = replaced.min(left + 1).min(*slot + 1);
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_right() {
        for (from, to, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), expected, "{from} → {to}");
        }
    }

    #[test]
    fn only_a_close_name_is_suggested() {
        let known = ["calculator", "text"];
        assert_eq!(closest("calcualtor", known), Some("calculator"));
        assert_eq!(closest("Text", known), Some("text"));
        assert_eq!(closest("weather", known), None);
    }
}
