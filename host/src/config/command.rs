//! What is run: a plugin's command for this platform, and its build.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::context::{Platform, arch, os};
use super::decode::{Decoder, Section, Segment, duration, list, parsed, path, string, text};
use super::defaults::{BUILD_TIMEOUT, MAX_ENTRIES, TIMEOUTS};
use super::fault::quote;
use super::glob::Glob;
use super::yaml::{Data, Node};
use crate::closest::closest;

mod words;

/// Which file to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// This one; absolute.
    File(PathBuf),
    /// The first of this name on `PATH`; without a slash.
    OnPath(String),
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Which file to run.
    pub program: Program,
    /// Its arguments, without the program's own name.
    pub args: Vec<String>,
}

/// How a plugin is made from its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildConfig {
    /// Where it runs and what `sources` are relative to: the manifest's folder.
    pub dir: PathBuf,
    /// What runs.
    pub command: BuildCommand,
    /// Patterns of files that it reads; empty for everything below `dir` but the outputs.
    pub sources: Vec<Glob>,
    /// Files and folders that it writes, absolute.
    pub outputs: Vec<PathBuf>,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a build runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildCommand {
    /// A line for `sh -c`.
    Shell(String),
    /// A program without a shell.
    Exec(CommandLine),
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::OnPath(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.fmt(f)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

impl fmt::Display for BuildCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(line) => f.write_str(line),
            Self::Exec(command) => command.fmt(f),
        }
    }
}

/// Reads `command`: a line, a list, or one of both for each platform. Every platform's is checked, the one
/// for this platform is taken.
pub(super) fn command(d: &mut Decoder<'_>, node: &Node) -> Option<CommandLine> {
    let Data::Map(entries) = &node.data else {
        return command_line(d, node);
    };
    let mut offered = BTreeMap::new();
    let mut whole = true;
    for (key, node) in entries {
        let target = match target(&key.text) {
            Ok(target) => target,
            Err((problem, hint)) => {
                d.fault(key.at, problem, Some(hint));
                whole = false;
                continue;
            }
        };
        let line = d.below(Segment::Key(key.text.clone()), |d| command_line(d, node));
        whole &= line.is_some();
        if let Some(line) = line
            && offered.insert(target, line).is_some()
        {
            d.fault(key.at, format_args!("{} is given twice, under two names", Target::text(target)), None);
        }
    }
    let Platform { os, arch } = d.context.platform;
    let fitting = [Target::Exact(os, arch), Target::Os(os), Target::Any];
    match fitting.iter().find_map(|target| offered.remove(target)) {
        Some(line) => whole.then_some(line),
        None if !whole => None,
        None => {
            let names: Vec<String> = offered.keys().map(|target| Target::text(*target)).collect();
            let problem = format!("no command for {}", d.context.platform);
            let hint = format!("it has {}; add {} or default", names.join(", "), d.context.platform);
            d.fault(node.at, problem, Some(hint));
            None
        }
    }
}

/// What an entry of a `command` mapping is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Exact(&'static str, &'static str),
    Os(&'static str),
    Any,
}

impl Target {
    fn text(self) -> String {
        match self {
            Self::Exact(os, arch) => format!("{os}/{arch}"),
            Self::Os(os) => os.into(),
            Self::Any => "default".into(),
        }
    }
}

fn target(key: &str) -> Result<Target, (String, String)> {
    let (os_name, arch_name) = key.split_once('/').map_or((key, None), |(os, arch)| (os, Some(arch)));
    if key == "default" {
        return Ok(Target::Any);
    }
    let Some(os) = os(os_name) else {
        let close = closest(os_name, ["linux", "darwin", "macos", "windows", "freebsd", "default"]);
        let hint =
            close.map_or("such as linux/amd64, linux or default".into(), |c| format!("did you mean {c}?"));
        return Err((format!("unknown platform {}", quote(key)), hint));
    };
    match arch_name.map(arch) {
        None => Ok(Target::Os(os)),
        Some(Some(arch)) => Ok(Target::Exact(os, arch)),
        Some(None) => Err((format!("unknown processor in {}", quote(key)), "such as amd64 or arm64".into())),
    }
}

/// A line, split into words with quotes but no other shell magic, or a list of words.
fn command_line(d: &mut Decoder<'_>, node: &Node) -> Option<CommandLine> {
    let words = match &node.data {
        Data::List(_) => list(d, node, MAX_ENTRIES, string)?,
        _ => match words::split(text(d, node)?) {
            Ok(words) => words,
            Err(why) => return d.refuse(node, why),
        },
    };
    let mut words = words.into_iter();
    match words.next() {
        Some(program) if !program.is_empty() => {
            Some(CommandLine { program: self::program(d, program), args: words.collect() })
        }
        _ => d.refuse(node, "an empty command"),
    }
}

fn program(d: &Decoder<'_>, name: String) -> Program {
    if name.contains('/') { Program::File(d.resolve(&name)) } else { Program::OnPath(name) }
}

/// Reads `build`.
pub(super) fn build(d: &mut Decoder<'_>, node: &Node) -> Option<BuildConfig> {
    let mut section = Section::open(d, node)?;
    let command = section.required(d, "command", |d, node| match &node.data {
        Data::List(_) => command_line(d, node).map(BuildCommand::Exec),
        _ => match text(d, node)? {
            "" => d.refuse(node, "an empty command"),
            line => Some(BuildCommand::Shell(line.into())),
        },
    });
    let sources = section.optional(d, "sources", |d, node| list(d, node, MAX_ENTRIES, source));
    let outputs = section.optional(d, "outputs", |d, node| list(d, node, MAX_ENTRIES, path));
    let timeout = section.optional(d, "timeout", |d, node| duration(d, node, &TIMEOUTS));
    section.finish(d);
    Some(BuildConfig {
        dir: d.base.clone(),
        command: command?,
        sources: sources.unwrap_or_default(),
        outputs: outputs.unwrap_or_default(),
        timeout: timeout.unwrap_or(BUILD_TIMEOUT),
    })
}

fn source(d: &mut Decoder<'_>, node: &Node) -> Option<Glob> {
    let glob: Glob = parsed(d, node)?;
    if glob.as_str().starts_with('/') {
        return d.refuse(node, "sources are relative to the manifest's folder");
    }
    Some(glob)
}
