use super::*;
use std::os::unix::fs::PermissionsExt;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, mode: u32, contents: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn says(&self, name: &str, contents: &[u8]) -> String {
        let path = self.file(name, 0o755, contents);
        let said = inspect(&path).unwrap_err().to_string();
        said.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn own_program() -> Vec<u8> {
    let mut start = Vec::new();
    File::open("/proc/self/exe").unwrap().take(HEADER_BYTES).read_to_end(&mut start).unwrap();
    start
}

#[test]
fn what_runs_is_left_alone() {
    for program in ["/bin/sh", "/proc/self/exe"] {
        assert_eq!(inspect(Path::new(program)), Ok(()));
    }
    let script = Dir::new().file("ok", 0o755, b"#!/bin/sh\n");
    assert!(!script.exists(), "the directory is gone with its owner");
}

#[test]
fn a_missing_file_names_its_neighbour() {
    let dir = Dir::new();
    dir.file("calculator", 0o755, b"#!/bin/sh\n");
    let error = inspect(&dir.0.path().join("calculater")).unwrap_err();
    assert!(error.to_string().ends_with("/calculator meant?"), "{error}");
    let error = inspect(&dir.0.path().join("else")).unwrap_err();
    assert!(matches!(error, Diagnosis::Missing { similar: None, .. }), "{error}");
    assert!(inspect(Path::new("no-such-tool")).unwrap_err().to_string().contains("no directory of PATH"));
}

#[test]
fn a_directory_and_a_plain_file_are_told() {
    let dir = Dir::new();
    assert!(inspect(dir.0.path()).unwrap_err().to_string().contains("is no file"));
    let path = dir.file("tool", 0o644, b"#!/bin/sh\n");
    let error = inspect(&path).unwrap_err().to_string();
    assert!(error.contains("(mode 0644); run `chmod +x /"), "{error}");
    let error = inspect(&path.join("below")).unwrap_err();
    assert!(matches!(error, Diagnosis::Unreachable { .. }), "{error}");
}

#[test]
fn other_machines_are_named() {
    let dir = Dir::new();
    let mut elf = own_program();
    elf[18] = if std::env::consts::ARCH == "aarch64" { 62 } else { 183 };
    let other = if std::env::consts::ARCH == "aarch64" { "x86_64" } else { "aarch64" };
    let expected =
        format!("elf is built for {other} ELF, this machine is {}; build it", std::env::consts::ARCH);
    assert!(dir.says("elf", &elf).starts_with(&expected));
    let mach = [0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1, 0, 0];
    assert!(dir.says("mach", &mach).starts_with("mach is built for aarch64 Mach-O (macOS)"));
    let mut pe = vec![0; 0x40];
    pe[..2].copy_from_slice(b"MZ");
    pe[0x3c] = 0x40;
    pe.extend_from_slice(b"PE\0\0\x64\x86");
    assert!(dir.says("pe", &pe).starts_with("pe is built for x86_64 PE (Windows)"));
}

#[test]
fn a_missing_interpreter_is_named() {
    let dir = Dir::new();
    let said = dir.says("script", b"#!/usr/bin/python9.9 -u\nprint()\n");
    assert!(said.starts_with("script is a script for /usr/bin/python9.9, which does not exist"), "{said}");
    assert!(dir.says("windows", b"#!/bin/sh\r\n").contains("/bin/sh\r") || cfg!(not(target_os = "linux")));
    let mut elf = own_program();
    let at = elf.windows(4).position(|bytes| bytes == b"/lib").expect("tests are linked dynamically");
    elf[at + 1] = b'X';
    let said = dir.says("elf", &elf);
    assert!(said.starts_with("elf needs the loader /Xib"), "{said}");
}

#[test]
fn what_is_no_program_is_told() {
    let dir = Dir::new();
    assert!(dir.says("empty", b"").starts_with("empty is empty, no program"));
    assert!(dir.says("text", b"echo hi\n").contains("is text without a `#!` line"));
    assert!(dir.says("noise", &[0, 1, 2, 3, 255]).contains("format unknown"));
    for length in 4..64 {
        let cut = &own_program()[..length];
        // Whatever it says, it must not fail.
        let _ = inspect(&dir.file(&format!("cut{length}"), 0o755, cut));
    }
}

#[test]
fn early_ends_are_explained() {
    let hint = |code, line: &str| exit_hint(Cause::Code(code), &[line.to_owned()]);
    let loader = "./x: error while loading shared libraries: libfoo.so.1: cannot open shared object file";
    assert!(hint(127, loader).unwrap().starts_with("the shared library libfoo.so.1 is missing"));
    assert!(hint(1, "ModuleNotFoundError: No module named 'grpc'").unwrap().contains("no module 'grpc'"));
    assert!(hint(127, "sh: 1: foo: not found").unwrap().contains("command was not found"));
    assert_eq!(hint(3, "goodbye"), None);
}

#[test]
fn edits_are_counted() {
    assert_eq!(distance("kitten", "sitting"), 3);
    assert_eq!(distance("", "abc"), 3);
    assert_eq!(distance("same", "same"), 0);
}
