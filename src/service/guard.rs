//! What a command may ask for, checked before it is proposed: sizes, counts, depth, time to live.

use super::Error;
use crate::cluster::peer_url;
use crate::model::limits::{
    DEFAULT_MAX_REQUEST_BYTES, MAX_AUTH_NAME_BYTES, MAX_IDEMPOTENCY_KEY_BYTES, MAX_KEY_BYTES, MAX_NAME_CHARS,
    MAX_NODE_DEPTH, MAX_PEER_URLS, MAX_RENEWED_LEASES, MAX_ROLE_PERMISSIONS, MAX_TTL_MS, MAX_TXN_DEPTH, MAX_TXN_OPS,
    MAX_TXN_STEPS, MAX_USER_ROLES,
};
use crate::model::{
    Attach, AuthChange, Command, Content, CopyKeys, Delete, DeleteTarget, Idempotency, Key, KeyRange, MemberChange,
    NodeChange, NodePath, NodeWrite, Op, Put, RangeQuery, RoleName, Ttl, Txn, UserName,
};

/// The bounds that an operator may set.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest request body and decoded command, in bytes.
    pub max_request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_request_bytes: DEFAULT_MAX_REQUEST_BYTES }
    }
}

/// Whether a command makes the store larger. When the disk is nearly full, only the others go on.
pub(super) fn grows(command: &Command) -> bool {
    match command {
        Command::Put { .. }
        | Command::Patch { .. }
        | Command::Increment(_)
        | Command::Append(_)
        | Command::CreateDirectory { .. }
        | Command::Rollback(_)
        | Command::Copy(_)
        | Command::GrantLease { .. } => true,
        Command::Node(write) => !is_deletion(write),
        Command::ChangeAuth(change) => auth_grows(change),
        Command::Txn(txn) => txn_grows(txn),
        Command::Noop
        | Command::Delete { .. }
        | Command::Refresh { .. }
        | Command::RevokeLease(_)
        | Command::RenewLeases(_)
        | Command::ExpireLease { .. }
        | Command::CheckpointLeases { .. }
        | Command::Compact(_)
        | Command::ChangeMember(_)
        | Command::RelocateMember { .. }
        | Command::DescribeMember { .. } => false,
    }
}

/// Whether a command makes events, which hold what was there before until it is compacted.
pub(super) fn makes_events(command: &Command) -> bool {
    match command {
        Command::Node(write) => is_deletion(write),
        command => matches!(command, Command::Delete { .. } | Command::Txn(_) | Command::RevokeLease(_)),
    }
}

fn is_deletion(write: &NodeWrite) -> bool {
    matches!(write.change, NodeChange::Delete { .. } | NodeChange::CompareAndDelete(_))
}

fn auth_grows(change: &AuthChange) -> bool {
    match change {
        AuthChange::AddUser(_)
        | AuthChange::PutUser { .. }
        | AuthChange::GrantRole { .. }
        | AuthChange::AddRole(_)
        | AuthChange::GrantPermission { .. } => true,
        // v2 takes things away from users and roles in the same way in which it gives them.
        AuthChange::AmendUser { grant, .. } => !grant.is_empty(),
        AuthChange::AmendRole { grant, .. } => !grant.is_empty(),
        // A password takes the place of another.
        AuthChange::SetPassword { .. }
        | AuthChange::DeleteUser(_)
        | AuthChange::RevokeRole { .. }
        | AuthChange::DeleteRole { .. }
        | AuthChange::RevokePermission { .. } => false,
    }
}

fn txn_grows(txn: &Txn) -> bool {
    txn.then.iter().chain(&txn.otherwise).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(txn) => txn_grows(txn),
        Op::Delete(_) | Op::Get(_) => false,
    })
}

/// What a transaction has used up so far, with those within it.
#[derive(Default)]
struct Used {
    steps: usize,
    bytes: usize,
}

