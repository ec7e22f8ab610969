//! The authority of a request over HTTP/2 as `etcdctl` 3.4 writes it: an endpoint with its scheme, which is no authority (RFC 9113,
//! section 8.3.1), so that HTTP/2 refuses the request before anybody sees it.
//!
//! What comes in on a connection passes through [`Authorities`], which looks at nothing but the lengths of frames and of
//! header fields (RFC 9113, sections 4.1, 6.2 and 6.10; RFC 7541, section 6). Where the value of an `:authority` begins with
//! `http://`, plain or in Huffman's code, that is overwritten by a mark of as many characters and as many bits that an
//! authority may have; the edge takes it off the request again. Lengths and tables stay as they are, whatever looks
//! different passes as it is, and nothing is kept but the few bytes that are too few to tell.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::uri::Authority;
use http::{Request, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection begins with before its first frame (RFC 9113, section 3.4).
const PREFACE_BYTES: u32 = 24;
const FRAME_HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// What a frame of headers says of priorities.
const PRIORITY_BYTES: u32 = 5;
/// The place of `:authority` in the static table (RFC 7541, appendix A).
const AUTHORITY: u8 = 1;
/// What stands for a scheme. Browsers write hosts in small letters, so that none sends this.
const MARK: &str = "httpW==";
const SCHEME: &[u8; 7] = b"http://";
/// `http://` and the mark in Huffman's code (RFC 7541, appendix B), each of 41 bits, of which the last is 0.
const CODED_SCHEME: [u8; 5] = [0x9d, 0x29, 0xae, 0xe3, 0x0c];
const CODED_MARK: [u8; 5] = [0x9d, 0x29, 0xaf, 0x94, 0x10];
/// The bytes that tell whether a value begins with a scheme, as it is and coded.
const TOLD_BY: usize = 7;
const CODED_TOLD_BY: usize = 6;
/// More than may be held back; where a reader has less room, it is read for elsewhere.
const ROOM: usize = 64;

/// A connection of HTTP/2 in whose requests no authority begins with a scheme.
#[derive(Debug)]
pub struct Authorities<S> {
    stream: S,
    walk: Walk,
    /// Read and not yet given out: behind `given`, up to `known`, what may be; the rest may be the beginning of a scheme.
    read: [u8; ROOM],
    given: u8,
    known: u8,
    end: u8,
}

impl<S> Authorities<S> {
    /// Wraps a connection of which nothing has been read.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self { stream, walk: Walk::default(), read: [0; ROOM], given: 0, known: 0, end: 0 }
    }
}

