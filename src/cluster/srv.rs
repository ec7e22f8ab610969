//! The members of a cluster as the SRV records of a domain name them (RFC 2782), looked up as etcd does it. Nothing else
//! here asks DNS. Never decides whether what it found makes a cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use thiserror::Error;

use super::{Entry, Service};
use crate::model::limits::MAX_SRV_RECORDS;

/// How long DNS is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why DNS did not name the members. Each names the record that was looked up.
#[derive(Debug, Error)]
pub enum SrvError {
    #[error("--discovery-srv: no DNS server can be had from /etc/resolv.conf: {problem}")]
    NoServer { problem: String },
    #[error("--discovery-srv: the SRV records of {record} cannot be looked up: {problem}")]
    Lookup { record: String, problem: String },
    #[error("--discovery-srv: the SRV records of {record} cannot be looked up: DNS took longer than {patience:?}")]
    TooLate { record: String, patience: Duration },
    #[error("--discovery-srv: {record} has no SRV records; add one for each member")]
    NoRecords { record: String },
    #[error("--discovery-srv: {record} has {count} SRV records; at most {MAX_SRV_RECORDS} are read")]
    TooMany { record: String, count: usize },
    #[error(
        "--discovery-srv: {record} has SRV records, so the members are to speak TLS, which is not available between \
         members; name them in {plain} alone"
    )]
    Tls { record: String, plain: String },
    #[error(
        "--discovery-srv: no SRV record of {record} leads to this member: --initial-advertise-peer-urls has {url}, and \
         the records have {found}"
    )]
    NotNamed { record: String, url: String, found: String },
}

/// Asks DNS.
#[derive(Debug)]
pub(super) struct Lookup {
    resolver: TokioResolver,
    /// How long all questions may take together.
    patience: Duration,
}

impl Lookup {
    /// Asks the servers of `/etc/resolv.conf`. To be called inside a runtime of tokio's.
    ///
    /// # Errors
    /// When that file cannot be used.
    pub(super) fn of_system() -> Result<Self, SrvError> {
        let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
        resolver
            .map(|resolver| Self { resolver, patience: PATIENCE })
            .map_err(|error| SrvError::NoServer { problem: error.to_string() })
    }

    /// The URLs of a record's targets, in order and without repeats.
    async fn targets(&self, record: &str) -> Result<BTreeSet<String>, SrvError> {
        let answer = match self.resolver.lookup(record, RecordType::SRV).await {
            Ok(answer) => answer,
            Err(error) if error.is_no_records_found() => return Ok(BTreeSet::new()),
            Err(error) => return Err(SrvError::Lookup { record: record.to_owned(), problem: error.to_string() }),
        };
        let targets = answer.answers().iter().filter_map(|answer| match &answer.data {
            // The root as a target says that there is no such service.
            RData::SRV(target) if !target.target.is_root() => {
                Some((target.target.to_ascii().to_ascii_lowercase(), target.port))
            }
            _ => None,
        });
        bounded(record, targets.map(|(host, port)| format!("http://{}:{port}", host.trim_end_matches('.'))).collect())
    }

    /// The addresses that a URL's host has, and its port. None where nobody knows the host.
    async fn addresses(&self, url: &str) -> BTreeSet<(IpAddr, u16)> {
        let Some((host, port)) = host_and_port(url) else { return BTreeSet::new() };
        match self.resolver.lookup_ip(host).await {
            Ok(addresses) => addresses.iter().map(|address| (address, port)).collect(),
            Err(_) => BTreeSet::new(),
        }
    }

    /// Which targets lead to this member: those that have a URL of its own, else an address of one.
    async fn leading_to(&self, url: &str, targets: &BTreeSet<String>) -> BTreeSet<String> {
        if targets.contains(url) {
            return BTreeSet::from([url.to_owned()]);
        }
        let own = self.addresses(url).await;
        let theirs = join_all(targets.iter().map(|target| self.addresses(target))).await;
        let pairs = targets.iter().zip(theirs).filter(|(_, addresses)| !own.is_disjoint(addresses));
        pairs.map(|(target, _)| target.clone()).collect()
    }
}

/// Looks up the members. They have the URLs of their records, so that all members compute the same ids. The one that is
/// reached where this member is has its name, `own`; the others have numbers, as in etcd.
pub(super) async fn discover(
    service: &Service,
    own: &str,
    advertised: &[String],
    lookup: &Lookup,
) -> Result<Vec<Entry>, SrvError> {
    let record = record("etcd-server", service);
    match tokio::time::timeout(lookup.patience, find(service, &record, advertised, lookup)).await {
        Ok(found) => found.map(|(targets, ours)| named(own, &targets, &ours)),
        Err(_) => Err(SrvError::TooLate { record, patience: lookup.patience }),
    }
}

