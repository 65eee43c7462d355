//! What reading depends on beside the files: handed in, so that a test can hand in something else.

use std::fmt;

/// Where `${env:NAME}` is looked up, and which of a manifest's commands applies.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Value of an environment variable; none when it is not set or not UTF-8.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// What this host runs on.
    pub platform: Platform,
}

impl Context<'static> {
    /// The process's own environment and platform.
    pub fn process() -> Self {
        Self { variable: &|name| std::env::var(name).ok(), platform: Platform::CURRENT }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("platform", &self.platform).finish_non_exhaustive()
    }
}

/// Operating system and, where it matters, processor, in Rust's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// Such as `linux`, `macos`, `windows`.
    pub os: &'static str,
    /// Such as `x86_64`, `aarch64`.
    pub arch: &'static str,
}

impl Platform {
    /// What this program was built for.
    pub const CURRENT: Self = Self { os: std::env::consts::OS, arch: std::env::consts::ARCH };
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)
    }
}

/// The operating system that a manifest calls `name`.
pub(super) fn os(name: &str) -> Option<&'static str> {
    const KNOWN: [&str; 4] = ["linux", "macos", "windows", "freebsd"];
    let name = if name == "darwin" { "macos" } else { name };
    KNOWN.into_iter().find(|known| *known == name)
}

/// The processor that a manifest calls `name`.
pub(super) fn arch(name: &str) -> Option<&'static str> {
    const KNOWN: [&str; 7] = ["x86_64", "aarch64", "x86", "arm", "riscv64", "powerpc64", "s390x"];
    let name = match name {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" | "i686" => "x86",
        "ppc64le" => "powerpc64",
        other => other,
    };
    KNOWN.into_iter().find(|known| *known == name)
}
