//! A real resolver before the router: Unbound, which tells whose network asks.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::world::{PARIS, RIO, Running, TOKYO, dig, eventually, one_port, table};

struct Unbound {
    address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Unbound {
    async fn start(router: SocketAddr) -> Self {
        for _ in 0..20 {
            if let Some(started) = Self::try_start(router).await {
                return started;
            }
        }
        unreachable!("unbound does not start on any of 20 free ports");
    }

    /// None if the port was taken meanwhile.
    async fn try_start(router: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let address = one_port().await.1.local_addr().expect("an address");
        let at = folder.path().display();
        let settings = format!(
            "server:\n interface: 127.0.0.1@{port}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \"{at}\"\n \
             pidfile: \"{at}/pid\"\n use-syslog: no\n logfile: \"{at}/log\"\n do-not-query-localhost: no\n num-threads: 1\n \
             do-ip6: no\n module-config: \"subnetcache iterator\"\n send-client-subnet: 127.0.0.1\n \
             client-subnet-always-forward: yes\n target-fetch-policy: \"0 0 0 0 0\"\n\
             stub-zone:\n name: \"relays.example.com\"\n stub-addr: 127.0.0.1@{of}\n\
             remote-control:\n control-enable: no\n",
            port = address.port(),
            of = router.port(),
        );
        let file = folder.path().join("unbound.conf");
        std::fs::write(&file, settings).expect("written");
        let mut child = Command::new("unbound")
            .args(["-d", "-p", "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unbound runs: install it with hack/setup.sh (Debian's package unbound)");
        for _ in 0..20 {
            if child.try_wait().expect("its state").is_some() {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                eprintln!("unbound has ended: {log}");
                return None;
            }
            if dig(address, "localhost A +time=1").await.status() == "NOERROR" {
                return Some(Self { address, child, _folder: folder });
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    async fn near(&self, network: &str) -> Vec<String> {
        dig(self.address, &format!("relays.example.com A +subnet={network}")).await.sorted()
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_resolver_keeps_an_answer_for_each_network_and_gets_new_ones_in_time() {
    let router = Running::start_with(&table(), &["--ttl=1"]).await;
    let resolver = Unbound::start(router.dns).await;
    assert_eq!(resolver.near(TOKYO).await, ["192.0.2.9"]);
    assert_eq!(resolver.near(PARIS).await, ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(resolver.near(RIO).await, ["192.0.2.20"]);
    let srv = dig(resolver.address, &format!("_wss._tcp.relays.example.com SRV +subnet={TOKYO}")).await;
    assert_eq!(srv.sorted()[0], "10 0 443 tokyo-0.live.relays.example.com.");
    assert_eq!(dig(resolver.address, "tokyo-0.live.relays.example.com A").await.answers(), ["192.0.2.9"]);
    assert_eq!(dig(resolver.address, "nothing.relays.example.com A").await.status(), "NXDOMAIN");
    let located = "convene_router_located_total{by=\"subnet\"}";
    assert!(router.metric(located).await >= 3, "it told whose network asks");
    let mut moved = table();
    moved.pools[0].relays.iter_mut().for_each(|relay| relay.cordoned = true);
    router.write_table(&serde_json::to_string(&moved).expect("JSON"));
    eventually("the resolver has the new answer", async || resolver.near(PARIS).await == ["192.0.2.20"]).await;
    drop(resolver);
    router.stop().await;
}

#[tokio::test]
async fn a_resolver_keeps_answers_for_as_long_as_they_hold() {
    let router = Running::start_with(&table(), &["--ttl=3600"]).await;
    let resolver = Unbound::start(router.dns).await;
    let asked =
        async || router.metric("convene_router_queries_total{kind=\"a\",outcome=\"answered\",transport=\"udp\"}").await;
    assert_eq!(resolver.near("203.0.113.0/24").await, ["192.0.2.9"]);
    let once = asked().await;
    for host in ["203.0.113.0/24", "203.0.113.0/24"] {
        assert_eq!(resolver.near(host).await, ["192.0.2.9"]);
    }
    assert_eq!(asked().await, once, "from its cache");
    assert_eq!(resolver.near(PARIS).await, ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(asked().await, once + 1, "another network is asked for");
    drop(resolver);
    router.stop().await;
}
