//! The commands about the members of a cluster.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::args::MemberCommand;
use super::client::{Client, Request};
use super::exit::{Exit, Failure, Outcome};
use super::item;
use super::output::{Output, member, table};
use super::route::Route;

const MEMBERS: &str = "/v1/cluster/members";
/// Between two tries to promote a learner that has not caught up.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn members(client: &Client, out: &Output, command: MemberCommand) -> Outcome<()> {
    match command {
        MemberCommand::List { .. } => list(client, out).await,
        MemberCommand::Add { name, peer_urls, .. } => add(client, out, &name, &peer_urls).await,
        MemberCommand::Promote { member, wait, .. } => promote(client, out, &member, wait).await,
        MemberCommand::Update { member, peer_urls, .. } => update(client, out, &member, &peer_urls).await,
        MemberCommand::Remove { member, .. } => remove(client, out, &member).await,
        MemberCommand::Lead { member, .. } => lead(client, out, &member).await,
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

async fn add(client: &Client, out: &Output, name: &str, peer_urls: &[String]) -> Outcome<()> {
    if name.is_empty() {
        return Err(Failure::usage("a member needs a name to be started with"));
    }
    let body = json!({"name": name, "peerUrls": peer_urls}).to_string();
    let answer = client.send(&Request::json(Method::POST, Route::new(MEMBERS), body)).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    let added: Value = item::read(&answer.body)?;
    let cluster = look(client).await?;
    out.line(instructions(name, &added, &cluster))
}

/// How to start a member that was added.
fn instructions(name: &str, added: &Value, cluster: &Value) -> String {
    let id = member(added, "id");
    let urls = all_urls(added, "peerUrls");
    let others = each(cluster).filter(|other| member(other, "id") != id && !member(other, "name").is_empty());
    let others = others.flat_map(|other| {
        let name = member(other, "name");
        all_urls(other, "peerUrls").into_iter().map(move |url| format!("{name}={url}"))
    });
    let list: Vec<_> = others.chain(urls.iter().map(|url| format!("{name}={url}"))).collect();
    let urls = urls.join(",");
    format!(
        "added member {id} as a learner; start it with an empty data directory:\n\n  vardr --name {name} --data-dir \
         {name}.vardr --initial-cluster-state existing \\\n    --initial-cluster {} \\\n    --listen-peer-urls {urls} \
         --initial-advertise-peer-urls {urls} \\\n    --listen-client-urls http://HOST:2379 --advertise-client-urls \
         http://HOST:2379\n\nthen make a voter of it:\n\n  vardr member promote {name} --wait 5m",
        list.join(",")
    )
}

async fn promote(client: &Client, out: &Output, asked: &str, wait: Option<Duration>) -> Outcome<()> {
    let id = resolve(client, asked).await?;
    let end = Instant::now() + wait.unwrap_or_default();
    let answer = loop {
        let route = Route::new(format!("{MEMBERS}/{id}:promote"));
        match client.send(&Request::write(Method::POST, route, Bytes::new())).await {
            Err(failure) if failure.code() == "not_caught_up" && Instant::now() < end => {
                eprintln!("vardr: waiting: {failure}");
                tokio::time::sleep(PAUSE).await;
            }
            answer => break answer?,
        }
    };
    if out.is_json() { out.line(&answer.body) } else { out.line(format!("promoted {asked}: it is a voter now")) }
}

async fn update(client: &Client, out: &Output, asked: &str, peer_urls: &[String]) -> Outcome<()> {
    let route = Route::new(format!("{MEMBERS}/{}", resolve(client, asked).await?));
    let body = json!({"peerUrls": peer_urls}).to_string();
    let answer = client.send(&Request::json(Method::PATCH, route, body)).await?;
    if out.is_json() {
        return out.line(&answer.body);
    }
    out.line(format!("the others reach {asked} at {} from now on", urls(&item::read(&answer.body)?, "peerUrls")))
}

async fn remove(client: &Client, out: &Output, asked: &str) -> Outcome<()> {
    let route = Route::new(format!("{MEMBERS}/{}", resolve(client, asked).await?));
    let answer = client.send(&Request::write(Method::DELETE, route, Bytes::new())).await?;
    if out.is_json() { out.line(&answer.body) } else { out.line(format!("removed {asked}")) }
}

async fn lead(client: &Client, out: &Output, asked: &str) -> Outcome<()> {
    let body = json!({"to": resolve(client, asked).await?}).to_string();
    let answer = client.send(&Request::json(Method::POST, Route::new("/v1/cluster:transferLeader"), body)).await?;
    if out.is_json() { out.line(&answer.body) } else { out.line(format!("{asked} leads")) }
}

async fn look(client: &Client) -> Outcome<Value> {
    item::read(&client.send(&Request::get(Route::new("/v1/cluster"))).await?.body)
}

/// The id of the member that goes by this id or name.
async fn resolve(client: &Client, asked: &str) -> Outcome<String> {
    find(&look(client).await?, asked)
}

fn find(cluster: &Value, asked: &str) -> Outcome<String> {
    let id = asked.to_ascii_lowercase();
    if each(cluster).any(|object| member(object, "id") == id) {
        return Ok(id);
    }
    let named: Vec<_> = each(cluster).filter(|object| member(object, "name") == asked).collect();
    match named.as_slice() {
        [object] => Ok(member(object, "id")),
        [] => {
            let known: Vec<_> = each(cluster).map(|o| format!("{} ({})", member(o, "name"), member(o, "id"))).collect();
            let message = format!("there is no member `{asked}`; there are {}", known.join(", "));
            Err(Failure::new(Exit::NotFound, message))
        }
        _ => Err(Failure::usage(format!("several members are called `{asked}`: name it by its id"))),
    }
}

fn each(cluster: &Value) -> impl Iterator<Item = &Value> {
    cluster.get("members").and_then(Value::as_array).into_iter().flatten()
}

fn rows(cluster: &Value) -> Vec<Vec<String>> {
    let titles = ["ID", "NAME", "ROLE", "HEARD", "LAG", "ROOM", "PEER URLS", "CLIENT URLS"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for object in each(cluster) {
        let is = |name: &str| object.get(name) == Some(&Value::Bool(true));
        let role = match (is("leads"), is("learner")) {
            (true, _) => "leader",
            (false, true) => "learner",
            (false, false) => "follower",
        };
        rows.push(vec![
            member(object, "id"),
            item::text(object, "name"),
            role.to_owned(),
            if is("heard") { "yes" } else { "no" }.to_owned(),
            member(object, "lag"),
            member(object, "room"),
            urls(object, "peerUrls"),
            urls(object, "clientUrls"),
        ]);
    }
    rows
}

fn urls(object: &Value, name: &str) -> String {
    all_urls(object, name).join(",")
}

fn all_urls<'a>(object: &'a Value, name: &str) -> Vec<&'a str> {
    object.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Value {
        let url = ["http://a:2380"];
        json!({"members": [
            {"id": "1", "name": "a", "peerUrls": url, "clientUrls": [], "learner": false, "leads": true, "heard": true,
             "lag": 0, "room": "short"},
            {"id": "2f", "name": "", "peerUrls": url, "clientUrls": ["http://b", "http://c"], "learner": true, "leads": false,
             "heard": false},
            {"id": "3", "name": "twin", "peerUrls": url, "clientUrls": [], "learner": false, "leads": false},
            {"id": "4", "name": "twin", "peerUrls": url, "clientUrls": [], "learner": false, "leads": false},
        ]})
    }

    #[test]
    fn each_member_has_a_row_with_its_role() {
        let rows = rows(&cluster());
        assert_eq!(rows[1], ["1", "a", "leader", "yes", "0", "short", "http://a:2380", ""]);
        assert_eq!(rows[2], ["2f", "", "learner", "no", "", "", "http://a:2380", "http://b,http://c"]);
    }

    #[test]
    fn a_member_goes_by_its_id_or_by_a_name_of_its_own() {
        let found = |asked| find(&cluster(), asked);
        assert_eq!(found("2F").unwrap(), "2f");
        assert_eq!(found("a").unwrap(), "1");
        assert_eq!(found("twin").unwrap_err().exit(), Exit::Usage);
        let failure = found("b").unwrap_err();
        assert_eq!(failure.exit(), Exit::NotFound);
        assert!(failure.to_string().contains("there are a (1)"), "{failure}");
    }

    #[test]
    fn who_was_added_is_told_how_to_start_with_the_others_in_the_list() {
        let added = json!({"id": "9", "peerUrls": ["http://d:2380"]});
        let text = instructions("d", &added, &cluster());
        let list = "--initial-cluster a=http://a:2380,twin=http://a:2380,twin=http://a:2380,d=http://d:2380 ";
        assert!(text.contains(list), "{text}");
        assert!(text.contains("--listen-peer-urls http://d:2380 "), "{text}");
        assert!(text.contains("vardr member promote d --wait"), "{text}");
    }
}
