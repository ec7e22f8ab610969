//! The fields of requests, described once for all that is done with them: writing them as JSON, reading them from the text of a
//! regression, finding out which are set, leaving one out, and putting in the numbers that are known only when a sequence is played.

use bytes::Bytes;

use crate::pb;
use pb::compare::TargetUnion;
use pb::request_op::Request;

/// A message whose fields are known.
pub(crate) trait Fields: Default + Clone {
    fn visit(&mut self, visitor: &mut impl Visitor);
}

/// What is done with each field.
pub(crate) trait Visitor {
    fn int(&mut self, name: &'static str, value: &mut i64);
    fn flag(&mut self, name: &'static str, value: &mut bool);
    fn bytes(&mut self, name: &'static str, value: &mut Bytes);
    fn text(&mut self, name: &'static str, value: &mut String);
    fn choice(&mut self, name: &'static str, value: &mut i32, of: &'static [&'static str]);
    fn choices(&mut self, name: &'static str, value: &mut Vec<i32>, of: &'static [&'static str]);
    fn message<M: Fields>(&mut self, name: &'static str, value: &mut Option<M>);
    fn messages<M: Fields>(&mut self, name: &'static str, value: &mut Vec<M>);
    /// One of several of which one can be, so that there is a zero that is given.
    fn given_int(&mut self, name: &'static str, value: &mut Option<i64>);
    fn given_bytes(&mut self, name: &'static str, value: &mut Option<Bytes>);
}

/// Fields of the types that need nothing to be said but their names.
macro_rules! fields {
    ($($message:ty { $($kind:ident $field:ident $name:literal $(of $names:expr)?),* $(,)? })*) => {
        $(impl Fields for $message {
            fn visit(&mut self, _visitor: &mut impl Visitor) {
                $(_visitor.$kind($name, &mut self.$field $(, $names)?);)*
            }
        })*
    };
}

fields! {
    pb::RangeRequest {
        bytes key "key",
        bytes range_end "range_end",
        int limit "limit",
        int revision "revision",
        choice sort_order "sort_order" of &["NONE", "ASCEND", "DESCEND"],
        choice sort_target "sort_target" of &["KEY", "VERSION", "CREATE", "MOD", "VALUE"],
        flag serializable "serializable",
        flag keys_only "keys_only",
        flag count_only "count_only",
        int min_mod_revision "min_mod_revision",
        int max_mod_revision "max_mod_revision",
        int min_create_revision "min_create_revision",
        int max_create_revision "max_create_revision",
    }
    pb::PutRequest {
        bytes key "key",
        bytes value "value",
        int lease "lease",
        flag prev_kv "prev_kv",
        flag ignore_value "ignore_value",
        flag ignore_lease "ignore_lease",
    }
    pb::DeleteRangeRequest { bytes key "key", bytes range_end "range_end", flag prev_kv "prev_kv" }
    pb::TxnRequest { messages compare "compare", messages success "success", messages failure "failure" }
    pb::CompactionRequest { int revision "revision", flag physical "physical" }
    pb::LeaseGrantRequest { int ttl "TTL", int id "ID" }
    pb::LeaseRevokeRequest { int id "ID" }
    pb::LeaseKeepAliveRequest { int id "ID" }
    pb::LeaseTimeToLiveRequest { int id "ID", flag keys "keys" }
    pb::LeaseLeasesRequest {}
    pb::MemberListRequest { flag linearizable "linearizable" }
    pb::WatchCreateRequest {
        bytes key "key",
        bytes range_end "range_end",
        int start_revision "start_revision",
        flag progress_notify "progress_notify",
        choices filters "filters" of &["NOPUT", "NODELETE"],
        flag prev_kv "prev_kv",
        int watch_id "watch_id",
        flag fragment "fragment",
    }
    pb::WatchCancelRequest { int watch_id "watch_id" }
    pb::lock::LockRequest { bytes name "name", int lease "lease" }
    pb::lock::UnlockRequest { bytes key "key" }
    pb::election::LeaderKey { bytes name "name", bytes key "key", int rev "rev", int lease "lease" }
    pb::election::CampaignRequest { bytes name "name", int lease "lease", bytes value "value" }
    pb::election::ProclaimRequest { message leader "leader", bytes value "value" }
    pb::election::LeaderRequest { bytes name "name" }
    pb::election::ResignRequest { message leader "leader" }
    pb::authpb::UserAddOptions { flag no_password "no_password" }
    pb::authpb::Permission {
        choice perm_type "permType" of &["READ", "WRITE", "READWRITE"],
        bytes key "key",
        bytes range_end "range_end",
    }
    pb::AuthDisableRequest {}
    pb::AuthenticateRequest { text name "name", text password "password" }
    pb::AuthUserAddRequest { text name "name", text password "password", message options "options" }
    pb::AuthUserGetRequest { text name "name" }
    pb::AuthUserListRequest {}
    pb::AuthUserDeleteRequest { text name "name" }
    pb::AuthUserChangePasswordRequest { text name "name", text password "password" }
    pb::AuthUserGrantRoleRequest { text user "user", text role "role" }
    pb::AuthUserRevokeRoleRequest { text name "name", text role "role" }
    pb::AuthRoleAddRequest { text name "name" }
    pb::AuthRoleGetRequest { text role "role" }
    pb::AuthRoleListRequest {}
    pb::AuthRoleDeleteRequest { text role "role" }
    pb::AuthRoleGrantPermissionRequest { text name "name", message perm "perm" }
    pb::AuthRoleRevokePermissionRequest { text role "role", bytes key "key", bytes range_end "range_end" }
}

impl Fields for pb::Compare {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.choice("result", &mut self.result, &["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]);
        visitor.choice("target", &mut self.target, &["VERSION", "CREATE", "MOD", "VALUE", "LEASE"]);
        visitor.bytes("key", &mut self.key);
        visitor.bytes("range_end", &mut self.range_end);
        let (mut version, mut create, mut modified, mut value, mut lease) = (None, None, None, None, None);
        match self.target_union.take() {
            Some(TargetUnion::Version(number)) => version = Some(number),
            Some(TargetUnion::CreateRevision(number)) => create = Some(number),
            Some(TargetUnion::ModRevision(number)) => modified = Some(number),
            Some(TargetUnion::Value(bytes)) => value = Some(bytes),
            Some(TargetUnion::Lease(number)) => lease = Some(number),
            None => {}
        }
        visitor.given_int("version", &mut version);
        visitor.given_int("create_revision", &mut create);
        visitor.given_int("mod_revision", &mut modified);
        visitor.given_bytes("value", &mut value);
        visitor.given_int("lease", &mut lease);
        self.target_union = (version.map(TargetUnion::Version))
            .or(create.map(TargetUnion::CreateRevision))
            .or(modified.map(TargetUnion::ModRevision))
            .or(value.map(TargetUnion::Value))
            .or(lease.map(TargetUnion::Lease));
    }
}

impl Fields for pb::RequestOp {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        let (mut range, mut put, mut delete, mut txn) = (None, None, None, None);
        match self.request.take() {
            Some(Request::RequestRange(request)) => range = Some(request),
            Some(Request::RequestPut(request)) => put = Some(request),
            Some(Request::RequestDeleteRange(request)) => delete = Some(request),
            Some(Request::RequestTxn(request)) => txn = Some(request),
            None => {}
        }
        visitor.message("request_range", &mut range);
        visitor.message("request_put", &mut put);
        visitor.message("request_delete_range", &mut delete);
        visitor.message("request_txn", &mut txn);
        self.request = (range.map(Request::RequestRange))
            .or(put.map(Request::RequestPut))
            .or(delete.map(Request::RequestDeleteRange))
            .or(txn.map(Request::RequestTxn));
    }
}
