//! What a sequence is made of, and the text in which it is printed and kept: a step a line, as `json:17 Range {"key":"a"}`.

use serde_json::Value;

use super::call::Call;
use super::fields::Fields;
use super::spell::Spelling;
use super::turn::Turn;
use super::visitors::{Number, Read, Show, Without};
use crate::pb;

/// Over what a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Grpc,
    Json(Spelling),
    /// In JSON that is spoilt, by the seed of its spelling.
    Spoilt(u64),
}

/// A stream of watches of which more is asked at any time: over what, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Grpc(u64),
    /// In JSON, over a WebSocket.
    Socket(u64),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Call(Way, Call),
    /// A stream with so many requests, each answered once.
    KeepAlive(Way, Vec<pb::LeaseKeepAliveRequest>),
    /// Somebody waits for a lock or an election until it is let go.
    Turn(Way, Turn),
    /// What is asked of a stream of watches, which is opened when it is named first.
    Create(Asked, pb::WatchCreateRequest),
    Cancel(Asked, pb::WatchCancelRequest),
    Progress(Asked),
    /// A stream of watches in JSON, all of which are asked for at its beginning.
    Lines(u64, Spelling, Vec<pb::WatchCreateRequest>),
}

impl Way {
    fn shown(self) -> String {
        match self {
            Self::Grpc => "grpc".to_owned(),
            Self::Json(None) => "json".to_owned(),
            Self::Json(Some(seed)) => format!("json:{seed}"),
            Self::Spoilt(seed) => format!("spoilt:{seed}"),
        }
    }

    fn read(text: &str) -> Self {
        let seed = || text.split(':').nth(1).unwrap().parse().unwrap();
        match text.split(':').next().unwrap() {
            "grpc" => Self::Grpc,
            "json" => Self::Json(text.contains(':').then(seed)),
            "spoilt" => Self::Spoilt(seed()),
            _ => panic!("no way to call: {text}"),
        }
    }

    /// The option as which it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Json(_) => "json",
            Self::Spoilt(_) => "spoilt",
        }
    }

    fn simpler(self) -> Vec<Self> {
        match self {
            Self::Grpc => vec![],
            Self::Json(None) => vec![Self::Grpc],
            Self::Json(Some(_)) | Self::Spoilt(_) => vec![Self::Grpc, Self::Json(None)],
        }
    }
}

impl Asked {
    pub(crate) fn number(self) -> u64 {
        let (Self::Grpc(number) | Self::Socket(number)) = self;
        number
    }

    fn shown(self) -> String {
        match self {
            Self::Grpc(number) => format!("stream:{number}"),
            Self::Socket(number) => format!("socket:{number}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, number) = text.split_once(':')?;
        match kind {
            "stream" => number.parse().ok().map(Self::Grpc),
            "socket" => number.parse().ok().map(Self::Socket),
            _ => None,
        }
    }

    /// The option as which it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc(_) => "grpc",
            Self::Socket(_) => "socket",
        }
    }

    fn simpler(self) -> Option<Self> {
        match self {
            Self::Grpc(_) => None,
            Self::Socket(number) => Some(Self::Grpc(number)),
        }
    }
}

fn shown<M: Fields>(message: &M) -> Value {
    let mut show = Show::default();
    message.clone().visit(&mut show);
    Value::Object(show.0)
}

fn all_shown<M: Fields>(messages: &[M]) -> Value {
    messages.iter().map(shown).collect()
}

fn all_read<M: Fields>(value: Value) -> Vec<M> {
    let Value::Array(messages) = value else { panic!("no list: {value}") };
    messages.into_iter().map(Read::message).collect()
}

fn simpler<M: Fields>(message: &M) -> Vec<M> {
    let without = |before| {
        let (mut simpler, mut without) = (message.clone(), Without::new(before));
        simpler.visit(&mut without);
        without.is_done.then_some(simpler)
    };
    (0..).map_while(without).collect()
}

fn all_simpler<M: Fields>(messages: &[M]) -> Vec<Vec<M>> {
    let fewer = (0..messages.len()).filter(|_| messages.len() > 1);
    let fewer = fewer.map(|at| [&messages[..at], &messages[at + 1..]].concat());
    let others = (0..messages.len()).flat_map(|at| {
        let with = move |message| [&messages[..at], &[message], &messages[at + 1..]].concat();
        simpler(&messages[at]).into_iter().map(with)
    });
    fewer.chain(others).collect()
}

