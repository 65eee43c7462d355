//! One plugin's descriptor set: read once, checked, indexed, and kept as it came.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

/// Largest descriptor set: all of googleapis has 30 MB, a large plugin less than one.
const MAX_BYTES: usize = 16 << 20;
/// Most files in a set.
const MAX_FILES: usize = 4096;
/// Most symbols in a set: an entry of the index costs some 150 bytes.
const MAX_SYMBOLS: usize = 200_000;
/// Longest full name of a file or symbol, so that deep nesting cannot multiply long names.
const MAX_NAME: usize = 512;

/// Why a descriptor set is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// Larger than the gateway keeps for one plugin.
    #[error("a descriptor set may have {MAX_BYTES} bytes at most, and this one has {0}")]
    TooLarge(usize),
    /// More files or symbols than the gateway keeps for one plugin.
    #[error(
        "a descriptor set may have {MAX_FILES} files and {MAX_SYMBOLS} symbols at most, and this one has more"
    )]
    TooMany,
    /// A name that no proto compiler would write.
    #[error("a name in the descriptor set is empty or longer than {MAX_NAME} bytes: {0:?}")]
    Name(String),
    /// Not a `google.protobuf.FileDescriptorSet`.
    #[error("the bytes are no google.protobuf.FileDescriptorSet: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// The files of one plugin.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    files: Vec<File>,
    by_name: HashMap<Box<str>, usize>,
    symbols: HashMap<Box<str>, Symbol>,
    /// By extended type, then by number.
    extensions: HashMap<Box<str>, BTreeMap<i32, usize>>,
    /// Built when first asked for: most sets never are.
    pool: OnceLock<Option<DescriptorPool>>,
}

/// One file, with the bytes it came in: decoding and encoding would lose custom options.
#[derive(Debug)]
pub(super) struct File {
    pub(super) bytes: Bytes,
    imports: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    file: usize,
    /// Of the definition, comments aside: equal ones do not clash.
    fingerprint: u64,
}

impl Descriptors {
    /// Reads a `google.protobuf.FileDescriptorSet`. No bytes: no files.
    pub(super) fn read(set: Bytes) -> Result<Self, DescriptorError> {
        /// The set again, but for its files, which stay as they are.
        #[derive(Clone, PartialEq, Message)]
        struct RawSet {
            #[prost(bytes = "bytes", repeated, tag = "1")]
            file: Vec<Bytes>,
        }
        if set.len() > MAX_BYTES {
            return Err(DescriptorError::TooLarge(set.len()));
        }
        let raw = RawSet::decode(set)?;
        if raw.file.len() > MAX_FILES {
            return Err(DescriptorError::TooMany);
        }
        let mut this = Self::default();
        for bytes in raw.file {
            this.add(bytes)?;
        }
        Ok(this)
    }

    fn add(&mut self, bytes: Bytes) -> Result<(), DescriptorError> {
        let proto = FileDescriptorProto::decode(bytes.clone())?;
        let name = checked(proto.name())?;
        if self.by_name.contains_key(name) {
            return Ok(());
        }
        let file = self.files.len();
        self.by_name.insert(name.into(), file);
        self.files.push(File { bytes, imports: proto.dependency.clone() });
        let scope = proto.package();
        for message in &proto.message_type {
            self.add_message(scope, message, file, fingerprint(&plain_message(message)))?;
        }
        for one in &proto.enum_type {
            self.add_enum(scope, one, file, fingerprint(one))?;
        }
        for extension in &proto.extension {
            self.add_extension(scope, extension, file, fingerprint(&plain_field(extension)))?;
        }
        for service in &proto.service {
            let print = fingerprint(service);
            let scope = self.add_symbol(scope, service.name(), file, print)?;
            for method in &service.method {
                self.add_symbol(&scope, method.name(), file, print)?;
            }
        }
        Ok(())
    }

    fn add_message(
        &mut self,
        scope: &str,
        message: &DescriptorProto,
        file: usize,
        print: u64,
    ) -> Result<(), DescriptorError> {
        let scope = self.add_symbol(scope, message.name(), file, print)?;
        for field in &message.field {
            self.add_symbol(&scope, field.name(), file, print)?;
        }
        for oneof in &message.oneof_decl {
            self.add_symbol(&scope, oneof.name(), file, print)?;
        }
        for extension in &message.extension {
            self.add_extension(&scope, extension, file, print)?;
        }
        for one in &message.enum_type {
            self.add_enum(&scope, one, file, print)?;
        }
        // No deeper than the decoder's own recursion limit.
        for nested in &message.nested_type {
            self.add_message(&scope, nested, file, print)?;
        }
        Ok(())
    }

    fn add_enum(
        &mut self,
        scope: &str,
        one: &EnumDescriptorProto,
        file: usize,
        print: u64,
    ) -> Result<(), DescriptorError> {
        self.add_symbol(scope, one.name(), file, print)?;
        // As in C++, values are siblings of their enum.
        for value in &one.value {
            self.add_symbol(scope, value.name(), file, print)?;
        }
        Ok(())
    }