impl<S: AsyncRead + Unpin> Authorities<S> {
    /// Gives out what is known, if anything is.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let known = self.read.get(usize::from(self.given)..usize::from(self.known)).unwrap_or_default();
        let some = known.get(..known.len().min(buffer.remaining())).unwrap_or_default();
        buffer.put_slice(some);
        self.given += u8::try_from(some.len()).unwrap_or_default();
        !some.is_empty()
    }

    /// Reads into room of its own, behind what is held back. Whether anything came.
    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let held = usize::from(self.end - self.given);
        self.read.copy_within(usize::from(self.given)..usize::from(self.end), 0);
        let mut room = ReadBuf::new(&mut self.read);
        room.set_filled(held);
        (self.given, self.known, self.end) = (0, 0, u8::try_from(held).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let all = room.filled_mut();
        let known = if all.len() == held { held } else { self.walk.over(all) };
        (self.known, self.end) = (u8::try_from(known).unwrap_or_default(), u8::try_from(all.len()).unwrap_or_default());
        Poll::Ready(Ok(usize::from(self.end) > held))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Authorities<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if buffer.remaining() == 0 || this.give(buffer) {
                return Poll::Ready(Ok(()));
            }
            if this.given == this.end && buffer.remaining() >= ROOM {
                // What a connection mostly does: it is read where it is wanted.
                let before = buffer.filled().len();
                ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
                let new = buffer.filled_mut().get_mut(before..).unwrap_or_default();
                let known = this.walk.over(new);
                let held = new.get(known..).unwrap_or_default();
                let (came, count) = (!new.is_empty(), held.len());
                if let Some(room) = this.read.get_mut(..count) {
                    room.copy_from_slice(held);
                }
                (this.given, this.known, this.end) = (0, 0, u8::try_from(count).unwrap_or_default());
                buffer.set_filled(before + known);
                if known > 0 || !came {
                    return Poll::Ready(Ok(()));
                }
            } else if !ready!(this.poll_own(context))? && this.known == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Authorities<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The request with the authority that was meant.
pub(super) fn restored<B>(mut request: Request<B>) -> Request<B> {
    let marked = request.uri().authority().and_then(|authority| authority.as_str().strip_prefix(MARK));
    let meant = marked.filter(|_| request.version() == Version::HTTP_2).and_then(|rest| rest.parse::<Authority>().ok());
    if let Some(meant) = meant {
        let mut parts = request.uri().clone().into_parts();
        parts.authority = Some(meant);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Where in a connection the next byte is.
#[derive(Debug)]
struct Walk {
    frame: Frame,
    field: Field,
    /// Whether the header fields of a request go on in the next frame.
    is_open: bool,
}

#[derive(Debug)]
enum Frame {
    /// In what is passed over.
    Passed {
        left: u32,
    },
    Header {
        read: [u8; FRAME_HEADER_BYTES],
        length: usize,
    },
    /// At the length of the padding.
    Padding {
        left: u32,
        ends: bool,
    },
    /// In header fields, which padding follows.
    Fields {
        left: u32,
        padding: u32,
        ends: bool,
    },
    /// Something looked different: nothing is looked at any more.
    Lost,
}

/// Where in header fields the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Start,
    /// In a number of which some bits are known.
    Number {
        number: u32,
        shift: u8,
        after: After,
    },
    /// At the length of a text.
    Length(Text),
    /// At the value of an authority.
    Authority {
        left: u32,
        is_coded: bool,
    },
    Text {
        left: u32,
        text: Text,
    },
}

/// What a number is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Field,
    Length(Text),
    Text { text: Text, is_coded: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Name,
    Value,
    Authority,
}

impl Default for Walk {
    fn default() -> Self {
        Self { frame: Frame::Passed { left: PREFACE_BYTES }, field: Field::Start, is_open: false }
    }
}

impl Walk {
    /// Walks over the next bytes and overwrites schemes. Gives how many are behind it; the rest, a few, have to come again
    /// with what follows them.
    fn over(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match self.step(rest) {
                0 => break,
                taken => at += taken,
            }
        }
        at
    }

    /// Takes some of the bytes, or none where they are too few.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        let first = bytes.first().copied().unwrap_or_default();
        match &mut self.frame {
            Frame::Passed { left: 0 } => {
                self.frame = Frame::Header { read: [0; FRAME_HEADER_BYTES], length: 0 };
                self.step(bytes)
            }
            Frame::Fields { left: 0, padding, ends } => {
                self.is_open = !*ends;
                let is_whole = self.is_open || self.field == Field::Start;
                self.frame = if is_whole { Frame::Passed { left: *padding } } else { Frame::Lost };
                self.step(bytes)
            }
            Frame::Passed { left } => pass(left, bytes),
            Frame::Header { read, length } => {
                if let Some(place) = read.get_mut(*length) {
                    *place = first;
                }
                *length += 1;
                if *length == FRAME_HEADER_BYTES {
                    let header = *read;
                    self.frame = self.begin(header);
                }
                1
            }
            Frame::Padding { left, ends } => {
                let (padding, ends) = (u32::from(first), *ends);
                let fields = left.checked_sub(1 + padding);
                self.frame = fields.map_or(Frame::Lost, |left| Frame::Fields { left, padding, ends });
                1
            }
            Frame::Fields { left, .. } => {
                let (here, is_all) = (bytes.len().min(*left as usize), bytes.len() >= *left as usize);
                let Some(taken) = self.field.step(bytes.get_mut(..here).unwrap_or_default(), is_all) else {
                    self.frame = Frame::Lost;
                    return bytes.len();
                };
                *left -= u32::try_from(taken).unwrap_or(*left);
                taken
            }
            Frame::Lost => bytes.len(),
        }
    }

    /// What follows the header of a frame.
    fn begin(&mut self, [a, b, c, kind, flags, ..]: [u8; FRAME_HEADER_BYTES]) -> Frame {
        let (left, ends) = (u32::from_be_bytes([0, a, b, c]), flags & END_HEADERS != 0);
        match (kind, self.is_open) {
            (HEADERS, false) => {
                let is_preceded = flags & PRIORITY != 0;
                self.field =
                    if is_preceded { Field::Text { left: PRIORITY_BYTES, text: Text::Value } } else { Field::Start };
                if flags & PADDED != 0 {
                    Frame::Padding { left, ends }
                } else {
                    Frame::Fields { left, padding: 0, ends }
                }
            }
            (CONTINUATION, true) => Frame::Fields { left, padding: 0, ends },
            (HEADERS | CONTINUATION, _) | (_, true) => Frame::Lost,
            (_, false) => Frame::Passed { left },
        }
    }
}