impl Limits {
    /// Refuses a command that is out of bounds.
    pub(super) fn check(&self, command: &Command) -> Result<(), Error> {
        match command {
            Command::Noop
            | Command::RevokeLease(_)
            | Command::Compact(_)
            | Command::ChangeMember(MemberChange::Promote(_) | MemberChange::Remove(_)) => Ok(()),
            Command::Put { put, condition: _ } => self.put(put),
            Command::Patch { patch, condition: _ } => {
                key(&patch.key)?;
                self.value(&patch.document)
            }
            Command::Increment(increment) => key(&increment.key),
            Command::Append(append) => {
                directory(&append.directory)?;
                self.value(&append.value)?;
                attach(&append.attach)
            }
            Command::CreateDirectory { create, condition: _ } => {
                directory(&create.key)?;
                attach(&create.attach)
            }
            Command::Delete { delete: asked, condition: _ } => delete(asked),
            Command::Refresh { refresh, condition: _ } => {
                key(&refresh.key)?;
                ttl(refresh.ttl)
            }
            Command::Txn(asked) => self.txn(asked, 1, MAX_TXN_OPS, &mut Used::default()),
            Command::Rollback(rollback) => range(&rollback.range),
            Command::Copy(copy) => copied(copy),
            Command::Node(write) => self.node(write),
            Command::ChangeAuth(change) => auth(change),
            Command::GrantLease { id: _, ttl: asked } => ttl(*asked),
            Command::RenewLeases(leases) => at_most("leases renewed at once", leases.len(), MAX_RENEWED_LEASES),
            Command::ChangeMember(MemberChange::Add(member)) => {
                name(&member.name)?;
                peer_urls(&member.peer_urls)
            }
            Command::RelocateMember { id: _, peer_urls: urls } => peer_urls(urls),
            Command::ExpireLease { .. } | Command::CheckpointLeases { .. } | Command::DescribeMember { .. } => {
                Err(Error::InvalidArgument("only a member proposes this".to_owned()))
            }
        }
    }

    fn put(&self, put: &Put) -> Result<(), Error> {
        key(&put.key)?;
        if let Some(value) = &put.value {
            self.value(value)?;
        }
        attach(&put.attach)
    }

    fn node(&self, write: &NodeWrite) -> Result<(), Error> {
        at_most("segments in the path of a node", write.path.depth(), MAX_NODE_DEPTH)?;
        let life = match &write.change {
            NodeChange::Set { content, life, refresh: _ } | NodeChange::Create { content, life } => {
                node_key(&write.path, 1)?;
                self.content(content)?;
                life
            }
            NodeChange::Append { content, life } => {
                // The name, and slashes around it.
                node_key(&write.path, 22)?;
                self.content(content)?;
                life
            }
            NodeChange::Update { value, life, refresh: _ }
            | NodeChange::CompareAndSwap { compare: _, value, life, refresh: _ } => {
                self.value(value)?;
                life
            }
            NodeChange::Delete { .. } | NodeChange::CompareAndDelete(_) => &None,
        };
        // As in etcd, a life of nothing ends at once.
        life.filter(|life| life.ttl != Ttl::ZERO).map_or(Ok(()), |life| ttl(life.ttl))
    }

    fn content(&self, content: &Content) -> Result<(), Error> {
        match content {
            Content::File(value) => self.value(value),
            Content::Directory => Ok(()),
        }
    }

    fn value(&self, value: &[u8]) -> Result<(), Error> {
        self.size("a value", value.len())
    }

    fn size(&self, what: &'static str, actual: usize) -> Result<(), Error> {
        let limit = self.max_request_bytes;
        if actual > limit { Err(Error::TooLarge { what, actual, limit }) } else { Ok(()) }
    }

