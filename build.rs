//! Compiles the files of `proto/`: messages and services for `src/api/v3`, the same with clients for tests, and the
//! descriptors that the server shows to who asks what it serves.

use std::error::Error;
use std::path::Path;
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
