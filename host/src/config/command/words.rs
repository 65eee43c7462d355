//! A command line as words: quotes and backslashes as in a shell, and nothing else of one.

/// Splits at blanks outside quotes. Within `'…'` everything is plain; within `"…"` and outside quotes a
/// backslash takes the next character as it is.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => {
                let next = letters.next().ok_or("a backslash at the end has nothing to escape")?;
                word.get_or_insert_default().push(next);
            }
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is opened and not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        for (line, words) in [
            ("python3 main.py", vec!["python3", "main.py"]),
            ("  a\tb\n", vec!["a", "b"]),
            (r#"a 'b c' "d e"f \g\ h"#, vec!["a", "b c", "d ef", "g h"]),
            (r#"'' "" '\'"#, vec!["", "", "\\"]),
            ("$HOME *", vec!["$HOME", "*"]),
            ("", vec![]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert!(split("'a").is_err());
        assert!(split("a\\").is_err());
    }
}
