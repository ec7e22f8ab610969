//! What a request for a key asks for: the parameters of form and query, read and checked in etcd's order
//! (`parseKeyRequest` in its `client.go`).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Method;
use http::request::Parts;

use super::form::Form;
use super::{Error, ErrorCode};
use crate::model::{Content, LeaseId, Life, NodeChange, NodeCompare, Revision, Ttl};

/// The parameters.
#[expect(clippy::struct_excessive_bools, reason = "each is a parameter of the request, told by its name")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ask {
    prev_index: u64,
    /// The first index of interest to who waits; 0 for what happens from now on.
    pub(super) wait_index: u64,
    pub(super) recursive: bool,
    pub(super) wait: bool,
    directory: bool,
    pub(super) quorum: bool,
    pub(super) stream: bool,
    prev_value: Vec<u8>,
    pub(super) no_value_on_success: bool,
    ttl: Option<u64>,
    prev_exist: Option<bool>,
    refresh: bool,
    value: Vec<u8>,
}

impl Ask {
    pub(super) fn read(parts: &Parts, mut form: Form) -> Result<Self, Error> {
        let invalid = |code, name: &str| Error::request(code, format!("invalid value for {name}"));
        let index = |name: &str| {
            unsigned(form.get(name)).ok_or_else(|| invalid(ErrorCode::IndexNotANumber, &format!("\"{name}\"")))
        };
        let flag = |name: &str| {
            boolean(form.get(name)).ok_or_else(|| invalid(ErrorCode::InvalidField, &format!("\"{name}\"")))
        };
        let (prev_index, wait_index) = (index("prevIndex")?, index("waitIndex")?);
        let recursive = flag("recursive")?;
        // Nodes are sorted whether or not it is asked for.
        flag("sorted")?;
        let wait = flag("wait")?;
        let (directory, quorum, stream) = (flag("dir")?, flag("quorum")?, flag("stream")?);
        if wait && parts.method != Method::GET {
            return Err(Error::request(ErrorCode::InvalidField, "\"wait\" can only be used with GET requests"));
        }
        if form.get("prevValue").is_some_and(<[u8]>::is_empty) {
            return Err(Error::request(ErrorCode::PrevValueRequired, "\"prevValue\" cannot be empty"));
        }
        let no_value_on_success = flag("noValueOnSuccess")?;
        let ttl = form.get("ttl").filter(|ttl| !ttl.is_empty());
        let not_a_number = || invalid(ErrorCode::TtlNotANumber, "\"ttl\"");
        let ttl = ttl.map(|ttl| unsigned(Some(ttl)).ok_or_else(not_a_number)).transpose()?;
        // Here, etcd leaves the quotes out.
        let stated = |name: &str| match form.get(name) {
            None => Ok(None),
            given => boolean(given).map(Some).ok_or_else(|| invalid(ErrorCode::InvalidField, name)),
        };
        let prev_exist = stated("prevExist")?;
        let refresh = stated("refresh")?.unwrap_or(false);
        if refresh && form.get("value").is_some_and(|value| !value.is_empty()) {
            return Err(Error::request(ErrorCode::RefreshValue, "A value was provided on a refresh"));
        }
        if refresh && ttl.is_none() {
            return Err(Error::request(ErrorCode::RefreshTtlRequired, "No TTL value set"));
        }
        let (prev_value, value) = (form.take("prevValue"), form.take("value"));
        Ok(Self {
            prev_index,
            wait_index,
            recursive,
            wait,
            directory,
            quorum,
            stream,
            prev_value,
            no_value_on_success,
            ttl,
            prev_exist,
            refresh,
            value,
        })
    }

