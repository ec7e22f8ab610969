//! The commands about the members of a cluster.

use serde_json::Value;

use super::args::MemberCommand;
use super::client::{Client, Request};
use super::exit::Outcome;
use super::item;
use super::output::{Output, member, table};
use super::route::Route;

pub(crate) async fn members(client: &Client, out: &Output, command: MemberCommand) -> Outcome<()> {
    match command {
        MemberCommand::List { .. } => list(client, out).await,
    }
}

async fn list(client: &Client, out: &Output) -> Outcome<()> {
    let answer = client.send(&Request::get(Route::new("/v1/cluster"))).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    let cluster: Value = item::read(&answer.body)?;
    out.bytes(table(&rows(&cluster)).as_bytes())
}

fn rows(cluster: &Value) -> Vec<Vec<String>> {
    let titles = ["ID", "NAME", "ROLE", "PEER URLS", "CLIENT URLS"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for object in cluster.get("members").and_then(Value::as_array).into_iter().flatten() {
        let is = |name: &str| object.get(name) == Some(&Value::Bool(true));
        let role = match (is("leads"), is("learner")) {
            (true, _) => "leader",
            (false, true) => "learner",
            (false, false) => "follower",
        };
        rows.push(vec![
            member(object, "id"),
            member(object, "name"),
            role.to_owned(),
            urls(object, "peerUrls"),
            urls(object, "clientUrls"),
        ]);
    }
    rows
}

fn urls(object: &Value, name: &str) -> String {
    let urls = object.get(name).and_then(Value::as_array).into_iter().flatten();
    urls.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_member_has_a_row_with_its_role() {
        let url = ["http://a:2380"];
        let rows = rows(&json!({"members": [
            {"id": "1", "name": "a", "peerUrls": url, "clientUrls": [], "learner": false, "leads": true},
            {"id": "2", "name": "", "peerUrls": url, "clientUrls": ["http://b", "http://c"], "learner": true, "leads": false},
        ]}));
        assert_eq!(rows[1], ["1", "a", "leader", "http://a:2380", ""]);
        assert_eq!(rows[2], ["2", "", "learner", "http://a:2380", "http://b,http://c"]);
    }
}
