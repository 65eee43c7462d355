//! Merging, precedence, scope and hostile sets.

use bytes::Bytes;
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use semver::Version;

use super::answer::{Answer, Question, answer};
use super::*;
use crate::name::PluginName;

fn compile(files: &[(&str, &str)]) -> Bytes {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let mut compiler = protox::Compiler::new([directory.path()]).unwrap();
    compiler.include_imports(true);
    for (name, _) in files {
        compiler.open_file(name).unwrap();
    }
    compiler.encode_file_descriptor_set().into()
}

fn plugin(name: &str) -> PluginName {
    name.parse().unwrap()
}

fn insert(catalog: &Catalog, name: &str, version: &str, set: Bytes) {
    let services = vec!["demo.v1.Echo".to_owned()];
    catalog.insert(plugin(name), Version::parse(version).unwrap(), set, services).unwrap();
}

/// The first file of an answer, and how many there are.
fn file(catalog: &Catalog, scope: Option<&str>, question: Question) -> Option<(FileDescriptorProto, usize)> {
    let scope = scope.map(plugin);
    match answer(question, &catalog.view(scope.as_ref()).unwrap()) {
        Answer::Files(files) => Some((FileDescriptorProto::decode(files[0].clone()).unwrap(), files.len())),
        Answer::Error { .. } => None,
        other => panic!("{other:?}"),
    }
}

fn symbol(name: &str) -> Question {
    Question::Symbol(name.into())
}

const ONE: &str = "syntax = 'proto3'; package demo.v1; import 'google/protobuf/timestamp.proto';
    message Text { google.protobuf.Timestamp at = 1; }
    service Echo { rpc Say(Text) returns (Text); }";
const TWO: &str = "syntax = 'proto3'; package demo.v1;
    message Text { string text = 1; enum Kind { ZERO = 0; } oneof either { Kind kind = 2; } }
    service Echo { rpc Say(Text) returns (Text); rpc Chat(stream Text) returns (stream Text); }";

#[test]
fn the_highest_version_answers_and_a_scope_asks_another() {
    let catalog = Catalog::new();
    insert(&catalog, "new", "1.10.0", compile(&[("demo.proto", TWO)]));
    insert(&catalog, "old", "1.9.0", compile(&[("demo.proto", ONE)]));
    let methods = |file: FileDescriptorProto| file.service[0].method.len();
    assert_eq!(file(&catalog, None, symbol("demo.v1.Echo")).map(|(file, _)| methods(file)), Some(2));
    assert_eq!(file(&catalog, Some("old"), symbol("demo.v1.Echo")).map(|(file, _)| methods(file)), Some(1));
    assert_eq!(catalog.providers("demo.v1.Echo"), [plugin("new"), plugin("old")]);
    assert_eq!(catalog.methods("demo.v1.Echo").len(), 2);
    assert!(catalog.remove(&plugin("new")));
    assert!(!catalog.remove(&plugin("new")));
    assert_eq!(catalog.methods("demo.v1.Echo").len(), 1);
    assert!(catalog.descriptor_pool(&plugin("new")).is_none());
    assert!(catalog.descriptor_pool(&plugin("old")).unwrap().get_message_by_name("demo.v1.Text").is_some());
}

#[test]
fn an_answer_brings_what_its_file_imports_from_the_same_plugin() {
    let catalog = Catalog::new();
    let part = "syntax = 'proto3'; package demo.v1; message Part {}";
    let whole = "syntax = 'proto3'; package demo.v1; import 'part.proto'; message Whole { Part part = 1; }";
    insert(&catalog, "a", "1.0.0", compile(&[("part.proto", part), ("whole.proto", whole)]));
    let other = "syntax = 'proto3'; package other.v1; message Stranger {}";
    insert(&catalog, "b", "2.0.0", compile(&[("part.proto", other)]));
    let (found, count) = file(&catalog, None, symbol("demo.v1.Whole")).unwrap();
    assert_eq!((found.name(), count), ("whole.proto", 2));
    assert!(catalog.descriptor_pool(&plugin("a")).is_some());
}

#[test]
fn every_kind_of_symbol_is_found() {
    let catalog = Catalog::new();
    insert(&catalog, "a", "1.0.0", compile(&[("demo.proto", TWO)]));
    for name in [
        "demo.v1.Text",
        "demo.v1.Text.text",
        "demo.v1.Text.either",
        "demo.v1.Text.Kind",
        "demo.v1.Text.ZERO",
        "demo.v1.Echo.Chat",
        "plugmesh.admin.v1.AdminService",
        "google.protobuf.Timestamp",
    ] {
        assert!(file(&catalog, None, symbol(name)).is_some(), "{name}");
    }
    assert!(file(&catalog, None, symbol("demo.v1.Nothing")).is_none());
    assert!(file(&catalog, None, Question::File("demo.proto".into())).is_some());
    assert!(file(&catalog, None, Question::File("nothing.proto".into())).is_none());
}

