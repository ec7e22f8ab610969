//! The flows of `console/` in Chromium, each against a server of its own. What a flow asks for on its standard output is done
//! here, and answered on its standard input.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread;

use parking_lot::{RwLock, RwLockWriteGuard};

use super::support::Server;
use super::{missing, root};

/// Held to read by each flow, to write by one that measures: it does so while no other runs.
static ALONE: RwLock<()> = RwLock::new(());

/// Runs a flow; `answer` does what it asks for.
fn flow(name: &str, mut answer: impl FnMut(&str, &mut Server)) {
    if let Some(missing) = missing() {
        println!("not run: the console, {name}; {missing}");
        return;
    }
    let mut server = Server::start();
    let script = root().join("tests/browser/console").join(name).with_extension("mjs");
    let mut child = Command::new("node")
        .arg(script)
        .arg(server.url())
        .env("VARDR", env!("CARGO_BIN_EXE_vardr"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let told = thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        answer(&line.unwrap(), &mut server);
        // A flow that has failed meanwhile says why on its standard error.
        let _ = input.write_all(b"done\n");
    }
    let (status, told) = (child.wait().unwrap(), told.join().unwrap());
    assert!(status.success(), "{name}:\n{told}\n{}", server.log());
    println!("{name}: {told}");
}

/// Runs a flow that asks for nothing.
fn by_itself(name: &str) {
    let _others = ALONE.read();
    flow(name, |asked, _| panic!("{name} asks for {asked}"));
}

/// Kills the server and starts it again.
fn dies_and_comes_back(asked: &str, server: &mut Server) {
    match asked {
        "kill" => server.kill(),
        "restart" => server.restart(),
        other => panic!("{other}"),
    }
}

#[test]
fn two_people_who_edit_one_key_see_both_values_and_overwrite_nothing_unseen() {
    by_itself("conflict");
}

#[test]
fn keys_of_any_bytes_are_opened_and_changed_and_values_are_never_markup() {
    by_itself("names");
}

#[test]
fn a_key_is_found_opened_edited_and_saved_by_keyboard_alone() {
    by_itself("keyboard");
}

#[test]
fn no_page_breaks_the_policy_logs_an_error_or_is_cut_off_and_the_first_one_is_small() {
    by_itself("pages");
}

#[test]
fn nothing_keeps_anybody_out_of_a_page() {
    by_itself("axe");
}

#[test]
fn what_others_do_shows_as_they_do_it() {
    by_itself("live");
}

#[test]
fn a_page_outlives_its_server_misses_nothing_and_repeats_nothing() {
    let _others = ALONE.read();
    flow("recovery", dies_and_comes_back);
}

#[test]
fn answers_that_are_late_cut_off_or_refusals_show_nothing_old_and_lose_nothing() {
    by_itself("slow");
}

#[test]
fn an_import_goes_on_where_its_server_died_and_does_nothing_twice() {
    let _others = ALONE.read();
    flow("interrupted", dies_and_comes_back);
}

#[test]
fn keys_are_made_leased_uploaded_and_deleted_after_a_look() {
    by_itself("manage");
}

#[test]
fn json_is_edited_as_yaml_and_yaml_is_checked_before_it_is_saved() {
    by_itself("yaml");
}

#[test]
fn keys_and_directories_are_moved_and_copied_after_a_look() {
    by_itself("move");
}

#[test]
fn who_leaves_what_is_under_way_is_told_how_it_ends() {
    by_itself("left");
}

#[test]
fn versions_are_compared_and_gone_back_to_after_a_look() {
    by_itself("history");
}

#[test]
fn a_text_is_found_in_names_and_values() {
    by_itself("search");
}

#[test]
fn services_leases_locks_and_members_are_shown_as_they_are() {
    by_itself("coordination");
}

#[test]
fn who_watches_what_is_shown_for_as_long_as_they_do() {
    by_itself("watchers");
}

#[test]
fn a_directory_goes_out_as_a_document_and_comes_in_after_a_look() {
    by_itself("exchange");
}

#[test]
fn a_folder_comes_in_and_goes_out_as_the_command_line_has_it() {
    by_itself("folder");
}

#[test]
fn both_languages_say_everything() {
    by_itself("texts");
}

#[test]
#[ignore = "writes the pictures of docs/console: make screenshots"]
fn screenshots() {
    by_itself("screenshots");
}

#[test]
fn a_million_keys_are_no_burden() {
    // It is written to while other flows run, and looked at while none does.
    let mut alone: Option<RwLockWriteGuard<'_, ()>> = None;
    flow("big", |asked, _| {
        assert_eq!(asked, "loaded");
        alone = Some(ALONE.write());
    });
    drop(alone);
}
