//! Where the next page of a list begins, as clients hand it back: opaque to them, and bound to the query that made it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use crate::api::problem::Problem;
use crate::model::Revision;
use crate::service::Cursor;

/// The bytes before the position: the shape of the query and the revision.
const HEAD: usize = 16;

/// A cursor as text. The shape is a hash over everything that must stay the same from page to page.
#[must_use]
pub fn write(cursor: &Cursor, shape: u64) -> String {
    let mut bytes = Vec::with_capacity(HEAD + cursor.position.len());
    bytes.extend_from_slice(&shape.to_be_bytes());
    bytes.extend_from_slice(&cursor.revision.get().to_be_bytes());
    bytes.extend_from_slice(&cursor.position);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The cursor that a text is.
///
/// # Errors
/// [`Code::InvalidArgument`](crate::api::problem::Code::InvalidArgument) when a query of this shape did not give it out.
pub fn read(text: &str, shape: u64) -> Result<Cursor, Problem> {
    let refuse = || Problem::invalid("`cursor` is not one that this query gave out: repeat the query without it");
    let bytes = Bytes::from(URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse())?);
    let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let (Some(shape_given), Some(revision)) = (number(0), number(8)) else { return Err(refuse()) };
    if shape_given != shape || revision == 0 {
        return Err(refuse());
    }
    Ok(Cursor { revision: Revision(revision), position: bytes.slice(HEAD..) })
}
