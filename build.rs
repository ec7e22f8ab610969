//! Compiles the files of `proto/`: messages and services for `src/api/v3`, the same with clients for tests, the descriptors
//! that the server shows to who asks what it serves, and the same as tables, by which JSON becomes messages and back. Lists the
//! files of `web/` for `src/api/console.rs`, which has them in the binary as they are.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::prost::Message as _;
use protox::prost_reflect::{Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use tonic_prost_build::{Builder, FileDescriptorSet};

const FILES: &[&str] = &[
    "etcd/auth.proto",
    "etcd/election.proto",
    "etcd/lock.proto",
    "etcd/mvcc.proto",
    "etcd/rpc.proto",
    "grpc/health.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let out = Path::new(&out);
    let descriptors = protox::compile(FILES, ["proto"])?;
    generate(&out.join("server"), tonic_prost_build::configure().build_client(false), &descriptors)?;
    generate(
        &out.join("client"),
        tonic_prost_build::configure().build_server(false).build_transport(false),
        &descriptors,
    )?;
    fs::write(out.join("tables.rs"), tables(&DescriptorPool::from_file_descriptor_set(descriptors.clone())?)?)?;
    fs::write(out.join("descriptors"), without_comments(descriptors).encode_to_vec())?;
    println!("cargo:rerun-if-changed=web");
    fs::write(out.join("web.rs"), embedded(&Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("web"))?)?;
    Ok(())
}

/// A table of the files below a folder in Rust: the name of each, with `/` between the parts, and its bytes.
fn embedded(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    let mut named = Vec::new();
    for file in &files {
        let name = file.strip_prefix(folder)?.to_str().ok_or("a file of web/ has a name that is not UTF-8")?;
        named.push((name.replace('\\', "/"), file.to_str().ok_or("the path to web/ is not UTF-8")?));
    }
    named.sort();
    let mut table = String::from("[\n");
    for (name, path) in named {
        writeln!(table, "({name:?}, include_bytes!({path:?}).as_slice()),")?;
    }
    table.push(']');
    Ok(table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn generate(folder: &Path, builder: Builder, descriptors: &FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let builder = builder.out_dir(folder).bytes(".").include_file("mod.rs");
    builder.compile_fds(descriptors.clone())?;
    Ok(())
}

fn without_comments(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    descriptors
}

/// All messages, enums and methods as the types of `src/api/v3/gateway/table.rs`.
fn tables(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for message in pool.all_messages() {
        let name = constant(message.full_name());
        writeln!(text, "static {name}: Message = Message {{ fields: &[")?;
        for field in message.fields() {
            writeln!(text, "    {},", table_of_field(&field)?)?;
        }
        writeln!(text, "] }};")?;
    }
    for names in pool.all_enums() {
        let values = names.values().map(|value| format!("({:?}, {})", value.name(), value.number()));
        let values = values.collect::<Vec<_>>().join(", ");
        let (name, go) = (constant(names.full_name()), name_in_go(&names));
        writeln!(text, "static {name}: Enum = Enum {{ name: {go:?}, values: &[{values}] }};")?;
    }
    writeln!(text, "pub(super) static METHODS: &[Method] = &[")?;
    for service in pool.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let (input, output) = (method.input(), method.output());
            let (input, output) = (constant(input.full_name()), constant(output.full_name()));
            let (takes, gives) = (method.is_client_streaming(), method.is_server_streaming());
            writeln!(
                text,
                "    Method {{ path: {path:?}, input: &{input}, output: &{output}, takes_many: {takes}, gives_many: {gives} }},"
            )?;
        }
    }
    text.push_str("];\n");
    Ok(text)
}

fn table_of_field(field: &FieldDescriptor) -> Result<String, Box<dyn Error>> {
    let kind = match field.kind() {
        Kind::Bool => "Kind::Bool".to_owned(),
        Kind::Int64 => "Kind::Int64".to_owned(),
        Kind::Uint64 => "Kind::Uint64".to_owned(),
        Kind::Uint32 => "Kind::Uint32".to_owned(),
        Kind::String => "Kind::String".to_owned(),
        Kind::Bytes => "Kind::Bytes".to_owned(),
        Kind::Message(message) => format!("Kind::Message(&{})", constant(message.full_name())),
        Kind::Enum(names) => format!("Kind::Enum(&{})", constant(names.full_name())),
        other => return Err(format!("{}: there is no table for {other:?} yet", field.full_name()).into()),
    };
    let repeated = field.cardinality() == Cardinality::Repeated;
    let one_of = field.containing_oneof().is_some();
    let (name, camel, number) = (field.name(), field.json_name(), field.number());
    Ok(format!(
        "Field {{ name: {name:?}, camel: {camel:?}, number: {number}, kind: {kind}, repeated: {repeated}, one_of: {one_of} }}"
    ))
}

fn constant(full_name: &str) -> String {
    full_name.replace('.', "_").to_uppercase()
}

/// `package.Outer_Name`, as Go's messages about a value name its type.
fn name_in_go(names: &EnumDescriptor) -> String {
    let inside = |message: MessageDescriptor| format!("{}_{}", message.full_name(), names.name());
    names.parent_message().map_or_else(|| names.full_name().to_owned(), inside)
}