    fn add_extension(
        &mut self,
        scope: &str,
        extension: &FieldDescriptorProto,
        file: usize,
        print: u64,
    ) -> Result<(), DescriptorError> {
        self.add_symbol(scope, extension.name(), file, print)?;
        let extended = checked(extension.extendee().trim_start_matches('.'))?;
        let numbers = self.extensions.entry(extended.into()).or_default();
        numbers.entry(extension.number()).or_insert(file);
        Ok(())
    }

    /// Indexes one symbol; returns its full name.
    fn add_symbol(
        &mut self,
        scope: &str,
        name: &str,
        file: usize,
        fingerprint: u64,
    ) -> Result<String, DescriptorError> {
        if self.symbols.len() >= MAX_SYMBOLS {
            return Err(DescriptorError::TooMany);
        }
        checked(name)?;
        let full = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        checked(&full)?;
        self.symbols.entry(full.as_str().into()).or_insert(Symbol { file, fingerprint });
        Ok(full)
    }
}

impl Descriptors {
    pub(super) fn file_named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn file_with_symbol(&self, symbol: &str) -> Option<usize> {
        self.symbols.get(symbol).map(|symbol| symbol.file)
    }

    pub(super) fn file_with_extension(&self, extended: &str, number: i32) -> Option<usize> {
        self.extensions.get(extended)?.get(&number).copied()
    }

    /// Numbers of the extensions of a type.
    pub(super) fn extension_numbers(&self, extended: &str) -> impl Iterator<Item = i32> {
        self.extensions.get(extended).into_iter().flat_map(|numbers| numbers.keys().copied())
    }

    pub(super) fn has_symbol(&self, symbol: &str) -> bool {
        self.symbols.contains_key(symbol)
    }

    /// A symbol that both sets define, differently.
    pub(super) fn clash_with<'a>(&'a self, other: &Self) -> Option<&'a str> {
        let differs = |name: &str, ours: &Symbol| {
            other.symbols.get(name).is_some_and(|theirs| theirs.fingerprint != ours.fingerprint)
        };
        let clashes = self.symbols.iter().filter(|(name, ours)| differs(name, ours));
        // The first by name, so that the same clash is always named the same way.
        clashes.map(|(name, _)| &**name).min()
    }

    /// A file and what it imports, as far as `max_bytes` allow; the file itself always.
    pub(super) fn with_imports(&self, file: usize, max_bytes: usize) -> Vec<Bytes> {
        let mut seen = vec![false; self.files.len()];
        let mut queue = std::collections::VecDeque::from([file]);
        let mut answer: Vec<Bytes> = Vec::new();
        let mut total = 0;
        while let Some(index) = queue.pop_front() {
            let (Some(seen), Some(file)) = (seen.get_mut(index), self.files.get(index)) else { continue };
            if std::mem::replace(seen, true) {
                continue;
            }
            total += file.bytes.len();
            if total > max_bytes && !answer.is_empty() {
                break;
            }
            answer.push(file.bytes.clone());
            queue.extend(file.imports.iter().filter_map(|name| self.file_named(name)));
        }
        answer
    }

    /// The types, for those who decode messages. `None` when the set is not complete in itself.
    pub(super) fn pool(&self) -> Option<DescriptorPool> {
        self.pool.get_or_init(|| build_pool(&self.files)).clone()
    }
}

/// Well-known types are added where a set leaves them out, as some runtimes do.
fn build_pool(files: &[File]) -> Option<DescriptorPool> {
    let decoded: Result<Vec<_>, _> =
        files.iter().map(|file| FileDescriptorProto::decode(file.bytes.clone())).collect();
    let mut decoded = decoded.ok()?;
    let missing: Vec<_> = DescriptorPool::global()
        .file_descriptor_protos()
        .filter(|known| !decoded.iter().any(|file| file.name() == known.name()))
        .cloned()
        .collect();
    decoded.extend(missing);
    let mut pool = DescriptorPool::new();
    match pool.add_file_descriptor_protos(decoded) {
        Ok(()) => Some(pool),
        Err(error) => {
            tracing::debug!(%error, "a descriptor set is not complete in itself");
            None
        }
    }
}

fn checked(name: &str) -> Result<&str, DescriptorError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(DescriptorError::Name(name.chars().take(MAX_NAME).collect()));
    }
    Ok(name)
}

fn fingerprint(definition: &impl Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&definition.encode_to_vec());
    hasher.finish()
}

/// Without JSON names, which some runtimes drop from what they reflect.
fn plain_message(message: &DescriptorProto) -> DescriptorProto {
    DescriptorProto {
        field: message.field.iter().map(plain_field).collect(),
        extension: message.extension.iter().map(plain_field).collect(),
        nested_type: message.nested_type.iter().map(plain_message).collect(),
        ..message.clone()
    }
}

fn plain_field(field: &FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { json_name: None, ..field.clone() }
}
