//! The `vardr` command: argument parsing and exit codes only.

fn main() {}