/// The URLs of all members, and those of them that are this member's.
async fn find(
    service: &Service,
    plain: &str,
    advertised: &[String],
    lookup: &Lookup,
) -> Result<(BTreeSet<String>, BTreeSet<String>), SrvError> {
    let secure = record("etcd-server-ssl", service);
    let (targets, over_tls) = tokio::join!(lookup.targets(plain), lookup.targets(&secure));
    // Usually it does not exist, and a server that cannot say so well is no reason not to start.
    if over_tls.is_ok_and(|targets| !targets.is_empty()) {
        return Err(SrvError::Tls { record: secure, plain: plain.to_owned() });
    }
    let targets = targets?;
    if targets.is_empty() {
        return Err(SrvError::NoRecords { record: plain.to_owned() });
    }
    let mut ours = BTreeSet::new();
    for url in advertised {
        let leading = lookup.leading_to(url, &targets).await;
        if leading.is_empty() {
            let found = targets.into_iter().collect::<Vec<_>>().join(", ");
            return Err(SrvError::NotNamed { record: plain.to_owned(), url: url.clone(), found });
        }
        ours.extend(leading);
    }
    Ok((targets, ours))
}

fn named(own: &str, targets: &BTreeSet<String>, ours: &BTreeSet<String>) -> Vec<Entry> {
    // A member that is called by a number keeps it for itself.
    let mut numbers = (0_u32..).map(|number| number.to_string()).filter(|number| number != own);
    let mut name = |url: &String| if ours.contains(url) { own.to_owned() } else { numbers.next().unwrap_or_default() };
    targets.iter().map(|url| Entry { name: name(url), url: url.clone() }).collect()
}

/// `_etcd-server-NAME._tcp.DOMAIN`.
fn record(protocol: &str, service: &Service) -> String {
    let hyphen = if service.name.is_empty() { "" } else { "-" };
    format!("_{protocol}{hyphen}{}._tcp.{}", service.name, service.domain)
}

fn bounded(record: &str, urls: BTreeSet<String>) -> Result<BTreeSet<String>, SrvError> {
    let count = urls.len();
    if count > MAX_SRV_RECORDS { Err(SrvError::TooMany { record: record.to_owned(), count }) } else { Ok(urls) }
}