    /// What is to be compared, if anything: an empty value and index 0 ask nothing.
    fn compare(&mut self) -> Option<NodeCompare> {
        let value = (!self.prev_value.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.prev_value)));
        let modified = (self.prev_index > 0).then_some(Revision(self.prev_index));
        (value.is_some() || modified.is_some()).then_some(NodeCompare { value, modified })
    }

    fn content(&mut self) -> Content {
        if self.directory { Content::Directory } else { Content::File(std::mem::take(&mut self.value).into()) }
    }

    /// The life of the node that is written, with an id for its lease. `makes`: as a new node, which a date that lies absurdly
    /// far back gives no end.
    fn life(&self, makes: bool, lease: impl FnOnce() -> LeaseId) -> Option<Life> {
        let ttl = self.ttl.and_then(|seconds| live(seconds, now(), makes))?;
        Some(Life { lease: lease(), ttl })
    }

    /// The write that a PUT is.
    pub(super) fn put(mut self, lease: impl FnOnce() -> LeaseId) -> NodeChange {
        if self.prev_exist == Some(false) {
            return NodeChange::Create { life: self.life(true, lease), content: self.content() };
        }
        let refresh = self.refresh;
        match self.compare() {
            Some(compare) => {
                let life = self.life(false, lease);
                NodeChange::CompareAndSwap { compare, value: self.value.into(), life, refresh }
            }
            None if self.prev_exist == Some(true) => {
                let life = self.life(false, lease);
                // The value of a directory is not looked at, and one is not given to it.
                NodeChange::Update { value: self.value.into(), life, refresh }
            }
            None => NodeChange::Set { life: self.life(true, lease), content: self.content(), refresh },
        }
    }

    /// The write that a POST is.
    pub(super) fn post(mut self, lease: impl FnOnce() -> LeaseId) -> NodeChange {
        NodeChange::Append { life: self.life(true, lease), content: self.content() }
    }

    /// The write that a DELETE is.
    pub(super) fn delete(mut self) -> NodeChange {
        match self.compare() {
            Some(compare) => NodeChange::CompareAndDelete(compare),
            None => NodeChange::Delete { directory: self.directory, recursive: self.recursive },
        }
    }
}

