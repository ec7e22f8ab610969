//! The command line: what `vardr` is told, and the commands that talk to a server over `/v1`.
//!
//! The commands know the server only by its HTTP face. Text output is for people and may change; `-o json` and the
//! exit codes are a contract.

mod args;
mod child;
mod client;
mod cluster;
mod elect;
mod exec;
mod exit;
mod follow;
mod hold;
mod item;
mod keys;
mod lease;
mod list;
mod lock;
mod maintenance;
mod moment;
mod output;
mod partial;
mod queue;
mod recover;
mod register;
mod render;
mod route;
mod serve;
mod services;
mod template;
mod transfer;
mod watch;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::config::Settings;

pub use exit::Exit;

use args::{Arguments, Command, Common};
use client::Client;
use exit::{Failure, Outcome};
use output::{Format, Output};

/// Runs the program with these arguments, its own name first; `serve` runs a server until it is told to stop.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>, serve: impl FnOnce(Settings) -> anyhow::Result<()>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(exit) = child::become_command(&arguments) {
        return exit;
    }
    let arguments = serve::with_double_dashes(arguments);
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    let (result, json) = match matches.subcommand() {
        None => (serve::run(&matches, serve), false),
        Some(("serve", matches)) => (serve::run(matches, serve), false),
        Some(_) => match Arguments::from_arg_matches(&matches) {
            Ok(Arguments { command: Some(command) }) => {
                let json = format(&command) == Format::Json;
                (client_command(command), json)
            }
            Ok(Arguments { command: None }) => (Err(Failure::usage("no command is given")), false),
            Err(error) => return explain(&error),
        },
    };
    match result {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            failure.report(json);
            failure.exit()
        }
    }
}

/// The whole command line, for parsing, help and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command().args(serve::arguments(true)).subcommand(serve::command())
}

fn explain(error: &clap::Error) -> Exit {
    // Where nobody reads the help there is nothing to add.
    let _unread = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Ok }
}

/// The form that failures are told in.
fn format(command: &Command) -> Format {
    match command {
        Command::Recover(args) => args.output,
        other => common(other).map_or(Format::Text, |common| common.output),
    }
}

fn common(command: &Command) -> Option<&Common> {
    use args::{LeaseCommand as Lease, MemberCommand as Member, SnapshotCommand as Snapshot};
    Some(match command {
        Command::Get(args) => &args.common,
        Command::Put(args) => &args.common,
        Command::Patch(args) => &args.common,
        Command::Del(args) => &args.common,
        Command::Copy(args) => &args.names.common,
        Command::Move(args) => &args.names.common,
        Command::Ls(args) => &args.common,
        Command::Watch(args) => &args.common,
        Command::Watchers(args) => &args.common,
        Command::Txn(args) => &args.common,
        Command::History(args) => &args.common,
        Command::Services(args) => &args.common,
        Command::Lease(args) => match &args.command {
            Lease::Grant { common, .. }
            | Lease::Keepalive { common, .. }
            | Lease::Get { common, .. }
            | Lease::List { common }
            | Lease::Revoke { common, .. } => common,
        },
        Command::Import(args) => &args.common,
        Command::Export(args) => &args.common,
        Command::Exec(args) => &args.common,
        Command::Template(args) => &args.common,
        Command::Lock(args) => &args.common,
        Command::Locks(args) => &args.common,
        Command::Elect(args) => &args.common,
        Command::Elections(args) => &args.common,
        Command::Register(args) => &args.common,
        Command::Member(args) => match &args.command {
            Member::List { common }
            | Member::Add { common, .. }
            | Member::Promote { common, .. }
            | Member::Update { common, .. }
            | Member::Remove { common, .. }
            | Member::Lead { common, .. } => common,
        },
        Command::Status(args) => &args.common,
        Command::Compact(args) => &args.common,
        Command::Snapshot(args) => match &args.command {
            Snapshot::Save { common, .. } => common,
            Snapshot::Verify { .. } | Snapshot::Restore { .. } => return None,
        },
        Command::Recover(_) | Command::Completion(_) => return None,
    })
}

