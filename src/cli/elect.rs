//! `vardr elect`: a command that runs while it leads, and who leads.
//!
//! Observes over Server-Sent Events, each of which tells the whole state: after an interruption the present one comes first,
//! and is shown only where it is another one than was shown last.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use url::Url;

use super::args::Elect;
use super::client::{Client, Request};
use super::exit::{Exit, Failure, Outcome};
use super::item;
use super::output::{Output, member};
use super::queue::{Face, Queue, Stay};
use super::route;
use super::watch::{self, End, Lines, SILENCE};

const ELECTION: Face = Face {
    what: "the election",
    base: "/v1/elections",
    place: "candidate",
    variables: ["VARDR_ELECTION_NAME", "VARDR_CANDIDATE"],
};

/// What an observation has shown.
#[derive(Debug, Default)]
struct Observer {
    /// Of the event whose lines come in.
    kind: String,
    revision: String,
    /// The leader and the revision of what it says, as they were shown last; neither where there was none.
    shown: Option<[String; 2]>,
}

pub(crate) async fn elect(client: &Client, out: &Output, args: &Elect) -> Outcome<()> {
    let queue = Queue { face: &ELECTION, name: &args.name };
    if args.show {
        return show(client, out, &queue).await;
    }
    if args.observe {
        return observe(client, out, &queue).await;
    }
    let mut says = Map::new();
    if let Some(value) = &args.value {
        says.insert("value".to_owned(), value.as_str().into());
    }
    let stay = Stay { terms: args.terms, says, grace: args.grace, command: &args.command };
    queue.stay(client, out, stay).await
}

async fn show(client: &Client, out: &Output, queue: &Queue<'_>) -> Outcome<()> {
    let answer = client.send(&Request::get(queue.route("")?)).await?;
    let election: Value = item::read(&answer.body)?;
    let Some(leader) = election.get("leader").filter(|leader| !leader.is_null()) else {
        return Err(Failure::new(Exit::NotFound, format!("nobody leads in the election `{}`", queue.name)));
    };
    if out.is_json() {
        return out.line(leader.to_string());
    }
    out.line(said(leader)?)
}

/// What a leader says, byte for byte.
fn said(leader: &Value) -> Outcome<Vec<u8>> {
    let value = member(leader, "value");
    if member(leader, "encoding") != "base64" {
        return Ok(value.into_bytes());
    }
    STANDARD.decode(value).map_err(|error| Failure::failed(format!("the server sent bad base64: {error}")))
}

async fn observe(client: &Client, out: &Output, queue: &Queue<'_>) -> Outcome<()> {
    let request = Request::get(queue.route(":observe")?).accept("text/event-stream");
    let mut observer = Observer::default();
    watch::over_connections(client, async |endpoint| {
        let seen = observer.follow(client, endpoint, &request, out).await?;
        Ok((End::Resume, seen))
    })
    .await
}

impl Observer {
    /// Follows one connection to its end; tells whether anything came over it.
    async fn follow(&mut self, client: &Client, endpoint: &Url, request: &Request, out: &Output) -> Outcome<bool> {
        let response = client.open_at(endpoint, request).await?;
        let mut lines = Lines::default();
        let mut stream = response.bytes_stream();
        let mut seen = false;
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout(SILENCE, stream.next()).await {
            seen = true;
            lines.push(&chunk)?;
            while let Some(line) = lines.next() {
                if let Some(text) = self.take(out, &String::from_utf8_lossy(&line))? {
                    out.line(text)?;
                }
            }
        }
        Ok(seen)
    }

    /// Takes one line of the stream; returns what there is to show. The data of an event is one line, and its last one.
    fn take(&mut self, out: &Output, line: &str) -> Outcome<Option<Vec<u8>>> {
        match line.split_once(": ") {
            Some(("id", revision)) => revision.clone_into(&mut self.revision),
            Some(("event", kind)) => kind.clone_into(&mut self.kind),
            Some(("data", data)) => return self.event(out, data),
            // Comments are signs of life.
            Some(_) | None => {}
        }
        Ok(None)
    }

    fn event(&mut self, out: &Output, data: &str) -> Outcome<Option<Vec<u8>>> {
        let mut event: Value = item::read(data.as_bytes())?;
        match self.kind.as_str() {
            "leader" | "vacant" => {}
            "error" => {
                eprintln!("vardr: the observation broke off: {}", member(&event, "detail"));
                return Ok(None);
            }
            // Whatever a later server adds.
            _ => return Ok(None),
        }
        let now = [member(&event, "candidate"), member(&event, "modRevision")];
        if self.shown.as_ref() == Some(&now) {
            return Ok(None);
        }
        if out.is_json() {
            if let Some(members) = event.as_object_mut() {
                members.insert("type".to_owned(), self.kind.as_str().into());
            }
            self.shown = Some(now);
            return Ok(Some(event.to_string().into_bytes()));
        }
        let mut text = format!("{} {}", out.faint(&format!("{:>8}", self.revision)), out.kind(&self.kind)).into_bytes();
        if self.kind == "leader" {
            text.extend_from_slice(format!(" {} ", now[0]).as_bytes());
            text.extend(route::shown(&said(&event)?).bytes());
        }
        self.shown = Some(now);
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    fn shown(observer: &mut Observer, format: Format, lines: &[&str]) -> Vec<String> {
        let out = Output::new(format);
        let texts = lines.iter().filter_map(|line| observer.take(&out, line).unwrap());
        texts.map(|text| String::from_utf8(text).unwrap()).collect()
    }

    const LEADER: [&str; 3] = [
        "id: 7",
        "event: leader",
        r#"data: {"name":"p","candidate":"a1","encoding":"utf8","value":"x","fencingToken":7,"modRevision":7,"ttl":9.5}"#,
    ];
    const VACANT: [&str; 3] = ["id: 8", "event: vacant", r#"data: {"name":"p"}"#];

    #[test]
    fn each_leader_is_shown_once_however_often_it_is_told() {
        let mut observer = Observer::default();
        assert_eq!(shown(&mut observer, Format::Text, &[": observe"]), [""; 0]);
        assert_eq!(shown(&mut observer, Format::Text, &LEADER), ["       7 leader a1 x"]);
        assert_eq!(shown(&mut observer, Format::Text, &LEADER), [""; 0], "the same after an interruption");
        assert_eq!(shown(&mut observer, Format::Text, &VACANT), ["       8 vacant"]);
        assert_eq!(shown(&mut observer, Format::Text, &VACANT), [""; 0]);
    }

    #[test]
    fn a_program_is_told_the_type_as_well() {
        let mut observer = Observer::default();
        let lines = shown(&mut observer, Format::Json, &VACANT);
        assert_eq!(
            serde_json::from_str::<Value>(&lines[0]).unwrap(),
            serde_json::json!({"name": "p", "type": "vacant"})
        );
    }

    #[test]
    fn what_is_no_text_is_shown_byte_for_byte() {
        let leader = serde_json::json!({"encoding": "base64", "value": "/w=="});
        assert_eq!(said(&leader).unwrap(), [0xff]);
    }
}
