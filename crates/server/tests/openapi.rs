//! The API's description: equal to the one in `docs/ref`, and true of the server.

mod bench;
mod http;

use bench::Bench;
use serde_json::Value;

/// Run with `KINORA_BLESS=1` to write the description anew after a change that was meant.
#[test]
fn the_description_is_the_one_in_the_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ref/openapi.json");
    let now = server::openapi();
    if std::env::var_os("KINORA_BLESS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == now,
        "the API changed: if that was meant, write docs/ref/openapi.json anew with KINORA_BLESS=1"
    );
}

#[test]
fn every_route_is_described_and_every_description_has_a_route() {
    let description: Value = serde_json::from_str(&server::openapi()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let mut described: Vec<&str> = paths.keys().map(String::as_str).collect();
    let mut registered = server::registered();
    described.sort_unstable();
    registered.sort_unstable();
    assert_eq!(described, registered);

    // The methods of a path are those that the server names when it is asked with a wrong one.
    let bench = Bench::new();
    for (path, operations) in paths {
        let concrete = path
            .replace("{id}", "none")
            .replace("{cid}", "none")
            .replace("{path}", "none")
            .replace("{name}", "none")
            .replace("{rung}", "none");
        let answer = bench
            .client
            .send("TRACE", &concrete, &[("Tus-Resumable", "1.0.0")], b"");
        answer.problem(405);
        let mut allowed: Vec<String> = answer
            .header("allow")
            .unwrap_or_else(|| panic!("{path}: no Allow"))
            .split(',')
            .map(|method| method.trim().to_lowercase())
            // A route that takes GET takes HEAD, and content takes OPTIONS for other origins.
            .filter(|method| method != "head" || operations.get("get").is_none())
            .filter(|method| method != "options" || !is_content(path))
            .collect();
        let mut operations: Vec<String> = operations.as_object().unwrap().keys().cloned().collect();
        // On an upload's own address OPTIONS answers as on the collection's.
        allowed.retain(|method| {
            method != "options" || operations.contains(method) || path != "/api/uploads/{id}"
        });
        allowed.sort();
        operations.sort();
        assert_eq!(allowed, operations, "{path}");
    }
}

/// Content is for pages of other origins too.
fn is_content(path: &str) -> bool {
    ["/ipfs", "/ipns", "/routing"]
        .iter()
        .any(|space| path.starts_with(space))
}

#[test]
fn the_server_serves_its_description() {
    let bench = Bench::new();
    let answer = bench.client.get("/api/openapi.json");
    assert_eq!(answer.text(), server::openapi());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["openapi"], "3.1.0");
}
