//! `/v2/auth`: users and roles, as recorded from etcd 3.4, and what differs from it on purpose.

use super::*;

/// A client of `/v2/auth`.
struct Auth(Client);

fn start_auth() -> (Server, Auth) {
    let server = Server::start();
    let auth = Auth(Client::new(server.address()));
    (server, auth)
}

impl Auth {
    fn get(&self, path: &str) -> Response {
        self.0.get(&format!("/v2/auth{path}"))
    }

    fn put(&self, path: &str, body: &str) -> Response {
        self.0.send("PUT", &format!("/v2/auth{path}"), &[], body.as_bytes())
    }

    fn delete(&self, path: &str) -> Response {
        self.0.delete(&format!("/v2/auth{path}"))
    }

    /// Makes or changes the user in a body.
    fn user(&self, body: &str) -> Response {
        self.put(&format!("/users/{}", name(body, "user")), body)
    }

    /// Makes or changes the role in a body.
    fn role(&self, body: &str) -> Response {
        self.put(&format!("/roles/{}", name(body, "role")), body)
    }
}

fn name(body: &str, of: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body[of].as_str().unwrap().to_owned()
}

/// Fails unless an answer has this status and body, and the headers of its kind.
#[track_caller]
fn tells(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, body));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(response.header("x-etcd-cluster-id").is_some_and(|id| !id.is_empty() && !id.starts_with('0')));
    assert_eq!(["x-etcd-index", "x-raft-index"].map(|name| response.header(name)), [None; 2]);
}

#[track_caller]
fn shows(response: &Response, status: u16, body: &str) {
    tells(response, status, &format!("{body}\n"));
}

#[track_caller]
fn refuses(response: &Response, status: u16, message: &str) {
    tells(response, status, &format!("{{\"message\":\"{message}\"}}"));
}

const ROOT_ROLE: &str = r#"{"role":"root","permissions":{"kv":{"read":["/*"],"write":["/*"]}}}"#;

