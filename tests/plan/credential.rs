//! The key of a pool of another cluster, made as the example says.

use std::path::Path;
use std::process::Command;

use convene::decide::token::{SigningKey, public_key};

#[test]
fn the_keys_that_the_example_makes_are_taken_on_both_sides() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/two-clusters/lobby.yaml");
    let text = std::fs::read_to_string(example).expect("the example is text");
    let folder = tempfile::tempdir().expect("a folder");
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#   openssl ")).collect();
    assert_eq!(commands.len(), 2, "one makes the key, one its public half");
    for command in commands {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(command.split(' ')).current_dir(folder.path()).output();
        let output = output.expect("openssl is installed: run `make setup`");
        assert!(output.status.success(), "openssl {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it was made");
    let private = SigningKey::from_pem(&read("key.pem")).expect("relays take it");
    let public = read("public.pem");
    assert_eq!(&public_key(&public).expect("the lobby takes it"), private.public());
    // As the API server's pattern wants it: no line is longer or shorter.
    let lengths: Vec<usize> = public.lines().map(str::len).collect();
    assert_eq!(lengths, [26, 64, 60, 24]);
    for wrong in [read("key.pem"), String::new(), public.replace("MFkw", "MFkx"), public.replace("PUBLIC", "OTHER")] {
        assert!(public_key(&wrong).is_err(), "{wrong}");
    }
}