    /// A transaction within another has as much room as that one leaves it.
    fn txn(&self, txn: &Txn, depth: usize, room: usize, used: &mut Used) -> Result<(), Error> {
        at_most("levels of nested transactions", depth, MAX_TXN_DEPTH)?;
        at_most("comparisons in a transaction", txn.compares.len(), room)?;
        let operations = txn.then.len().max(txn.otherwise.len());
        at_most("operations in a transaction", operations, room)?;
        let left = room - operations.max(txn.compares.len());
        used.steps += txn.compares.len() + txn.then.len() + txn.otherwise.len();
        at_most("comparisons and operations in a transaction and those within it", used.steps, MAX_TXN_STEPS)?;
        for compare in &txn.compares {
            range(&compare.range)?;
        }
        for op in txn.then.iter().chain(&txn.otherwise) {
            match op {
                Op::Put(put) => {
                    self.put(put)?;
                    used.bytes += put.value.as_ref().map_or(0, bytes::Bytes::len);
                    self.size("a transaction", used.bytes)?;
                }
                Op::Delete(asked) => delete(asked)?,
                Op::Get(query) => self.query(query)?,
                Op::Txn(inner) => self.txn(inner, depth + 1, left, used)?,
            }
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "bounds on reads belong with the others")]
    pub(super) fn query(&self, query: &RangeQuery) -> Result<(), Error> {
        range(&query.range)
    }
}

pub(super) fn key(key: &Key) -> Result<(), Error> {
    key_bytes(key.as_bytes())
}

/// Refuses a path that is too long for the keys of a node, which have `more` bytes than it.
fn node_key(path: &NodePath, more: usize) -> Result<(), Error> {
    key_length(path.as_bytes().len() + more)
}

fn key_bytes(key: &[u8]) -> Result<(), Error> {
    key_length(key.len())
}

fn key_length(length: usize) -> Result<(), Error> {
    if length > MAX_KEY_BYTES {
        return Err(Error::InvalidArgument(format!("the key has {length} bytes; the longest key has {MAX_KEY_BYTES}")));
    }
    Ok(())
}

fn range(range: &KeyRange) -> Result<(), Error> {
    key_bytes(range.start())?;
    // The end of the range of one key is a byte longer than the key.
    range.end().map_or(Ok(()), |end| key_bytes(end.strip_suffix(&[0]).unwrap_or(end)))
}

fn copied(copy: &CopyKeys) -> Result<(), Error> {
    for name in [&copy.from, &copy.to] {
        if copy.directory { directory(name) } else { key(name) }?;
    }
    Ok(())
}

fn directory(directory: &Key) -> Result<(), Error> {
    key(directory)?;
    if directory.is_directory() {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!("{directory} does not name a directory: it has to end with a slash")))
}

fn auth(change: &AuthChange) -> Result<(), Error> {
    match change {
        AuthChange::AddUser(user) => {
            user_name(&user.name)?;
            role_names(user.roles.iter())
        }
        AuthChange::AmendUser { name, password: _, grant, revoke } => {
            user_name(name)?;
            role_names(grant.iter())?;
            role_names(revoke.iter())
        }
        AuthChange::PutUser { name, .. } | AuthChange::SetPassword { name, .. } | AuthChange::DeleteUser(name) => {
            user_name(name)
        }
        AuthChange::GrantRole { user, role } | AuthChange::RevokeRole { user, role } => {
            user_name(user)?;
            role_name(role)
        }
        AuthChange::AddRole(role) => {
            role_name(&role.name)?;
            ranges(role.permissions.keys())
        }
        AuthChange::AmendRole { name, grant, revoke } => {
            role_name(name)?;
            ranges(grant.read.iter())?;
            ranges(grant.write.iter())?;
            ranges(revoke.read.iter())?;
            ranges(revoke.write.iter())
        }
        AuthChange::DeleteRole { name, from_users: _ } => role_name(name),
        AuthChange::GrantPermission { role, range: at, access: _ }
        | AuthChange::RevokePermission { role, range: at } => {
            role_name(role)?;
            range(at)
        }
    }
}

fn user_name(name: &UserName) -> Result<(), Error> {
    auth_name("user", name.as_str())
}

fn role_name(name: &RoleName) -> Result<(), Error> {
    auth_name("role", name.as_str())
}