#[test]
fn at_first_there_is_the_role_of_root_and_nobody_to_have_it() {
    let (_server, auth) = start_auth();
    for path in ["/users", "/users/"] {
        shows(&auth.get(path), 200, r#"{"users":null}"#);
    }
    shows(&auth.get("/roles"), 200, &format!("{{\"roles\":[{ROOT_ROLE}]}}"));
    shows(&auth.get("/roles/root"), 200, ROOT_ROLE);
    refuses(&auth.get("/roles/guest"), 404, "auth: Role guest does not exist.");
    refuses(&auth.get("/users/root"), 404, "auth: User root does not exist.");
}

#[test]
fn users_are_made_changed_and_deleted() {
    let (_server, auth) = start_auth();
    let empty = "auth: Cannot create user x with an empty password";
    refuses(&auth.user(r#"{"user":"x"}"#), 400, empty);
    refuses(&auth.user(r#"{"user":"x","roles":["a"]}"#), 400, empty);
    refuses(&auth.user(r#"{"user":"x","grant":["a"]}"#), 404, "auth: User x does not exist.");
    shows(&auth.user(r#"{"user":"x","password":"p"}"#), 201, r#"{"user":"x","roles":null}"#);
    shows(&auth.user(r#"{"user":"x"}"#), 200, r#"{"user":"x","roles":[]}"#);
    let unchanged = "auth: User not updated. Use grant/revoke/password to update the user.";
    refuses(&auth.user(r#"{"user":"x"}"#), 400, unchanged);
    shows(&auth.user(r#"{"user":"x","password":"q"}"#), 200, r#"{"user":"x","roles":[]}"#);
    shows(&auth.user(r#"{"user":"y","password":"p","roles":[]}"#), 201, r#"{"user":"y","roles":[]}"#);
    refuses(&auth.user(r#"{"user":"y"}"#), 400, unchanged);
    shows(&auth.user(r#"{"user":"z","password":"p","roles":["a","b"]}"#), 200, r#"{"user":"z","roles":["a","b"]}"#);
    refuses(&auth.user(r#"{"user":"z","password":"p","roles":["a"]}"#), 409, "auth: User z already exists.");
    shows(&auth.user(r#"{"user":"z","grant":["c"],"revoke":["a"]}"#), 200, r#"{"user":"z","roles":["b","c"]}"#);
    refuses(&auth.user(r#"{"user":"z","grant":["c"]}"#), 409, "auth: Granting duplicate role c for user z");
    refuses(&auth.user(r#"{"user":"z","revoke":["a"]}"#), 409, "auth: Revoking ungranted role a for user z");
    let both = "User JSON contains both roles and grant/revoke";
    refuses(&auth.user(r#"{"user":"z","roles":["a"],"grant":["d"]}"#), 400, both);
    shows(&auth.get("/users"), 200, r#"{"users":[{"user":"x"},{"user":"y"},{"user":"z"}]}"#);
    refuses(&auth.get("/users/z"), 404, "auth: Role b does not exist.");
    auth.role(r#"{"role":"b"}"#).expect(201);
    let role = r#"{"role":"b","permissions":{"kv":{"read":null,"write":null}}}"#;
    let listed = format!("{{\"users\":[{{\"user\":\"x\"}},{{\"user\":\"y\"}},{{\"user\":\"z\",\"roles\":[{role}]}}]}}");
    shows(&auth.get("/users"), 200, &listed);
    shows(&auth.get("/users/x/"), 200, r#"{"user":"x"}"#);
    tells(&auth.delete("/users/x"), 200, "");
    refuses(&auth.delete("/users/x"), 404, "auth: User x does not exist");
}

#[test]
fn roles_are_made_changed_and_deleted_and_stay_with_their_users() {
    let (_server, auth) = start_auth();
    let none = r#"{"role":"r","permissions":{"kv":{"read":null,"write":null}}}"#;
    shows(&auth.role(r#"{"role":"r","permissions":null}"#), 201, none);
    shows(&auth.get("/roles/r"), 200, none);
    refuses(&auth.role(r#"{"role":"r"}"#), 409, "auth: Role r already exists.");
    let empty = r#"{"role":"r","permissions":{"kv":{"read":[],"write":[]}}}"#;
    let revoke = r#"{"role":"r","revoke":{"kv":{"read":["/x"]}}}"#;
    shows(&auth.role(revoke), 200, empty);
    refuses(&auth.role(revoke), 400, "auth: Role not updated. Use grant/revoke to update the role.");
    let granted = r#"{"role":"r","permissions":{"kv":{"read":["*","/\u003cb\u003e","/a*","foo"],"write":["/a*"]}}}"#;
    let grant = r#"{"role":"r","grant":{"kv":{"read":["foo","/a*","*","/<b>"],"write":["/a*"]}}}"#;
    shows(&auth.role(grant), 200, granted);
    let twice = r#"{"role":"r","grant":{"kv":{"read":["foo"]}}}"#;
    refuses(&auth.role(twice), 409, "auth: Granting duplicate read permission foo");
    let twice = r#"{"role":"r","grant":{"kv":{"write":["/b","/a*"]}}}"#;
    refuses(&auth.role(twice), 409, "auth: Granting duplicate write permission /a*");
    let left = r#"{"role":"r","permissions":{"kv":{"read":["/a*","/b"],"write":[]}}}"#;
    let change =
        r#"{"role":"r","grant":{"kv":{"read":["/b"]}},"revoke":{"kv":{"read":["*","foo","/<b>"],"write":["/a*"]}}}"#;
    shows(&auth.role(change), 200, left);
    let both = r#"{"role":"r","permissions":{"kv":{"read":["/a"]}},"grant":{"kv":{"read":["/c"]}}}"#;
    refuses(&auth.role(both), 400, "Role JSON contains both permissions and grant/revoke");
    refuses(&auth.role(r#"{"role":"n","grant":{"kv":{"read":["/c"]}}}"#), 404, "auth: Role n does not exist.");
    let made = r#"{"role":"n","permissions":{"kv":{"read":["/a"],"write":[]}}}"#;
    shows(&auth.role(made), 201, made);
    auth.user(r#"{"user":"u","password":"p","roles":["n"]}"#).expect(200);
    shows(&auth.get("/users/u"), 200, &format!("{{\"user\":\"u\",\"roles\":[{made}]}}"));
    tells(&auth.delete("/roles/n"), 200, "");
    refuses(&auth.delete("/roles/n"), 404, "auth: Role n doesn't exist.");
    refuses(&auth.get("/users/u"), 404, "auth: Role n does not exist.");
    shows(&auth.get("/users"), 200, r#"{"users":[{"user":"u"}]}"#);
    shows(&auth.get("/roles"), 200, &format!("{{\"roles\":[{left},{ROOT_ROLE}]}}"));
}

#[test]
fn root_has_its_role_which_nobody_changes() {
    let (_server, auth) = start_auth();
    let is_root = "auth: Cannot modify role root: is root role.";
    for refused in [
        auth.role(r#"{"role":"root"}"#),
        auth.role(r#"{"role":"root","grant":{"kv":{"read":["/c"]}}}"#),
        auth.delete("/roles/root"),
    ] {
        refuses(&refused, 403, is_root);
    }
    shows(&auth.user(r#"{"user":"root","password":"p"}"#), 201, r#"{"user":"root","roles":["root"]}"#);
    refuses(&auth.user(r#"{"user":"root","grant":["root"]}"#), 409, "auth: Granting duplicate role root for user root");
    for _ in 0..2 {
        shows(&auth.user(r#"{"user":"root","revoke":["root"]}"#), 200, r#"{"user":"root","roles":[]}"#);
    }
    shows(&auth.get("/users/root"), 200, &format!("{{\"user\":\"root\",\"roles\":[{ROOT_ROLE}]}}"));
    auth.delete("/users/root").expect(200);
    shows(
        &auth.user(r#"{"user":"root","password":"p","roles":["a"]}"#),
        200,
        r#"{"user":"root","roles":["a","root"]}"#,
    );
}

#[test]
fn nothing_is_enabled_and_nobody_is_told_that_it_is() {
    let (_server, auth) = start_auth();
    shows(&auth.get("/enable"), 200, r#"{"enabled":false}"#);
    refuses(&auth.put("/enable", ""), 409, "auth: No root user available, please create one");
    refuses(&auth.delete("/enable"), 409, "auth: already disabled");
    auth.user(r#"{"user":"root","password":"p"}"#).expect(201);
    let told = "auth: users and roles are stored and not enforced yet, so they cannot be enabled";
    refuses(&auth.put("/enable", ""), 409, told);
    shows(&auth.get("/enable"), 200, r#"{"enabled":false}"#);
}

#[test]
fn what_is_no_request_is_refused_as_etcd_refuses_it() {
    let (_server, auth) = start_auth();
    auth.user(r#"{"user":"x","password":"p"}"#).expect(201);
    for body in ["", "{", "[]", r#"{"user":1}"#, r#"{"user":"x","grant":"a"}"#] {
        refuses(&auth.put("/users/x", body), 400, "Invalid JSON in request body.");
        let body = body.replace("user", "role");
        refuses(&auth.put("/roles/x", &body), 400, "Invalid JSON in request body.");
    }
    refuses(&auth.put("/users/x", "null"), 400, "User JSON name does not match the name in the URL");
    refuses(&auth.put("/roles/x", r#"{"role":"y"}"#), 400, "Role JSON name does not match the name in the URL");
    shows(&auth.put("/users/x", r#"{"USER":"x","Grant":["a"]} x"#), 200, r#"{"user":"x","roles":["a"]}"#);
    for path in ["/users/a/b", "/roles/a%2Fb"] {
        let refused = auth.get(path);
        assert_eq!((refused.status, refused.text().as_str()), (400, r#"{"message":"Invalid path"}"#));
        assert_eq!(refused.header("x-etcd-cluster-id"), None);
    }
    for path in ["", "/", "/enable/", "/user", "/usersx"] {
        assert_eq!((auth.get(path).status, auth.get(path).text().as_str()), (404, "404 page not found\n"), "{path}");
    }
    for (method, path, allowed) in [
        ("POST", "/users", "GET"),
        ("HEAD", "/users", "GET"),
        ("PUT", "/roles/", "GET"),
        ("POST", "/users/x", "GET,PUT,DELETE"),
        ("HEAD", "/roles/x", "GET,PUT,DELETE"),
        ("PATCH", "/enable", "GET,PUT,DELETE"),
    ] {
        let refused = auth.0.send(method, &format!("/v2/auth{path}"), &[], b"");
        assert_eq!((refused.status, refused.header("allow")), (405, Some(allowed)), "{method} {path}");
        assert_eq!(refused.header("x-etcd-cluster-id"), None);
    }
    for path in ["/users?%zz", "/users/x?%zz", "/roles?a;b"] {
        refuses(&auth.get(path), 500, "Internal Server Error");
    }
    auth.get("/roles/root?%zz").expect(200);
}

#[test]
fn names_are_any_text_and_those_that_begin_with_an_underscore_are_not_listed() {
    let (_server, auth) = start_auth();
    let made = r#"{"user":"\u003cb\u003e\u0026\"","roles":null}"#;
    shows(&auth.put("/users/%3Cb%3E&%22", r#"{"user":"<b>&\"","password":"p"}"#), 201, made);
    shows(&auth.put("/users/%C3%A9", r#"{"user":"é","password":"p"}"#), 201, r#"{"user":"é","roles":null}"#);
    refuses(&auth.get("/users/%ff"), 404, r"auth: User \ufffd does not exist.");
    refuses(&auth.delete("/roles/%ff"), 404, r"auth: Role \ufffd doesn't exist.");
    auth.user(r#"{"user":"_h","password":"p"}"#).expect(201);
    auth.role(r#"{"role":"_h"}"#).expect(201);
    shows(&auth.get("/users/_h"), 200, r#"{"user":"_h"}"#);
    shows(&auth.get("/users"), 200, r#"{"users":[{"user":"\u003cb\u003e\u0026\""},{"user":"é"}]}"#);
    shows(&auth.get("/roles"), 200, &format!("{{\"roles\":[{ROOT_ROLE}]}}"));
}

#[test]
fn there_are_bounds() {
    let (_server, auth) = start_auth();
    let told = |bytes| format!("auth: the name of a user has {bytes} bytes; it has 1 to 256");
    let user = |length| auth.user(&format!("{{\"user\":\"{}\",\"password\":\"p\"}}", "u".repeat(length)));
    refuses(&user(257), 400, &told(257));
    user(256).expect(201);
    let password = |length| auth.user(&format!("{{\"user\":\"x\",\"password\":\"{}\"}}", "p".repeat(length)));
    refuses(&password(73), 400, "auth: a password of 73 bytes; at most 72 are allowed");
    password(72).expect(201);
    refuses(&auth.user(r#"{"user":"x","grant":[""]}"#), 400, "auth: the name of a role has 0 bytes; it has 1 to 256");
    let empty = r#"{"role":"r","permissions":{"kv":{"read":[""]}}}"#;
    refuses(&auth.role(empty), 400, "auth: a pattern of keys is not empty");
    let many = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("\"r{n}\"")).collect();
        auth.user(&format!("{{\"user\":\"x\",\"grant\":[{}]}}", names.join(",")))
    };
    refuses(&many(101), 400, "auth: 101 roles of a user; at most 100 are allowed");
    many(100).expect(200);
    refuses(&auth.user(r#"{"user":"x","grant":["z"]}"#), 409, "auth: a user has at most 100 roles");
    let large = format!("{{\"user\":\"x\",\"grant\":[\"{}\"]}}", "r".repeat(256 * 1024));
    auth.put("/users/x", &large).expect(400);
}

#[test]
fn users_and_roles_outlive_a_restart_and_move_no_index() {
    let (mut server, auth) = start_auth();
    auth.user(r#"{"user":"u","password":"p","roles":["r"]}"#).expect(200);
    auth.role(r#"{"role":"r","permissions":{"kv":{"read":["/a*"],"write":["/a*"]}}}"#).expect(201);
    assert_eq!(auth.0.get("/v2/keys/").header("x-etcd-index"), Some("1"));
    let all = |auth: &Auth| ["/users", "/roles"].map(|path| auth.get(path).expect(200).text());
    let before = all(&auth);
    server.kill();
    server.restart();
    let auth = Auth(Client::new(server.address()));
    assert_eq!(all(&auth), before);
}
