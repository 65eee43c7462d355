//! What a plain scalar means: the core schema of YAML 1.2, so `no` and `on` are texts.

/// What the text of a scalar stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) enum Scalar {
    Null,
    Bool(bool),
    /// Saturates, far outside every range that is accepted anywhere.
    Int(i128),
    Float(f64),
    Text,
}

impl Scalar {
    pub(super) fn resolve(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            _ => integer(text).or_else(|| float(text)).unwrap_or(Self::Text),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text => "text",
        }
    }
}

fn integer(text: &str) -> Option<Scalar> {
    let (digits, radix) = match text.split_at_checked(2) {
        Some(("0x", digits)) => (digits, 16),
        Some(("0o", digits)) => (digits, 8),
        _ => (text, 10),
    };
    let bare = if radix == 10 { digits.strip_prefix(['-', '+']).unwrap_or(digits) } else { digits };
    if bare.is_empty() || !bare.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let beyond = if digits.starts_with('-') { i128::MIN } else { i128::MAX };
    Some(Scalar::Int(i128::from_str_radix(digits, radix).unwrap_or(beyond)))
}

fn float(text: &str) -> Option<Scalar> {
    let bare = text.strip_prefix(['-', '+']).unwrap_or(text);
    let value = match bare {
        ".inf" | ".Inf" | ".INF" => f64::INFINITY,
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        // Rust also reads `inf`, `infinity` and `nan`, which YAML takes for texts.
        _ if bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && bare.chars().all(|c| matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-')) =>
        {
            bare.parse().ok()?
        }
        _ => return None,
    };
    Some(Scalar::Float(if text.starts_with('-') { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_decides() {
        for (text, scalar) in [
            ("~", Scalar::Null),
            ("True", Scalar::Bool(true)),
            ("no", Scalar::Text),
            ("on", Scalar::Text),
            ("-17", Scalar::Int(-17)),
            ("+5", Scalar::Int(5)),
            ("0x1F", Scalar::Int(31)),
            ("0o17", Scalar::Int(15)),
            ("017", Scalar::Int(17)),
            ("18446744073709551615", Scalar::Int(u64::MAX.into())),
            ("1.5", Scalar::Float(1.5)),
            (".5", Scalar::Float(0.5)),
            ("-1e3", Scalar::Float(-1000.0)),
            ("-.inf", Scalar::Float(f64::NEG_INFINITY)),
            ("inf", Scalar::Text),
            ("nan", Scalar::Text),
            ("infinity", Scalar::Text),
            ("1.2.3", Scalar::Text),
            (".", Scalar::Text),
            ("-", Scalar::Text),
            ("+", Scalar::Text),
            ("0x", Scalar::Text),
            ("0x-1", Scalar::Text),
            ("--1", Scalar::Text),
            ("1e", Scalar::Text),
            ("é1", Scalar::Text),
        ] {
            assert_eq!(Scalar::resolve(text), scalar, "{text:?}");
        }
    }

    #[test]
    fn a_huge_integer_saturates() {
        assert_eq!(Scalar::resolve(&"9".repeat(300)), Scalar::Int(i128::MAX));
        assert_eq!(Scalar::resolve(&format!("-{}", "9".repeat(300))), Scalar::Int(i128::MIN));
    }
}