impl Step {
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Call(way, call) => format!("{} {} {}", way.shown(), call.name(), call.shown()),
            Self::KeepAlive(way, requests) => format!("{} LeaseKeepAlive {}", way.shown(), all_shown(requests)),
            Self::Turn(way, turn) => format!("{} Turn:{} {{}}", way.shown(), turn.names().join(":")),
            Self::Create(stream, request) => format!("{} Create {}", stream.shown(), shown(request)),
            Self::Cancel(stream, request) => format!("{} Cancel {}", stream.shown(), shown(request)),
            Self::Progress(stream) => format!("{} Progress {{}}", stream.shown()),
            Self::Lines(stream, spelling, requests) => {
                format!("{} Watch:{stream} {}", Way::Json(*spelling).shown(), all_shown(requests))
            }
        }
    }

    /// The step that [`Self::shown`] shows. Panics where there is none.
    pub(crate) fn read(line: &str) -> Self {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("no step: {line}"));
        let (way, name, rest) = (word(), word(), word());
        let value: Value = serde_json::from_str(rest).unwrap_or_else(|error| panic!("{error}: {line}"));
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number of a stream: {line}"));
        if let Some(stream) = Asked::read(way) {
            return match name {
                "Create" => Self::Create(stream, Read::message(value)),
                "Cancel" => Self::Cancel(stream, Read::message(value)),
                "Progress" => Self::Progress(stream),
                _ => panic!("no step: {line}"),
            };
        }
        if let Some(turn) = name.strip_prefix("Turn:") {
            return Self::Turn(Way::read(way), Turn::read(turn));
        }
        match (Way::read(way), name.strip_prefix("Watch:").map(number)) {
            (Way::Json(spelling), Some(stream)) => Self::Lines(stream, spelling, all_read(value)),
            (way, None) if name == "LeaseKeepAlive" => Self::KeepAlive(way, all_read(value)),
            (way, _) => Self::Call(way, Call::read(name, value)),
        }
    }

    /// Those that are simpler by one thing.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Call(way, call) => {
                let ways = way.simpler().into_iter().map(|way| Self::Call(way, call.clone()));
                if matches!(call, Call::Lock(_) | Call::Campaign(_)) {
                    // Without its own name or lease it may wait, or its place is called what no other is.
                    return ways.collect();
                }
                ways.chain(call.simpler().into_iter().map(|call| Self::Call(*way, call))).collect()
            }
            Self::KeepAlive(way, requests) => {
                let ways = way.simpler().into_iter().map(|way| Self::KeepAlive(way, requests.clone()));
                ways.chain(all_simpler(requests).into_iter().map(|fewer| Self::KeepAlive(*way, fewer))).collect()
            }
            Self::Turn(way, turn) => way.simpler().into_iter().map(|way| Self::Turn(way, *turn)).collect(),
            Self::Create(stream, request) => {
                let streams = stream.simpler().into_iter().map(|stream| Self::Create(stream, request.clone()));
                streams.chain(simpler(request).into_iter().map(|request| Self::Create(*stream, request))).collect()
            }
            Self::Cancel(stream, request) => {
                stream.simpler().into_iter().map(|stream| Self::Cancel(stream, *request)).collect()
            }
            Self::Progress(stream) => stream.simpler().into_iter().map(Self::Progress).collect(),
            Self::Lines(stream, spelling, requests) => {
                let plain = spelling.map(|_| Self::Lines(*stream, None, requests.clone()));
                let fewer = all_simpler(requests).into_iter();
                plain.into_iter().chain(fewer.map(|fewer| Self::Lines(*stream, *spelling, fewer))).collect()
            }
        }
    }
}

/// The revision so many after the one at which a sequence begins.
pub(crate) fn base(by: i64) -> i64 {
    Number::Base(by).packed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::generate;

    #[test]
    fn what_is_shown_is_read_back() {
        for step in (1..40).flat_map(generate::sequence) {
            assert_eq!(Step::read(&step.shown()), step);
        }
    }

    #[test]
    fn all_that_is_simpler_is_another_step_and_comes_to_an_end() {
        for step in (1..10).flat_map(generate::sequence) {
            let mut step = step;
            let mut rounds = 0;
            while let Some(simpler) = step.simpler().pop() {
                assert_ne!(simpler, step);
                (step, rounds) = (simpler, rounds + 1);
                assert!(rounds < 2000, "{}", step.shown());
            }
        }
    }
}
