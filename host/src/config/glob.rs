//! Patterns for paths and names: `*` and `?` within a segment, `**` for any number of segments.

use std::fmt;
use std::str::FromStr;

/// A pattern. `a/**` matches everything below `a` and `a` itself; `*.rs` matches one segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(String);

/// Longest pattern taken.
pub(super) const MAX_GLOB: usize = 512;

impl Glob {
    /// Whether the whole of `text` matches; `/` separates segments.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text): (Vec<&str>, Vec<&str>) =
            (self.0.split('/').collect(), text.split('/').collect());
        wild(
            &pattern,
            &text,
            |segment| *segment == "**",
            |segment, name| {
                let (segment, name): (Vec<char>, Vec<char>) =
                    (segment.chars().collect(), name.chars().collect());
                wild(&segment, &name, |c| *c == '*', |want, have| *want == '?' || want == have)
            },
        )
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The leading segments without wildcards, and the rest: the folder to walk, and what to match below it.
    pub(crate) fn split_base(&self) -> (String, Option<Self>) {
        let segments: Vec<&str> = self.0.split('/').collect();
        let plain = segments.iter().take_while(|segment| !segment.contains(['*', '?'])).count();
        let (base, rest) = segments.split_at_checked(plain).unwrap_or((&segments, &[]));
        (base.join("/"), (!rest.is_empty()).then(|| Self(rest.join("/"))))
    }
}

/// Matches with a wildcard for any run. Remembers only the last wildcard, so it takes at most the product of
/// both lengths.
fn wild<P, T>(pattern: &[P], text: &[T], any: impl Fn(&P) -> bool, one: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(have) = text.get(t) {
        match pattern.get(p) {
            Some(want) if any(want) => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(want) if one(want, have) => (p, t) = (p + 1, t + 1),
            _ => match &mut retry {
                Some((after, taken)) => {
                    *taken += 1;
                    (p, t) = (*after, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(any)
}

impl FromStr for Glob {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("an empty pattern matches nothing"),
            _ if text.len() > MAX_GLOB => Err("the pattern is too long"),
            _ if text.split('/').any(|segment| segment.contains("**") && segment != "**") => {
                Err("** stands for whole segments, as in src/**/*.rs")
            }
            _ => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stay_in_their_segments() {
        for (pattern, yes, no) in [
            ("*.rs", vec!["a.rs", ".rs"], vec!["a/b.rs", "a.rsx"]),
            ("src/**", vec!["src/a", "src/a/b.rs", "src"], vec!["srcs/a"]),
            ("**/*.py", vec!["a.py", "a/b/c.py"], vec!["a/b.pyc"]),
            ("a/**/b/*.c", vec!["a/b/x.c", "a/x/b/y/b/z.c"], vec!["a/x.c"]),
            ("te?t-*", vec!["test-", "text-2"], vec!["tet-1"]),
            ("*a*b*", vec!["xaybz", "ab", "aab"], vec!["ba"]),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            for text in yes {
                assert!(glob.matches(text), "{pattern} should match {text}");
            }
            for text in no {
                assert!(!glob.matches(text), "{pattern} should not match {text}");
            }
        }
        assert!("a**".parse::<Glob>().is_err());
        assert!("".parse::<Glob>().is_err());
    }

    #[test]
    fn the_base_is_what_has_no_wildcard() {
        let split = |text: &str| {
            let (base, rest) = text.parse::<Glob>().unwrap().split_base();
            (base, rest.map(|glob| glob.0))
        };
        assert_eq!(split("../sdk/src/**/*.rs"), ("../sdk/src".into(), Some("**/*.rs".into())));
        assert_eq!(split("main.py"), ("main.py".into(), None));
        assert_eq!(split("*.py"), (String::new(), Some("*.py".into())));
    }
}