#[test]
fn extensions_are_found_and_their_options_kept_byte_for_byte() {
    let options = "syntax = 'proto2'; package opt; import 'google/protobuf/descriptor.proto';
        extend google.protobuf.MessageOptions { optional string note = 50001; }
        message Noted { option (note) = 'kept'; }";
    let set = compile(&[("opt.proto", options)]);
    let catalog = Catalog::new();
    insert(&catalog, "a", "1.0.0", set.clone());
    let extended = || "google.protobuf.MessageOptions".to_owned();
    let view = catalog.view(None).unwrap();
    match answer(Question::ExtensionNumbers(extended()), &view) {
        Answer::ExtensionNumbers { numbers, .. } => assert_eq!(numbers, [50001]),
        other => panic!("{other:?}"),
    }
    match answer(Question::Extension { extended: extended(), number: 50001 }, &view) {
        Answer::Files(files) => {
            assert!(set.windows(files[0].len()).any(|window| window == files[0]), "the bytes differ");
            assert!(files[0].windows(4).any(|window| window == b"kept"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plugin_without_descriptors_is_still_listed() {
    let catalog = Catalog::new();
    insert(&catalog, "bare", "0.1.0", Bytes::new());
    assert_eq!(catalog.services(Some(&plugin("bare"))), Some(vec!["demo.v1.Echo".into()]));
    assert!(catalog.services(None).unwrap().contains(&"demo.v1.Echo".into()));
    assert_eq!(catalog.services(Some(&plugin("nobody"))), None);
    assert!(catalog.service("demo.v1.Echo", None).is_none());
}

#[test]
fn an_equal_definition_is_no_clash_and_another_one_is() {
    let read = |text: &str| descriptors::Descriptors::read(compile(&[("demo.proto", text)])).unwrap();
    assert_eq!(read(TWO).clash_with(&read(&TWO.replace("message", "// comment\n message"))), None);
    assert_eq!(read(TWO).clash_with(&read(ONE)), Some("demo.v1.Echo"));
}

#[test]
fn hostile_sets_are_refused() {
    let set = |file| Bytes::from(FileDescriptorSet { file }.encode_to_vec());
    let named = |name: &str| FileDescriptorProto { name: Some(name.into()), ..Default::default() };
    let refused = |set| Catalog::new().insert(plugin("bad"), Version::new(1, 0, 0), set, vec![]).unwrap_err();
    assert!(matches!(refused(Bytes::from_static(b"\xff\xff\xff")), DescriptorError::Malformed(_)));
    assert!(matches!(refused(vec![0; 17 << 20].into()), DescriptorError::TooLarge(_)));
    assert!(matches!(refused(set(vec![named("")])), DescriptorError::Name(_)));
    assert!(matches!(refused(set(vec![named(&"x".repeat(10_000))])), DescriptorError::Name(_)));
    let many: Vec<_> = (0..5000).map(|index| named(&index.to_string())).collect();
    assert!(matches!(refused(set(many)), DescriptorError::TooMany));
    let message = |name: String| DescriptorProto { name: Some(name), ..Default::default() };
    let mut wide = named("wide");
    wide.message_type = (0..250_000).map(|index| message(index.to_string())).collect();
    assert!(matches!(refused(set(vec![wide])), DescriptorError::TooMany));
    // Nested as deep as the decoder lets it, each name as long as allowed.
    let mut deep = message("x".repeat(400));
    for _ in 0..50 {
        deep = DescriptorProto { nested_type: vec![deep], ..message("x".repeat(400)) };
    }
    let mut file = named("deep");
    file.message_type = vec![deep];
    assert!(matches!(refused(set(vec![file])), DescriptorError::Name(_)));
}

#[test]
fn files_that_import_each_other_or_nothing_known_do_no_harm() {
    let importing = |name: &str, imports: &[&str]| FileDescriptorProto {
        name: Some(name.into()),
        dependency: imports.iter().map(|&import| import.into()).collect(),
        ..Default::default()
    };
    let file_set = vec![importing("a", &["b", "gone"]), importing("b", &["a", "b"])];
    let catalog = Catalog::new();
    insert(&catalog, "odd", "1.0.0", FileDescriptorSet { file: file_set }.encode_to_vec().into());
    assert_eq!(file(&catalog, None, Question::File("a".into())).unwrap().1, 2);
    assert!(catalog.descriptor_pool(&plugin("odd")).is_none());
}