/// Go's `strconv.ParseUint`; 0 where nothing stands.
fn unsigned(text: Option<&[u8]>) -> Option<u64> {
    let Some(text) = text else { return Some(0) };
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Go's `strconv.ParseBool`; false where nothing stands.
fn boolean(text: Option<&[u8]>) -> Option<bool> {
    match text {
        None | Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => Some(false),
        Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => Some(true),
        Some(_) => None,
    }
}

/// Nanoseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The life that a `ttl` in seconds amounts to in etcd, where it becomes a date of 64-bit nanoseconds and may overflow to
/// one that is past. `None` for no end at all.
fn live(seconds: u64, now: i64, makes: bool) -> Option<Ttl> {
    /// The year 2000: a new node with an earlier date lives for ever.
    const LONG_AGO: i64 = 946_684_800_000_000_000;
    let nanoseconds = seconds.cast_signed().wrapping_mul(1_000_000_000);
    let date = now.wrapping_add(nanoseconds);
    if date == 0 || (makes && date < LONG_AGO) {
        return None;
    }
    let left = if date < now { 0 } else { date.wrapping_sub(now) };
    Some(Ttl(u64::try_from(left / 1_000_000).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, text: &str) -> Result<Ask, Error> {
        let mut form = Form::default();
        form.add(text.as_bytes()).unwrap();
        Ask::read(&http::Request::builder().method(method).body(()).unwrap().into_parts().0, form)
    }

    fn put(text: &str) -> NodeChange {
        ask(Method::PUT, text).unwrap().put(|| LeaseId(7))
    }

    fn refused(text: &str) -> ErrorCode {
        ask(Method::PUT, text).unwrap_err().code()
    }

    fn file(value: &'static str) -> Content {
        Content::File(value.into())
    }

    #[test]
    fn a_put_is_what_its_conditions_make_of_it() {
        assert_eq!(put("value=v"), NodeChange::Set { content: file("v"), life: None, refresh: false });
        assert_eq!(put("value=v&prevIndex=0"), put("value=v"));
        assert_eq!(
            put("dir=true&value=v"),
            NodeChange::Set { content: Content::Directory, life: None, refresh: false }
        );
        assert_eq!(put("prevExist=false&prevValue=x&value=v"), NodeChange::Create { content: file("v"), life: None });
        assert_eq!(
            put("prevExist=true&value=v&ttl="),
            NodeChange::Update { value: "v".into(), life: None, refresh: false }
        );
        let compare = NodeCompare { value: Some("x".into()), modified: Some(Revision(3)) };
        let swap = NodeChange::CompareAndSwap { compare, value: "v".into(), life: None, refresh: false };
        assert_eq!(put("prevValue=x&prevIndex=3&value=v"), swap);
        assert_eq!(put("prevValue=x&prevIndex=3&value=v&prevExist=true"), swap);
        let life = Some(Life { lease: LeaseId(7), ttl: Ttl(5000) });
        assert_eq!(put("refresh=1&ttl=5"), NodeChange::Set { content: file(""), life, refresh: true });
    }

    #[test]
    fn a_delete_with_a_comparison_is_of_a_file() {
        let delete = |text| ask(Method::DELETE, text).unwrap().delete();
        assert_eq!(delete("recursive=true"), NodeChange::Delete { directory: false, recursive: true });
        let compare = NodeCompare { value: None, modified: Some(Revision(3)) };
        assert_eq!(delete("dir=true&prevIndex=3"), NodeChange::CompareAndDelete(compare));
    }

    #[test]
    fn parameters_are_checked_in_order_and_each_has_its_error() {
        let all = "prevIndex=x&recursive=x&wait=true&prevValue=&noValueOnSuccess=x&ttl=x&prevExist=x&refresh=x";
        let steps = [
            ("prevIndex=x", ErrorCode::IndexNotANumber),
            ("recursive=x", ErrorCode::InvalidField),
            ("wait=true", ErrorCode::InvalidField),
            ("prevValue=", ErrorCode::PrevValueRequired),
            ("noValueOnSuccess=x", ErrorCode::InvalidField),
            ("ttl=x", ErrorCode::TtlNotANumber),
            ("prevExist=x", ErrorCode::InvalidField),
            ("refresh=x", ErrorCode::InvalidField),
        ];
        let mut rest = all.to_owned();
        for (fault, code) in steps {
            assert_eq!(refused(&rest), code, "{rest}");
            rest = rest.replacen(fault, "", 1);
        }
        assert!(ask(Method::PUT, &rest).is_ok());
        assert_eq!(refused("refresh=true&value=x"), ErrorCode::RefreshValue);
        assert_eq!(refused("refresh=true"), ErrorCode::RefreshTtlRequired);
        for bad in ["recursive=", "recursive", "recursive=yes", "recursive=tRUE"] {
            assert_eq!(refused(bad), ErrorCode::InvalidField, "{bad}");
        }
        for bad in ["waitIndex=", "waitIndex=-1", "waitIndex=%2B1", "waitIndex=18446744073709551616"] {
            assert_eq!(refused(bad), ErrorCode::IndexNotANumber, "{bad}");
        }
    }

    #[test]
    fn a_ttl_beyond_what_etcd_can_count_overflows_as_there() {
        const NOW: i64 = 1_800_000_000_000_000_000;
        assert_eq!(live(5, NOW, true), Some(Ttl(5000)));
        assert_eq!(live(0, NOW, true), Some(Ttl(0)));
        assert_eq!(live(9_223_372_036, NOW, true), None);
        assert_eq!(live(9_223_372_036, NOW, false), Some(Ttl(0)));
        assert_eq!(live(9_999_999_999, NOW, true), None);
        assert_eq!(live(u64::MAX, NOW, true), Some(Ttl(0)), "a second ago");
    }
}
