//! Files that are made to hurt.

use super::*;

#[test]
fn large_files_are_refused() {
    let text = format!("name: a # {}", "x".repeat(1 << 20));
    assert_eq!(faults(manifest(&text)), ["1:1: larger than 1048576 bytes"]);
}

#[test]
fn deep_nesting_is_refused() {
    assert!(manifest(&format!("config: {}", "[".repeat(100_000))).is_err());
    let blocks: String = (0..100).map(|depth| format!("{}k:\n", " ".repeat(depth))).collect();
    assert_eq!(faults(manifest(&blocks)), ["65:65: nested deeper than 64 levels"]);
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for i in 1..1000 {
        chain.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    let found = faults(manifest(&chain));
    assert!(found.iter().any(|fault| fault.ends_with("nested deeper than 64 levels")), "{found:?}");
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", [format!("*a{}", i - 1).as_str(); 9].join(", ")));
    }
    let found = faults(manifest(&bomb));
    assert_eq!(found, ["6:10: more than 100000 values, aliases expanded"]);
}

#[test]
fn faults_are_bounded_in_number_and_length() {
    let mut text = format!("{}: 1\n", "k".repeat(1000));
    for i in 0..5000 {
        text.push_str(&format!("unknown{i}: 1\n"));
    }
    let error = manifest(&text).unwrap_err();
    assert_eq!((error.faults().len(), error.more()), (100, 4903));
    assert!(error.to_string().ends_with("\nand 4903 more"));
    assert!(error.faults().iter().all(|fault| fault.to_string().len() < 300));
}

/// Joins pieces of YAML at random, and bends good files; the parser below is foreign code.
#[test]
fn nothing_panics_on_bent_files() {
    const PIECES: [&str; 30] = [
        "name", ":", " ", "\n", "  ", "-", "[", "]", "{", "}", ",", "&a", "*a", "!!str", "!x", "|", ">", "'",
        "\"", "\\", "#", "---", "...", "%TAG", "\t", "é", "\u{feff}", "?", "\r", "\u{85}",
    ];
    const ROUNDS: usize = 3_000;
    let mut random = fastrand::Rng::with_seed(7);
    let good: Vec<char> = docs::blocks("plugin.yaml").concat().chars().collect();
    for _ in 0..ROUNDS {
        let length = random.usize(0..24);
        let made: String = (0..length).filter_map(|_| random.choice(PIECES)).collect();
        let start = random.usize(0..good.len());
        let mut bent = good.clone();
        bent.truncate(start + random.usize(0..400));
        bent.drain(..start);
        for _ in 0..3 {
            let at = random.usize(0..=bent.len());
            let piece = random.choice(PIECES).unwrap_or_default().chars();
            bent.splice(at..(at + random.usize(0..3)).min(bent.len()), piece);
        }
        for text in [made, bent.into_iter().collect()] {
            drop(manifest(&text));
            drop(host(&text));
        }
    }
}