fn auth_name(whose: &str, name: &str) -> Result<(), Error> {
    match name.len() {
        1..=MAX_AUTH_NAME_BYTES => Ok(()),
        actual => Err(Error::InvalidArgument(format!(
            "the name of a {whose} has {actual} bytes; it has 1 to {MAX_AUTH_NAME_BYTES}"
        ))),
    }
}

fn role_names<'a>(mut names: impl ExactSizeIterator<Item = &'a RoleName>) -> Result<(), Error> {
    at_most("roles of a user", names.len(), MAX_USER_ROLES)?;
    names.try_for_each(role_name)
}

fn ranges<'a>(mut ranges: impl ExactSizeIterator<Item = &'a KeyRange>) -> Result<(), Error> {
    at_most("ranges of a role", ranges.len(), MAX_ROLE_PERMISSIONS)?;
    ranges.try_for_each(range)
}

fn delete(delete: &Delete) -> Result<(), Error> {
    match &delete.target {
        DeleteTarget::Key(target) => key(target),
        DeleteTarget::Directory { key: target, recursive: _ } => directory(target),
        DeleteTarget::Range(target) => range(target),
    }
}

fn attach(attach: &Attach) -> Result<(), Error> {
    match attach {
        Attach::Detach | Attach::Keep | Attach::KeepPresent | Attach::Lease(_) => Ok(()),
        Attach::Own { id: _, ttl: asked } => ttl(*asked),
    }
}

fn ttl(ttl: Ttl) -> Result<(), Error> {
    match ttl.get() {
        0 => Err(Error::InvalidArgument("a time to live has to be longer than nothing".to_owned())),
        ms if ms > MAX_TTL_MS => Err(Error::InvalidArgument(format!(
            "a time to live of {} s is longer than the {} s allowed",
            ms / 1000,
            MAX_TTL_MS / 1000
        ))),
        _ => Ok(()),
    }
}

fn at_most(what: &str, actual: usize, limit: usize) -> Result<(), Error> {
    if actual > limit {
        return Err(Error::InvalidArgument(format!("{actual} {what}; at most {limit} are allowed")));
    }
    Ok(())
}

/// Refuses a name that no member could be started with. None at all is one that will be said later.
fn name(name: &str) -> Result<(), Error> {
    let is_part = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | '=');
    if name.chars().count() > MAX_NAME_CHARS || !name.chars().all(is_part) {
        let allowed = format!("one word of at most {MAX_NAME_CHARS} characters, without a comma or an equals sign");
        return Err(Error::InvalidArgument(format!("the name of a member is {allowed}")));
    }
    Ok(())
}

/// Refuses peer URLs that are none, or not in the one form that ids are computed from.
fn peer_urls(urls: &[String]) -> Result<(), Error> {
    if urls.is_empty() {
        return Err(Error::InvalidArgument("a member needs a peer URL, as in http://10.0.0.4:2380".to_owned()));
    }
    at_most("peer URLs", urls.len(), MAX_PEER_URLS)?;
    for (place, url) in urls.iter().enumerate() {
        let problem = match peer_url(url) {
            Err(problem) => problem,
            Ok(form) if form != *url => format!("it is written {form}"),
            Ok(_) if urls.iter().take(place).any(|earlier| earlier == url) => "it stands twice".to_owned(),
            Ok(_) => continue,
        };
        return Err(Error::InvalidArgument(format!("the peer URL `{url}` is not http://host:port: {problem}")));
    }
    Ok(())
}

/// Refuses an idempotency key that is empty or too long.
///
/// # Errors
/// [`Error::InvalidArgument`] that says what is allowed.
pub(super) fn idempotency(idempotency: &Idempotency) -> Result<(), Error> {
    match idempotency.key.len() {
        1..=MAX_IDEMPOTENCY_KEY_BYTES => Ok(()),
        actual => Err(Error::InvalidArgument(format!(
            "an idempotency key of {actual} bytes; it has 1 to {MAX_IDEMPOTENCY_KEY_BYTES}"
        ))),
    }
}
