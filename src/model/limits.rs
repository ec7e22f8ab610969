//! Every bound by name. Reaching one has a defined answer, named beside it.
//!
//! The state machine uses only constants: a bound that one member could set differently would make replicas
//! differ. What an operator may set is checked at the edge, before a command is proposed.

use std::time::Duration;

/// The longest key, in bytes: `400 invalid_argument` on `/v1`.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// The keys directly below the name of a lock or an election, its places among them: `400 invalid_argument`.
pub const MAX_QUEUE_PLACES: u64 = 10_000;
/// The default bound on a request body and on a decoded command, in bytes: `413 too_large`.
pub const DEFAULT_MAX_REQUEST_BYTES: usize = 1536 * 1024;
/// What an operator may raise that bound to.
pub const HIGHEST_MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// The comparisons of a transaction, and the operations of each of its two ways; one within another has as many as that one
/// leaves, as in etcd: `400 invalid_argument`.
pub const MAX_TXN_OPS: usize = 128;
/// The comparisons and operations of a transaction and of all within it, of both ways of each: `400 invalid_argument`. They are carried out,
/// on every member, before anything else is.
pub const MAX_TXN_STEPS: usize = 1024;
/// How deep transactions nest: `400 invalid_argument`.
pub const MAX_TXN_DEPTH: usize = 8;
/// How deep a JSON document nests: `400 invalid_argument`.
pub const MAX_JSON_DEPTH: usize = 64;
/// The bytes of a document that is converted between JSON and YAML: of its texts, aliases written out, `400 invalid_argument`; of what
/// comes of it, `413 too_large`.
pub const MAX_CONVERTED_BYTES: usize = 16 * 1024 * 1024;
/// The values and names in such a document, aliases written out: `400 invalid_argument`. Each takes about 200 bytes meanwhile.
pub const MAX_CONVERTED_VALUES: usize = 250_000;
/// The documents that are converted at once: others wait, until their deadline.
pub const MAX_CONVERTING: usize = 4;
/// The largest value that a patch may make, in bytes: `413 too_large`.
pub const MAX_PATCHED_BYTES: usize = DEFAULT_MAX_REQUEST_BYTES;
/// The work that one patch may cause: a step is about ten bytes moved, copied or compared. `409 patch_conflict`.
pub const MAX_PATCH_STEPS: usize = 20_000_000;
/// The records of a page when the client names no limit.
pub const DEFAULT_PAGE: u64 = 1000;
/// The largest page a client may ask for: `400 invalid_argument`.
pub const MAX_PAGE: u64 = 100_000;
/// A page is cut, with a cursor, when its records reach this many bytes.
pub const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;
/// The keys that one page of a search looks into: the next page goes on behind them.
pub const MAX_SEARCHED_KEYS: u64 = 10_000;
/// The keys that one rollback may change: `413 too_large` with the counts.
pub const MAX_ROLLBACK_KEYS: u64 = 10_000;
/// The keys that one copy or move may write: `413 too_large` with the counts.
pub const MAX_COPY_KEYS: u64 = 10_000;
/// The bytes of keys and values that one copy or move may write: `413 too_large` with the counts.
pub const MAX_COPY_BYTES: u64 = 16 * 1024 * 1024;
/// The name of a service or of an instance, in bytes: `400 invalid_argument`.
pub const MAX_SERVICE_NAME_BYTES: usize = 255;
/// What an instance says of itself, in bytes of JSON: `413 too_large`; written by other ways, it is shown as no document.
pub const MAX_INSTANCE_BYTES: usize = 64 * 1024;
/// The address of an instance, in bytes: `400 invalid_argument`.
pub const MAX_ADDRESS_BYTES: usize = 255;
/// The tags of an instance: `400 invalid_argument`.
pub const MAX_INSTANCE_TAGS: usize = 64;
/// A tag, in bytes: `400 invalid_argument`.
pub const MAX_TAG_BYTES: usize = 128;
/// The weight of an instance: `400 invalid_argument`.
pub const MAX_WEIGHT: u32 = 1_000_000;
/// The tags that a list of services shows of one: the others are left out, and that is said.
pub const MAX_SERVICE_TAGS: usize = 1000;
/// The bytes of records that one rollback may write: `413 too_large` with the counts.
pub const MAX_ROLLBACK_BYTES: u64 = 16 * 1024 * 1024;
/// The keys that one deletion of a range may delete: `413 too_large` with the counts. It is one revision, and one block of
/// events with all that was there.
pub const MAX_DELETE_KEYS: u64 = 1_000_000;
/// The bytes of keys and values that one deletion of a range may delete: `413 too_large` with the counts.
pub const MAX_DELETE_BYTES: u64 = 256 * 1024 * 1024;
/// The segments of the path of a node on `/v2`, each of which may need a marker: `400` with error 209, and left out of listings
/// where another dialect made more. etcd has no such bound.
pub const MAX_NODE_DEPTH: usize = 256;
/// What is read of a form on `/v2` that is larger than allowed, or that largest form where it is more: the connection ends beyond.
pub const MAX_DRAINED_BYTES: usize = 16 * 1024 * 1024;
/// The nodes that one `GET` on `/v2` may show: `400` with error 209 and what to do.
pub const MAX_SHOWN_NODES: usize = 500_000;
/// The bytes of the answer to one `GET` of a directory on `/v2`: as [`MAX_SHOWN_NODES`]. Of what is read for it, the keys and values
/// are as bounded.
pub const MAX_SHOWN_BYTES: usize = 64 * 1024 * 1024;
/// The events that one read of the past may walk over: `400` with a hint.
pub const MAX_WALK_STEPS: u64 = 100_000;
/// The longest time to live: 9,000,000,000 s, as etcd's: `400 invalid_argument`.
pub const MAX_TTL_MS: u64 = 9_000_000_000_000;
/// The leases that one command renews: more are renewed by several.
pub const MAX_RENEWED_LEASES: usize = 1024;
/// The longest `Idempotency-Key`: `400 invalid_argument`.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 128;
/// How long an idempotency key is kept, by the state machine's clock.
pub const IDEMPOTENCY_WINDOW_MS: u64 = 10 * 60 * 1000;
/// How many idempotency keys are kept: `429 overloaded` beyond.
pub const MAX_IDEMPOTENCY_KEYS: usize = 100_000;
/// The bytes of kept answers: `429 overloaded` beyond.
pub const MAX_IDEMPOTENCY_BYTES: usize = 64 * 1024 * 1024;
/// The largest answer that is kept: `409 result_not_kept` on a retry.
pub const MAX_KEPT_ANSWER_BYTES: usize = 64 * 1024;
/// A history block is closed at this many encoded bytes; one larger revision makes one larger block.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// The events and bytes that a stream may have waiting: `lagging` on `/v1`.
pub const WATCH_BACKLOG_EVENTS: usize = 1024;
/// See [`WATCH_BACKLOG_EVENTS`].
pub const WATCH_BACKLOG_BYTES: usize = 4 * 1024 * 1024;
/// What may wait for all streams of a member together, in bytes of memory: beyond, those that have waited the longest are `lagging`,
/// until half of it is left. What readers have taken counts, but cannot be let go.
pub const WATCH_BACKLOGS_BYTES: usize = 256 * 1024 * 1024;
/// What a list of watches shows of a `User-Agent`, in bytes: it is cut.
pub const MAX_USER_AGENT_BYTES: usize = 200;
/// The pieces of states and of history that are read for watches at once: others wait for their turn, and what else reads does not.
pub const MAX_WATCH_READS: usize = 16;
/// How far ahead of the state machine's clock a leader's stamp may be, within a term, before it is clamped: one hour.
pub const MAX_CLOCK_JUMP_MS: u64 = 60 * 60 * 1000;
/// How long a leader's stamps must keep to a jump before it is believed.
pub const CLOCK_CONFIRM_MS: u64 = 60 * 1000;
/// The bytes of proposals in flight: `503 overloaded` beyond.
pub const MAX_INFLIGHT_BYTES: usize = 64 * 1024 * 1024;
/// The number of proposals in flight: `503 overloaded` beyond.
pub const MAX_INFLIGHT_PROPOSALS: usize = 16 * 1024;
/// One log entry takes proposals up to this many bytes; a larger proposal travels alone.
pub const MAX_ENTRY_BYTES: usize = 1024 * 1024;
/// The watches on one WebSocket: an `overloaded` message beyond.
pub const MAX_SOCKET_WATCHES: usize = 1000;
/// The watches on one stream of etcd's v3 API: cancelled as they are created beyond, with `etcdserver: too many requests`. etcd has
/// no such bound.
pub const MAX_STREAM_WATCHES: usize = 100_000;
/// The largest message that a client may send over WebSocket: the socket is closed with 1009 beyond.
pub const SOCKET_MESSAGE_BYTES: usize = 1536 * 1024;
/// The largest frame of such a message.
pub const SOCKET_FRAME_BYTES: usize = 256 * 1024;
/// What may wait to be written to a WebSocket of `/v1`. One event has to fit: value and previous value, each escaped.
pub const SOCKET_WRITE_BYTES: usize = 24 * 1024 * 1024;
/// How often an idle WebSocket is pinged, so that one whose other end is gone is noticed.
pub const SOCKET_PING_EVERY: Duration = Duration::from_secs(15);
/// A WebSocket that nothing has come from for this long, not even an answer to a ping, is given up.
pub const SOCKET_SILENCE: Duration = Duration::from_mins(1);
/// The largest frame between members: the largest entry that can come about, with what surrounds it. A larger one is not
/// queued, and ends the connection on which it comes.
pub const MAX_PEER_FRAME_BYTES: usize = MAX_INFLIGHT_BYTES + 2 * MAX_ENTRY_BYTES;
/// The members of a cluster that a discovery URL is made for: `400 invalid_argument` at `/new`.
pub const MAX_DISCOVERY_SIZE: u64 = 100;
/// The answer of a discovery service that is read, in bytes: as no answer beyond.
pub const MAX_DISCOVERY_BYTES: usize = 1024 * 1024;
/// What may wait to be sent to one member, in bytes of entries and of forwarded proposals: not queued beyond, and raft
/// sends it again. One message may always wait, however large.
pub const PEER_BULK_BYTES: usize = 32 * 1024 * 1024;
/// See [`PEER_BULK_BYTES`]: the number of messages.
pub const PEER_BULK_MESSAGES: usize = 4096;
/// The small messages that may wait to be sent to one member: not queued beyond.
pub const PEER_URGENT_MESSAGES: usize = 1024;
/// Connections of other members that have not yet said who they are: further ones wait to be accepted.
pub const MAX_PEER_HANDSHAKES: usize = 64;
/// The largest frame of a handshake between members: one that is larger ends the connection.
pub const MAX_PEER_HANDSHAKE_BYTES: usize = 64 * 1024;
/// The peer URLs of a member: one that says that it has more is not listened to.
pub const MAX_PEER_URLS: usize = 16;
/// Members that dialed this one without being known to it, as those that it listens and sends to: the connections of further
/// ones are ended.
pub const MAX_PEER_ACQUAINTANCES: usize = 32;
/// The largest answer to a member that asks who the members are: a larger one is not given.
pub const MAX_PEER_MEMBERS_BYTES: usize = 1024 * 1024;
/// The largest piece of a snapshot between members; larger ones are cut up by the sender, and end the connection at the
/// receiver.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1024 * 1024;
/// The pieces of a snapshot in memory at each end: whoever makes them waits.
pub const SNAPSHOT_CHUNKS_WAITING: usize = 4;
/// The voters of a cluster: a member does not start with a longer list, and no more are made. Each makes every write wait for
/// more disks.
pub const MAX_VOTERS: usize = 7;
/// The name of a member, in characters.
pub const MAX_NAME_CHARS: usize = 128;
/// The members of a cluster, learners included: no more are added. The leader sends the log to each.
pub const MAX_MEMBERS: usize = 16;
/// The records that a name of `--discovery-srv` may have: the member does not start beyond.
pub const MAX_SRV_RECORDS: usize = 64;
/// The name of a user or of a role, in bytes: `400` on `/v2/auth`.
pub const MAX_AUTH_NAME_BYTES: usize = 256;
/// A password, in bytes: `400` on `/v2/auth`. What is behind them would count for nothing: bcrypt reads no further.
pub const MAX_PASSWORD_BYTES: usize = 72;
/// The users: `409` on `/v2/auth`.
pub const MAX_USERS: usize = 10_000;
/// The roles: `409` on `/v2/auth`.
pub const MAX_ROLES: usize = 1000;
/// The roles of a user, and those granted or revoked at once: `409` and `400` on `/v2/auth`.
pub const MAX_USER_ROLES: usize = 100;
/// The ranges in which a role permits something, and those granted or revoked at once: `409` and `400` on `/v2/auth`.
pub const MAX_ROLE_PERMISSIONS: usize = 1000;
/// The bytes of the bounds of these ranges: `409` on `/v2/auth`.
pub const MAX_ROLE_BYTES: usize = 64 * 1024;
/// The bytes of the body of a request to `/v2/auth`: `400`.
pub const MAX_AUTH_REQUEST_BYTES: usize = 256 * 1024;
/// The passwords that are hashed at once: each takes a processor for a while. Others wait.
pub const MAX_HASHING: usize = 2;
/// The passwords that wait to be hashed, those that are being hashed included: as overloaded beyond.
pub const MAX_HASHING_WAITING: usize = 64;