fn client_command(command: Command) -> Outcome<()> {
    let Some(common) = common(&command).cloned() else {
        return offline_command(command);
    };
    let client = Client::new(&common.endpoint, common.timeout)?;
    let out = Output::new(common.output);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("the runtime cannot start", &error))?;
    runtime.block_on(dispatch(command, &client, &out))
}

/// The commands that talk to no server.
fn offline_command(command: Command) -> Outcome<()> {
    match command {
        Command::Completion(args) => completion(args.shell),
        Command::Recover(args) => recover::recover(&args),
        Command::Snapshot(args) => match args.command {
            args::SnapshotCommand::Verify { file, output } => maintenance::verify(&Output::new(output), &file),
            args::SnapshotCommand::Restore(args) => maintenance::restore(&args),
            args::SnapshotCommand::Save { .. } => Ok(()),
        },
        _ => Ok(()),
    }
}

async fn dispatch(command: Command, client: &Client, out: &Output) -> Outcome<()> {
    match command {
        Command::Get(args) => keys::get(client, out, &args).await,
        Command::Put(args) => keys::put(client, out, &args).await,
        Command::Patch(args) => keys::patch(client, out, &args).await,
        Command::Del(args) => keys::del(client, out, &args).await,
        Command::Copy(args) => keys::copy(client, out, "copy", &args.names).await,
        Command::Move(args) => keys::copy(client, out, "move", &args.names).await,
        Command::Ls(args) => keys::ls(client, out, &args).await,
        Command::Txn(args) => keys::txn(client, out, &args).await,
        Command::History(args) => keys::history(client, out, &args).await,
        Command::Watch(args) => watch::watch(client, out, &args).await,
        Command::Watchers(args) => list::WATCHERS.list(client, out, args.prefix.as_deref()).await,
        Command::Services(args) => services::services(client, out, &args).await,
        Command::Lease(args) => lease::lease(client, out, args.command).await,
        Command::Import(args) => transfer::import(client, out, &args).await,
        Command::Export(args) => transfer::export(client, out, &args).await,
        Command::Exec(args) => exec::exec(client, &args).await,
        Command::Template(args) => template::template(client, out, &args).await,
        Command::Lock(args) => lock::lock(client, out, &args).await,
        Command::Locks(args) => list::LOCKS.list(client, out, args.prefix.as_deref()).await,
        Command::Elect(args) => elect::elect(client, out, &args).await,
        Command::Elections(args) => list::ELECTIONS.list(client, out, args.prefix.as_deref()).await,
        Command::Register(args) => register::register(client, &args).await,
        Command::Member(args) => cluster::members(client, out, args.command).await,
        Command::Status(_) => maintenance::status(client, out).await,
        Command::Compact(args) => maintenance::compact(client, out, &args).await,
        Command::Snapshot(args) => maintenance::snapshot(client, out, args.command).await,
        Command::Recover(args) => recover::recover(&args),
        Command::Completion(args) => completion(args.shell),
    }
}

fn completion(shell: clap_complete::Shell) -> Outcome<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "vardr", &mut script);
    Output::new(Format::Text).bytes(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn settings_and_commands_do_not_mix() {
        let parse = |line: &str| command().try_get_matches_from(line.split(' '));
        assert!(parse("vardr --name x").is_ok());
        assert!(parse("vardr serve --name x").is_ok());
        assert!(parse("vardr get /a -o json").is_ok());
        assert!(parse("vardr --name x get /a").is_err());
        assert!(parse("vardr get /a --name x").is_err());
        assert!(parse("vardr nonsense").is_err());
    }

    #[test]
    fn every_command_is_in_the_short_help() {
        let help = command().render_help().to_string();
        for name in command().get_subcommands().map(clap::Command::get_name) {
            assert!(help.contains(&format!("\n  {name} ")), "{name} is missing in\n{help}");
        }
    }
}