impl Field {
    /// Takes some of the bytes, or none where they are too few and more of the frame is to come; `None` where they say
    /// nothing that makes sense.
    fn step(&mut self, bytes: &mut [u8], is_all: bool) -> Option<usize> {
        let first = bytes.first().copied()?;
        *self = match *self {
            Self::Start => Self::begin(first),
            Self::Number { number, shift, after } => {
                // Nothing that is sent here is as long as what further bits could say.
                let number = number.checked_add(u32::from(first & 0x7f) << shift).filter(|_| shift <= 21)?;
                if first & 0x80 != 0 { Self::Number { number, shift: shift + 7, after } } else { after.follow(number) }
            }
            Self::Length(text) => {
                let (number, is_coded) = (u32::from(first & 0x7f), first & 0x80 != 0);
                let after = After::Text { text, is_coded };
                if number == 0x7f { Self::Number { number, shift: 0, after } } else { after.follow(number) }
            }
            Self::Authority { left, is_coded } => {
                let told_by = if is_coded { CODED_TOLD_BY } else { TOLD_BY };
                let is_short = (left as usize) < told_by;
                if bytes.len() < told_by && !is_short && !is_all {
                    return Some(0);
                }
                if !is_short {
                    mark(bytes, is_coded);
                }
                *self = Self::Text { left, text: Text::Authority };
                return self.step(bytes, is_all);
            }
            Self::Text { mut left, text } => {
                let taken = pass(&mut left, bytes);
                *self = if left == 0 { text.end() } else { Self::Text { left, text } };
                return Some(taken);
            }
        };
        Some(1)
    }

    /// What the first byte of a field says (RFC 7541, section 6).
    fn begin(first: u8) -> Self {
        let number = |number: u8, after| Self::Number { number: u32::from(number), shift: 0, after };
        let (index, most) = match first {
            0x80.. => return if first == 0xff { number(0x7f, After::Field) } else { Self::Start },
            0x40.. => (first & 0x3f, 0x3f),
            0x20.. => return if first == 0x3f { number(0x1f, After::Field) } else { Self::Start },
            _ => (first & 0x0f, 0x0f),
        };
        match index {
            0 => Self::Length(Text::Name),
            AUTHORITY => Self::Length(Text::Authority),
            index if index == most => number(index, After::Length(Text::Value)),
            _ => Self::Length(Text::Value),
        }
    }
}