/// The two of `http://host:port`; an IPv6 address without its brackets.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (host, port) = url.strip_prefix("http://")?.rsplit_once(':')?;
    Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use hickory_resolver::Resolver;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    /// What a server of DNS knows.
    #[derive(Debug, Clone, Copy)]
    enum Known {
        /// The port and the target; the root is "".
        Srv(u16, &'static str),
        A([u8; 4]),
        /// It never answers.
        Silence,
    }

    impl Known {
        const fn kind(self) -> u16 {
            match self {
                Self::A(_) => 1,
                Self::Srv(..) | Self::Silence => 33,
            }
        }

        fn data(self) -> Vec<u8> {
            match self {
                Self::A(address) => address.to_vec(),
                Self::Srv(port, target) => {
                    let labels = target
                        .split_terminator('.')
                        .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
                    // Priority and weight are 0.
                    [0, 0, 0, 0].into_iter().chain(port.to_be_bytes()).chain(labels).chain([0]).collect()
                }
                Self::Silence => Vec::new(),
            }
        }
    }

    type Zone = &'static [(&'static str, Known)];

    /// The answer to a question (RFC 1035, section 4): what the zone has, else that there is no such name.
    fn answer(question: &[u8], zone: Zone) -> Option<Vec<u8>> {
        let mut labels = Vec::new();
        let mut at = 12;
        while question[at] != 0 {
            let next = at + 1 + usize::from(question[at]);
            labels.push(std::str::from_utf8(&question[at + 1..next]).unwrap().to_ascii_lowercase());
            at = next;
        }
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let name = labels.join(".");
        let of_name: Vec<_> = zone.iter().filter(|(known, _)| *known == name).map(|(_, known)| *known).collect();
        if of_name.iter().any(|known| matches!(known, Known::Silence)) {
            return None;
        }
        let answers: Vec<_> = of_name.iter().filter(|known| known.kind() == kind).collect();
        let no_such_name = if of_name.is_empty() { 3 } else { 0 };
        let mut message = [&question[..2], &[0x81, 0x80 | no_such_name, 0, 1, 0]].concat();
        message.extend([u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
        message.extend(&question[12..at + 5]);
        for known in answers {
            let data = known.data();
            // A pointer to the name of the question, the class IN and a minute to live.
            message.extend([0xc0, 12].into_iter().chain(kind.to_be_bytes()).chain([0, 1, 0, 0, 0, 60, 0]));
            message.push(u8::try_from(data.len()).unwrap());
            message.extend(data);
        }
        Some(message)
    }

    async fn serve(zone: Zone) -> Lookup {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut question).await {
                if let Some(answer) = answer(&question[..length], zone) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        asking(address)
    }

    fn asking(server: SocketAddr) -> Lookup {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap();
        Lookup { resolver, patience: PATIENCE }
    }

    async fn discovered(zone: Zone, advertised: &str) -> Result<Vec<String>, String> {
        let service = Service { domain: "example.org".to_owned(), name: String::new() };
        let lookup = serve(zone).await;
        let found = discover(&service, "me", &[advertised.to_owned()], &lookup).await;
        found.map(|list| list.iter().map(ToString::to_string).collect()).map_err(|error| error.to_string())
    }

    const THREE: Zone = &[
        ("_etcd-server._tcp.example.org", Known::Srv(2380, "c.example.org.")),
        ("_etcd-server._tcp.example.org", Known::Srv(2380, "A.example.org.")),
        ("_etcd-server._tcp.example.org", Known::Srv(2381, "b.example.org.")),
        ("a.example.org", Known::A([127, 0, 0, 11])),
        ("b.example.org", Known::A([127, 0, 0, 12])),
        ("c.example.org", Known::A([127, 0, 0, 13])),
    ];

    #[tokio::test]
    async fn members_are_numbered_but_for_the_one_that_asks() {
        let expected = ["0=http://a.example.org:2380", "me=http://b.example.org:2381", "1=http://c.example.org:2380"];
        assert_eq!(discovered(THREE, "http://b.example.org:2381").await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_member_that_advertises_an_address_is_found_by_it() {
        let expected = ["0=http://a.example.org:2380", "me=http://b.example.org:2381", "1=http://c.example.org:2380"];
        assert_eq!(discovered(THREE, "http://127.0.0.12:2381").await.unwrap(), expected);
        let error = discovered(THREE, "http://127.0.0.12:2380").await.unwrap_err();
        assert!(error.contains("no SRV record of _etcd-server._tcp.example.org leads to this member"), "{error}");
        assert!(error.contains("http://127.0.0.12:2380, and the records have http://a.example.org:2380, "), "{error}");
    }

    #[tokio::test]
    async fn records_for_tls_are_refused() {
        let zone: Zone = &[("_etcd-server-ssl._tcp.example.org", Known::Srv(2380, "a.example.org."))];
        let error = discovered(zone, "http://a.example.org:2380").await.unwrap_err();
        assert!(error.contains("_etcd-server-ssl._tcp.example.org has SRV records"), "{error}");
        assert!(error.contains("name them in _etcd-server._tcp.example.org alone"), "{error}");
    }

    #[tokio::test]
    async fn a_domain_without_members_is_refused_by_the_name_of_its_record() {
        let gone: Zone = &[("_etcd-server._tcp.example.org", Known::Srv(0, ""))];
        for zone in [&[], gone] {
            let error = discovered(zone, "http://a.example.org:2380").await.unwrap_err();
            assert!(error.contains("_etcd-server._tcp.example.org has no SRV records"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_silent_server_is_not_waited_for_longer_than_there_is_patience() {
        let mut lookup = serve(&[("_etcd-server._tcp.example.org", Known::Silence)]).await;
        lookup.patience = Duration::from_millis(100);
        let service = Service { domain: "example.org".to_owned(), name: String::new() };
        let error = discover(&service, "me", &[], &lookup).await.unwrap_err().to_string();
        assert!(
            error.contains("_etcd-server._tcp.example.org cannot be looked up: DNS took longer than 100ms"),
            "{error}"
        );
    }

    #[test]
    fn clusters_of_one_domain_are_told_apart_by_the_record() {
        let mut service = Service { domain: "example.org".to_owned(), name: String::new() };
        assert_eq!(record("etcd-server", &service), "_etcd-server._tcp.example.org");
        service.name = "blue".to_owned();
        assert_eq!(record("etcd-server-ssl", &service), "_etcd-server-ssl-blue._tcp.example.org");
    }

    #[test]
    fn more_records_than_a_cluster_could_have_are_refused() {
        let urls = |count: usize| (0..count).map(|n| format!("http://h{n}:1")).collect();
        assert!(bounded("r", urls(MAX_SRV_RECORDS)).is_ok());
        let error = bounded("_x._tcp.y", urls(MAX_SRV_RECORDS + 1)).unwrap_err().to_string();
        assert!(error.contains("_x._tcp.y has 65 SRV records; at most 64"), "{error}");
    }

    #[test]
    fn a_member_called_by_a_number_keeps_it() {
        let targets: BTreeSet<_> = ["http://a:1", "http://b:1", "http://c:1"].map(str::to_owned).into();
        let list = named("1", &targets, &BTreeSet::from(["http://c:1".to_owned()]));
        let names: Vec<_> = list.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["0", "2", "1"]);
    }

    #[test]
    fn a_url_is_taken_apart() {
        assert_eq!(host_and_port("http://a:1"), Some(("a", 1)));
        assert_eq!(host_and_port("http://[::1]:2380"), Some(("::1", 2380)));
    }
}
