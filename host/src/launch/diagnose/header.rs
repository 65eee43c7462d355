//! The first bytes of a program.

use std::path::PathBuf;

/// What they say it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A script with a `#!` line.
    Script { interpreter: PathBuf },
    /// A binary for this machine; `loader` is what loads its shared libraries.
    Native { loader: Option<PathBuf> },
    /// A binary for another.
    Foreign { built_for: String },
    /// None of these.
    Unknown { looks_like: &'static str },
}

const ELF: &[u8] = b"\x7fELF";

/// Machine numbers of ELF with the names that Rust gives them.
const ELF_MACHINES: [(u16, &str); 9] = [
    (3, "x86"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
];

/// Processor numbers of Mach-O.
const MACH_MACHINES: [(u32, &str); 4] =
    [(7, "x86"), (0x0100_0007, "x86_64"), (12, "arm"), (0x0100_000c, "aarch64")];

/// Machine numbers of PE.
const PE_MACHINES: [(u16, &str); 3] = [(0x14c, "x86"), (0x8664, "x86_64"), (0xaa64, "aarch64")];

/// Kind of the program header that names the loader.
const PT_INTERP: u32 = 3;

/// Program headers that are looked at: real programs have about a dozen.
const MAX_PROGRAM_HEADERS: u64 = 64;

/// Reads the start of a file.
pub(super) fn read(start: &[u8]) -> Kind {
    if let Some(line) = start.strip_prefix(b"#!") {
        return script(line);
    }
    if start.starts_with(ELF) {
        return elf(start).unwrap_or(Kind::Unknown { looks_like: "a damaged ELF file" });
    }
    mach(start).or_else(|| pe(start)).unwrap_or_else(|| Kind::Unknown {
        looks_like: match start {
            [] => "empty",
            _ if start.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace()) => {
                "text without a `#!` line"
            }
            _ => "in a format unknown here",
        },
    })
}

fn script(line: &[u8]) -> Kind {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    match words.find(|word| !word.is_empty()).unwrap_or_default() {
        [] => Kind::Unknown { looks_like: "a script whose first line names no interpreter" },
        // A carriage return is part of the name for the kernel: it is shown, which explains much.
        name => Kind::Script { interpreter: String::from_utf8_lossy(name).into_owned().into() },
    }
}

/// Numbers in the byte order of the file.
struct Numbers<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl Numbers<'_> {
    fn get(&self, at: u64, width: u64) -> Option<u64> {
        let start = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(start..start.checked_add(usize::try_from(width).ok()?)?)?;
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    }
}

fn elf(start: &[u8]) -> Option<Kind> {
    let (wide, little) = (*start.get(4)? == 2, *start.get(5)? == 1);
    let numbers = Numbers { bytes: start, little };
    let machine = u16::try_from(numbers.get(18, 2)?).ok()?;
    let name = ELF_MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, name)| *name);
    let own = std::env::consts::ARCH;
    // A 64-bit x86 runs 32-bit programs, where their loader is installed.
    let runs_here = name == Some(own) || (own == "x86_64" && name == Some("x86"));
    if !runs_here || little != cfg!(target_endian = "little") {
        let name = name.map_or_else(|| format!("machine {machine}"), str::to_owned);
        return Some(Kind::Foreign { built_for: format!("{name} ELF") });
    }
    Some(Kind::Native { loader: elf_loader(&numbers, wide) })
}

fn elf_loader(numbers: &Numbers<'_>, wide: bool) -> Option<PathBuf> {
    let (table, size, count) = if wide {
        (numbers.get(32, 8)?, numbers.get(54, 2)?, numbers.get(56, 2)?)
    } else {
        (numbers.get(28, 4)?, numbers.get(42, 2)?, numbers.get(44, 2)?)
    };
    let headers = (0..count.min(MAX_PROGRAM_HEADERS)).filter_map(|at| table.checked_add(at * size));
    for header in headers {
        if numbers.get(header, 4)? != u64::from(PT_INTERP) {
            continue;
        }
        let at = |offset: u64, width| numbers.get(header.checked_add(offset)?, width);
        let (offset, length) = if wide { (at(8, 8)?, at(32, 8)?) } else { (at(4, 4)?, at(16, 4)?) };
        let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        let path = numbers.bytes.get(offset..offset.checked_add(length)?)?;
        let path = path.split(|byte| *byte == 0).next()?;
        return Some(String::from_utf8_lossy(path).into_owned().into());
    }
    None
}

fn mach(start: &[u8]) -> Option<Kind> {
    let magic = start.get(..4)?;
    if magic == [0xca, 0xfe, 0xba, 0xbe] {
        return Some(Kind::Foreign {
            built_for: "macOS (universal Mach-O), or the Java virtual machine".into(),
        });
    }
    let little = matches!(magic, [0xce | 0xcf, 0xfa, 0xed, 0xfe]);
    if !little && !matches!(magic, [0xfe, 0xed, 0xfa, 0xce | 0xcf]) {
        return None;
    }
    let machine = Numbers { bytes: start, little }.get(4, 4)?;
    let name = MACH_MACHINES.iter().find(|(number, _)| u64::from(*number) == machine).map(|(_, name)| *name);
    let name = name.unwrap_or("another machine");
    match cfg!(target_os = "macos") && name == std::env::consts::ARCH {
        true => Some(Kind::Native { loader: None }),
        false => Some(Kind::Foreign { built_for: format!("{name} Mach-O (macOS)") }),
    }
}

fn pe(start: &[u8]) -> Option<Kind> {
    let numbers = Numbers { bytes: start, little: true };
    let at = start.starts_with(b"MZ").then(|| numbers.get(0x3c, 4)).flatten()?;
    if numbers.get(at, 4)? != u64::from(u32::from_le_bytes(*b"PE\0\0")) {
        return None;
    }
    let machine = numbers.get(at.checked_add(4)?, 2)?;
    let name = PE_MACHINES.iter().find(|(number, _)| u64::from(*number) == machine).map(|(_, name)| *name);
    Some(Kind::Foreign { built_for: format!("{} PE (Windows)", name.unwrap_or("another machine")) })
}
