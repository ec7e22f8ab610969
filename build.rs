//! Compiles the files of `proto/`: messages and services for `src/api/v3`, the same with clients for tests, and the
//! descriptors that the server shows to who asks what it serves. Lists the files of `web/` for `src/api/console.rs`, which
//! has them in the binary as they are.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::prost::Message as _;
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
