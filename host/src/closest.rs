//! "Did you mean": the known name nearest to one that is unknown.

/// Least similarity (0 to 1, Jaro-Winkler) at which a name is worth suggesting.
const SIMILAR: f64 = 0.75;

/// The one of `known` that `name` was most likely meant to be.
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name from outside may be of any length; the measure is quadratic.
    if name.len() > 512 {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (similarity(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn similarity(name: &str, candidate: &str) -> f64 {
    // Of short names one slip leaves too little that Jaro-Winkler could see.
    match name.len().min(candidate.len()) > 1 && strsim::osa_distance(name, candidate) <= 1 {
        true => 1.0,
        false => strsim::jaro_winkler(name, candidate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_a_near_name_only() {
        let known = ["calculator.v1.CalculatorService", "text.v1.TextService"];
        assert_eq!(closest("calculator.v1.Calculator", known), Some(known[0]));
        assert_eq!(closest("text.v1.textservice", known), Some(known[1]));
        assert_eq!(closest("Zebra", known), None);
        let keys = ["instances", "config", "command", "start_timeout", "env"];
        for (typed, meant) in [
            ("instnaces", Some("instances")),
            ("instance", Some("instances")),
            ("comand", Some("command")),
            ("start-timeout", Some("start_timeout")),
            ("enf", Some("env")),
            ("evn", Some("env")),
            ("zzz", None),
            ("", None),
            ("replicas", None),
        ] {
            assert_eq!(closest(typed, keys), meant, "{typed}");
        }
        assert_eq!(closest(&"t".repeat(1000), known), None);
    }
}