impl After {
    fn follow(self, number: u32) -> Field {
        match self {
            Self::Field => Field::Start,
            Self::Length(text) => Field::Length(text),
            Self::Text { text, .. } if number == 0 => text.end(),
            Self::Text { text: Text::Authority, is_coded } => Field::Authority { left: number, is_coded },
            Self::Text { text, .. } => Field::Text { left: number, text },
        }
    }
}

impl Text {
    /// What follows it.
    fn end(self) -> Field {
        match self {
            Self::Name => Field::Length(Self::Value),
            Self::Value | Self::Authority => Field::Start,
        }
    }
}

/// Passes over what is left of something.
fn pass(left: &mut u32, bytes: &[u8]) -> usize {
    let taken = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(*left);
    *left -= taken;
    taken as usize
}

/// Overwrites the scheme that a value begins with, if it does and all of it is there.
fn mark(value: &mut [u8], is_coded: bool) {
    if !is_coded {
        if let Some(start) = value.first_chunk_mut::<TOLD_BY>().filter(|start| *start == SCHEME) {
            start.copy_from_slice(MARK.as_bytes());
        }
    } else if let Some([start @ .., last]) = value.first_chunk_mut::<CODED_TOLD_BY>()
        && *start == CODED_SCHEME
        && *last & 0x80 == 0
    {
        *start = CODED_MARK;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader finds that has so much room each time, of what comes in these pieces.
    fn read(pieces: Vec<Vec<u8>>, room: &[usize]) -> Vec<u8> {
        /// Gives one piece at a time, as a socket does.
        struct Pieces(std::collections::VecDeque<Vec<u8>>);
        impl AsyncRead for Pieces {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let Some(mut piece) = self.0.pop_front() else { return Poll::Ready(Ok(())) };
                if piece.is_empty() {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
                Poll::Ready(Ok(()))
            }
        }
        let mut stream = Authorities::new(Pieces(pieces.into()));
        let (mut all, mut room) = (Vec::new(), room.iter().copied().cycle());
        let mut context = Context::from_waker(std::task::Waker::noop());
        loop {
            let mut space = vec![0; room.next().unwrap_or(1)];
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return all,
                Poll::Ready(Ok(())) => all.extend_from_slice(buffer.filled()),
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => {}
            }
        }
    }

    /// Huffman's code of the few characters that stand in authorities here (RFC 7541, appendix B).
    fn coded(text: &str) -> Vec<u8> {
        let code = |letter: char| match letter {
            '0' => "00000",
            '1' => "00001",
            '2' => "00010",
            'a' => "00011",
            'e' => "00101",
            'o' => "00111",
            's' => "01000",
            't' => "01001",
            '.' => "010111",
            '/' => "011000",
            '7' => "011101",
            '9' => "011111",
            '=' => "100000",
            'h' => "100111",
            'l' => "101000",
            'p' => "101011",
            ':' => "1011100",
            'W' => "1110010",
            other => panic!("{other}"),
        };
        let mut bits: String = text.chars().map(code).collect();
        // The beginning of the code for the end.
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|bits| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap())
            .collect()
    }

    fn number(out: &mut Vec<u8>, start: u8, bits: u8, number: usize) {
        let most = (1_usize << bits) - 1;
        if number < most {
            return out.push(start | u8::try_from(number).unwrap());
        }
        out.push(start | u8::try_from(most).unwrap());
        let mut rest = number - most;
        while rest >= 0x80 {
            out.push(0x80 | u8::try_from(rest % 0x80).unwrap());
            rest /= 0x80;
        }
        out.push(u8::try_from(rest).unwrap());
    }

    fn text(out: &mut Vec<u8>, text: &[u8], is_coded: bool) {
        number(out, if is_coded { 0x80 } else { 0 }, 7, text.len());
        out.extend_from_slice(text);
    }

    /// A field of a request.
    #[derive(Debug, Clone)]
    enum Sent {
        Indexed(usize),
        Resized(usize),
        /// A field with a name from the tables or of its own, and in which of three ways it is sent.
        Literal {
            index: usize,
            name: Vec<u8>,
            value: Vec<u8>,
            way: usize,
        },
        Authority {
            value: String,
            is_coded: bool,
            way: usize,
        },
    }

    impl Sent {
        /// As bytes; an authority as it comes, or with the mark for its scheme.
        fn write(&self, out: &mut Vec<u8>, is_marked: bool) {
            let ways = [(0x40, 6), (0x00, 4), (0x10, 4)];
            match self {
                Self::Indexed(index) => number(out, 0x80, 7, *index),
                Self::Resized(size) => number(out, 0x20, 5, *size),
                Self::Literal { index, name, value, way } => {
                    let (start, bits) = ways[*way];
                    number(out, start, bits, *index);
                    if *index == 0 {
                        text(out, name, value.len() % 2 == 0);
                    }
                    text(out, value, false);
                }
                Self::Authority { value, is_coded, way } => {
                    let (start, bits) = ways[*way];
                    number(out, start, bits, usize::from(AUTHORITY));
                    let meant = value.strip_prefix("http://").filter(|_| is_marked);
                    let value = meant.map_or(value.clone(), |meant| format!("{MARK}{meant}"));
                    let bytes = if *is_coded { coded(&value) } else { value.into_bytes() };
                    text(out, &bytes, *is_coded);
                }
            }
        }
    }

    impl Sent {
        /// Where a cut is within the scheme of a value that ends here.
        fn scheme_in(&self, end: usize) -> std::ops::Range<usize> {
            let Self::Authority { value, is_coded, .. } = self else { return 0..0 };
            let (length, told_by) =
                if *is_coded { (coded(value).len(), CODED_TOLD_BY) } else { (value.len(), TOLD_BY) };
            end - length + 1..end - length + told_by
        }
    }

    /// A frame, or the header fields of a request in one or more.
    #[derive(Debug, Clone)]
    enum Part {
        Other { kind: u8, flags: u8, body: Vec<u8> },
        Request { fields: Vec<Sent>, padding: Option<u8>, priority: bool, cut: Option<usize> },
    }

    fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, body: &[u8]) {
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        out.extend_from_slice(body);
    }

    impl Part {
        fn write(&self, out: &mut Vec<u8>, is_marked: bool) {
            let (fields, padding, priority, cut) = match self {
                Self::Other { kind, flags, body } => return frame(out, *kind, *flags, body),
                Self::Request { fields, padding, priority, cut } => (fields, *padding, *priority, *cut),
            };
            let mut block = Vec::new();
            for field in fields {
                field.write(&mut block, false);
            }
            let end = cut.map_or(block.len(), |cut| cut % (block.len() + 1));
            block.clear();
            for field in fields {
                let begun = block.len();
                field.write(&mut block, is_marked);
                // A scheme that is cut by the end of a frame is left alone: no client sends one.
                if field.scheme_in(block.len()).contains(&end) {
                    block.truncate(begun);
                    field.write(&mut block, false);
                }
            }
            let (first, rest) = block.split_at(end);
            let mut body = Vec::from_iter(padding);
            if priority {
                // A stream and a weight that look like fields.
                body.extend([0x80, 0, 0, 1, 0x41]);
            }
            body.extend_from_slice(first);
            body.extend(vec![0; usize::from(padding.unwrap_or(0))]);
            let mut flags = if padding.is_some() { PADDED } else { 0 };
            flags |= if priority { PRIORITY } else { 0 };
            flags |= if cut.is_none() { END_HEADERS } else { 1 };
            frame(out, HEADERS, flags, &body);
            if cut.is_some() {
                frame(out, CONTINUATION, 0, &[]);
                frame(out, CONTINUATION, END_HEADERS, rest);
            }
        }
    }

    /// What stands in an authority, some of it wrongly.
    const HOSTS: &[&str] = &["127.0.0.1:2079", "alpha.test:2011", "a", "", "http://a", "/a", ":2"];

    fn field() -> impl Strategy<Value = Sent> {
        let bytes = prop::collection::vec(any::<u8>(), 0..300);
        let authority = (prop::bool::weighted(0.8), prop::sample::select(HOSTS), any::<bool>(), 0..3_usize);
        prop_oneof![
            (0..400_usize).prop_map(Sent::Indexed),
            (0..5000_usize).prop_map(Sent::Resized),
            (prop_oneof![Just(0_usize), 2..400_usize], bytes.clone(), bytes, 0..3_usize)
                .prop_map(|(index, name, value, way)| Sent::Literal { index, name, value, way }),
            authority.prop_map(|(has_scheme, host, is_coded, way)| {
                let value = if has_scheme { format!("http://{host}") } else { host.to_owned() };
                Sent::Authority { value, is_coded, way }
            }),
        ]
    }

    fn part() -> impl Strategy<Value = Part> {
        let kinds = prop::sample::select(&[0_u8, 2, 3, 4, 5, 6, 7, 8, 10][..]);
        let others = (kinds, any::<u8>(), prop::collection::vec(any::<u8>(), 0..400));
        let fields = prop::collection::vec(field(), 0..6);
        let padding = prop::option::of(prop_oneof![Just(0_u8), any::<u8>()]);
        prop_oneof![
            others.prop_map(|(kind, flags, body)| Part::Other { kind, flags, body }),
            (fields, padding, any::<bool>(), prop::option::weighted(0.3, any::<usize>()))
                .prop_map(|(fields, padding, priority, cut)| Part::Request { fields, padding, priority, cut }),
        ]
    }

    fn connection(parts: &[Part], is_marked: bool) -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for part in parts {
            part.write(&mut bytes, is_marked);
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn schemes_and_nothing_else_are_overwritten_wherever_what_comes_is_cut(
            parts in prop::collection::vec(part(), 0..6),
            cuts in prop::collection::vec(prop_oneof![0..12_usize, 0..2000_usize], 1..20),
            room in prop::collection::vec(prop_oneof![1..80_usize, 1..9000_usize], 1..5),
        ) {
            let (mut rest, mut pieces) = (connection(&parts, false), Vec::new());
            for cut in cuts.into_iter().cycle().take(3000) {
                let next = rest.split_off(cut.min(rest.len()));
                pieces.push(std::mem::replace(&mut rest, next));
            }
            pieces.push(rest);
            prop_assert_eq!(read(pieces, &room), connection(&parts, true));
        }

        #[test]
        fn whatever_comes_passes_whole(bytes in prop::collection::vec(any::<u8>(), 0..600), room in 1..100_usize) {
            let pieces = bytes.chunks(7).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(read(pieces, &[room]).len(), bytes.len());
        }
    }

    #[test]
    fn a_mark_is_as_long_as_a_scheme_and_can_be_read_as_an_authority() {
        for (text, code) in [("http://", CODED_SCHEME), (MARK, CODED_MARK)] {
            assert_eq!(coded(text)[..5], code);
            assert_eq!(coded(text)[5], 0x7f, "one bit, and the padding");
        }
        let marked = format!("{MARK}127.0.0.1:2379").parse::<Authority>().unwrap();
        assert_eq!(marked.port_u16(), Some(2379));
    }

    #[test]
    fn a_mark_is_taken_off_again_and_nothing_else_is() {
        let restored = |uri: &str, version| {
            let request = Request::builder().uri(uri).version(version).body(()).unwrap();
            restored(request).uri().to_string()
        };
        let marked = "http://httpW==127.0.0.1:2379/etcdserverpb.KV/Range?x";
        assert_eq!(restored(marked, Version::HTTP_2), "http://127.0.0.1:2379/etcdserverpb.KV/Range?x");
        assert_eq!(restored(marked, Version::HTTP_11), marked);
        for uri in ["http://httpw==a/", "http://ahttpW==a/", "/httpW==a", "http://httpW==/"] {
            assert_eq!(restored(uri, Version::HTTP_2), uri);
        }
    }
}
