//! The program itself, without a cluster: `convene router` with a table file.

use std::process::{Child, Command, Stdio};

use crate::world::{dig, eventually, one_port, table};

/// Ends the program with the test, whatever comes of it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_program_answers_from_a_table_file_and_ends_when_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("relays.json");
    std::fs::write(&file, serde_json::to_string(&table()).expect("JSON")).expect("written");
    let free = one_port().await.1.local_addr().expect("an address");
    let other = one_port().await.1.local_addr().expect("an address");
    let program = Command::new(env!("CARGO_BIN_EXE_convene"))
        .args(["router", "--zone=relays.example.com", "--nameservers=ns1.example.net"])
        .args(["--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0"])
        .arg(format!("--dns-listen={free}"))
        .arg(format!("--dns-listen={other}"))
        .arg(format!("--table-file={}", file.display()))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut program = Program(program);
    eventually("it answers", async || {
        dig(free, "dublin-0.live.relays.example.com A +time=1").await.answers() == ["192.0.2.1"]
    })
    .await;
    for transport in ["+notcp", "+tcp"] {
        let dug = dig(other, &format!("dublin-0.live.relays.example.com A {transport}")).await;
        assert_eq!(dug.answers(), ["192.0.2.1"], "at its other address too: {dug:?}");
    }
    let id = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("it runs").success());
    let ended = tokio::task::spawn_blocking(move || program.0.wait().expect("ended")).await.expect("waited");
    assert!(ended.success(), "{ended}");
}

#[test]
fn settings_that_do_not_fit_together_are_told() {
    for (arguments, why) in [
        (&["--zone=relays.example.com"][..], "--nameservers"),
        (&["--zone=a b", "--nameservers=ns1.example.net"], "no name of the DNS"),
        (&["--zone=relays.example.com", "--nameservers=ns1.relays.example.com"], "its addresses must be said"),
        (&["--zone=relays.example.com", "--nameservers=relays.example.com=192.0.2.1"], "the zone itself"),
        (&["--zone=relays.example.com", "--nameservers=ns1.example.net=x"], "must be addresses"),
        (&["--zone=relays.example.com", "--nameservers=ns1.example.net", "--ttl=0"], "--ttl"),
    ] {
        let any = "--listen=127.0.0.1:0 --dns-listen=127.0.0.1:0 --health-listen=127.0.0.1:0";
        let output = Command::new(env!("CARGO_BIN_EXE_convene"))
            .arg("router")
            .args(arguments)
            .args(any.split(' '))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
    }
}
