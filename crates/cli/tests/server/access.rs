//! Tokens on the command line: made on the server's machine, sent to the server, and got by a code.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::process::Server;

/// The program with a home of its own.
fn kinora(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinora"));
    command.args(arguments).env("HOME", home);
    command
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("KINORA_TOKEN");
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    kinora(home, arguments).output().unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn tokens_open_the_server_and_login_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let (home, data) = (folder.path().join("home"), folder.path().join("data"));
    std::fs::create_dir_all(&home).unwrap();
    let at = data.to_str().unwrap();
    let token = |arguments: &[&str]| {
        let all: Vec<&str> = ["token"].iter().chain(arguments).copied().collect();
        run(&home, &[&all[..], &["--data", at]].concat())
    };
    // Nothing is made by asking for what is not there.
    assert!(!token(&["ls"]).status.success());
    // Before the first start, and while the server runs.
    let admin = said(&token(&["create", "--role", "admin", "--name", "anna"]));
    let server = Server::start_with(&data, &["--login"]);
    let url = format!("http://{}", server.client.0);
    let editor = said(&token(&["create", "--role", "editor", "--board", "pi5"]));

    let ls = |secret: Option<&str>| {
        let mut command = kinora(&home, &["ls", "--server", &url]);
        if let Some(secret) = secret {
            command.env("KINORA_TOKEN", secret);
        }
        command.output().unwrap()
    };
    let refused = ls(None);
    assert!(!refused.status.success());
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("kinora login"), "{words}");
    said(&ls(Some(&editor)));

    // The code is answered by the admin of the test.
    let mut login = kinora(&home, &["login", "--server", &url, "--name", "desk"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(login.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let code = first.rsplit(' ').next().unwrap();
    let bearer = format!("Bearer {admin}");
    let answer = server.client.send(
        "POST",
        &format!("/api/device/{code}"),
        &[("Authorization", &bearer)],
        br#"{"allow":true}"#,
    );
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert!(login.wait().unwrap().success());
    said(&ls(None));
    let kept = home.join(".config/kinora/credentials.json");
    let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let listed: Value = serde_json::from_str(&said(&token(&["ls", "--json"]))).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 3);
    let desk = listed.iter().find(|token| token["name"] == "desk").unwrap();
    assert!(desk["used"].is_string());
    assert_eq!(desk["role"], "editor");
    said(&token(&["rm", desk["id"].as_str().unwrap()]));
    assert!(!ls(None).status.success());
    assert!(!token(&["rm", "none"]).status.success());
    said(&run(&home, &["login", "--server", &url, "--forget"]));
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "{}");
}
