use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;
use crate::identity::authority::{Usage, Validity};
use crate::identity::tests::{Mesh, instance};
use crate::name::InstanceId;

/// Loads the mesh's files after writing `contents` to one of them, which must fail with `expected`.
fn fails(mesh: &Mesh, file: fn(&TlsFiles) -> &PathBuf, contents: impl AsRef<[u8]>, expected: &str) {
    let path = file(&mesh.files);
    let before = fs::read(path).unwrap();
    fs::write(path, contents).unwrap();
    let error = mesh.files.load().err().expect(expected);
    fs::write(path, before).unwrap();
    assert_eq!(error.path(), path);
    let text = error.to_string();
    assert!(text.starts_with(&path.display().to_string()) && text.contains(expected), "{text}");
    assert!(text.contains(';') || text.contains(','), "says what to do next: {text}");
}

#[test]
fn each_fault_names_the_file_the_problem_and_the_next_step() {
    let mesh = Mesh::new();
    mesh.files.load().expect("the files are good");
    let other = mesh.authority.issue_plugin(&instance(), &InstanceId::random()).unwrap();
    let (cert, key) = (mesh.plugin.chain_pem(), mesh.plugin.key_pem());
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let empty_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    fails(&mesh, |f| &f.cert, "", "is not PEM");
    fails(&mesh, |f| &f.cert, mesh.plugin.chain()[0].as_ref(), "is not PEM");
    fails(&mesh, |f| &f.cert, key, "has no certificate");
    fails(&mesh, |f| &f.cert, &cert[..cert.len() / 2], "is damaged PEM");
    fails(&mesh, |f| &f.cert, malformed, "not well-formed X.509");
    fails(&mesh, |f| &f.cert, vec![b'x'; MAX_TLS_FILE as usize + 1], "is larger than 1048576 bytes");
    fails(&mesh, |f| &f.key, cert, "has no private key");
    fails(&mesh, |f| &f.key, encrypted, "encrypted private key");
    fails(&mesh, |f| &f.key, empty_key, "cannot be used");
    fails(&mesh, |f| &f.key, other.key_pem(), "is not the key of the certificate in");
    fails(&mesh, |f| &f.ca, cert, "is no authority's");
    fails(&mesh, |f| &f.ca, malformed, "not well-formed X.509");
}

#[test]
fn a_certificate_out_of_its_time_is_refused_with_the_date() {
    let mesh = Mesh::new();
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    let issued = |from, until| {
        let id = mesh.plugin.spiffe_id().clone();
        mesh.authority.issue("x", id, Usage::Server, Validity { from, until }).unwrap()
    };
    let past = issued(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + day);
    fails(&mesh, |f| &f.cert, past.chain_pem(), "expired at Jan  2 00:00:00 1970");
    fails(&mesh, |f| &f.cert, issued(now + day, now + 2 * day).chain_pem(), "is not valid before");
}

#[test]
fn what_is_not_a_readable_file_is_refused_without_waiting() {
    let mesh = Mesh::new();
    let problem = |path: PathBuf| {
        let error = TlsFiles { cert: path, ..mesh.files.clone() }.load().err().unwrap();
        error.to_string()
    };
    assert!(problem(mesh.dir.path().join("absent")).contains("check the path"));
    assert!(problem(mesh.dir.path().into()).contains("is not a regular file"));
    let endless = problem("/dev/zero".into());
    assert!(endless.contains("is not a regular file"), "{endless}");
}

#[test]
fn a_bundle_of_authorities_may_carry_an_expired_one() {
    let mesh = Mesh::new();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = SystemTime::UNIX_EPOCH.into();
    let old = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    fails(&mesh, |f| &f.ca, &old, "expired at");
    fs::write(&mesh.files.ca, old + mesh.authority.ca_pem()).unwrap();
    assert_eq!(mesh.files.load().ok().unwrap().roots.len(), 1);
}
