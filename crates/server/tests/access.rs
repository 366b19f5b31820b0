//! Who may do what: roles against every route of the description, sessions, and what a browser is
//! told about other sites.

mod bench;
mod http;

use bench::{Bench, PATIENT};
use catalog::{Role, Token};
use http::Answer;
use serde_json::{Value, json};
use server::auth::secret;

/// A server that asks for tokens.
fn guarded() -> Bench {
    Bench::with(PATIENT, |config| config.login = true)
}

/// Makes a token and gives back its secret.
fn token(bench: &Bench, role: Role) -> String {
    let secret = secret::new_token().unwrap();
    let token = Token {
        id: format!("a-{}", role.as_str()),
        name: role.as_str().into(),
        role,
        board: None,
        created_ms: 1,
        used_ms: None,
    };
    let catalog = bench.catalog();
    catalog.add_token(&token, &secret::hash(&secret)).unwrap();
    secret
}

fn bearer(secret: &str) -> String {
    format!("Bearer {secret}")
}

#[test]
fn every_route_takes_the_role_that_its_description_says() {
    let bench = guarded();
    let description: Value = serde_json::from_str(&server::openapi()).unwrap();
    let secrets: Vec<(Role, String)> = Role::ALL
        .into_iter()
        .map(|role| (role, token(&bench, role)))
        .collect();
    let mut open = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        let concrete: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "none" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_uppercase();
            let ask = |secret: Option<&str>| {
                let bearer = secret.map(bearer);
                let mut headers = vec![("Tus-Resumable", "1.0.0")];
                headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
                bench.client.send(&method, &concrete, &headers, b"")
            };
            let Some(needed) = operation["security"][0]["token"][0].as_str() else {
                open.push(format!("{method} {path}"));
                let status = ask(None).status;
                assert!(
                    !matches!(status, 401 | 403) || path == "/api/session",
                    "{method} {path}: {status}"
                );
                continue;
            };
            let needed = Role::named(needed).unwrap();
            for secret in [None, Some("kinora_wrong")] {
                let answer = ask(secret);
                assert_eq!(answer.status, 401, "{method} {path}");
                let asked = answer.header("www-authenticate");
                assert_eq!(asked, Some("Bearer realm=\"kinora\""), "{method} {path}");
            }
            for (role, secret) in &secrets {
                // It would go on until the server ends.
                if path == "/api/events" && *role >= needed {
                    continue;
                }
                let status = ask(Some(secret)).status;
                let allowed = !matches!(status, 401 | 403);
                assert_eq!(
                    allowed,
                    *role >= needed,
                    "{method} {path} as {role:?}: {status}"
                );
            }
        }
    }
    open.sort();
    // Whoever adds to this list has thought about who may read it.
    let expected = [
        "DELETE /api/session",
        "GET /api/openapi.json",
        "GET /api/session",
        "OPTIONS /api/uploads",
        "POST /api/device/code",
        "POST /api/device/token",
        "POST /api/session",
    ];
    assert_eq!(open, expected);
}

#[test]
fn content_is_for_everybody_where_that_is_said() {
    let public = Bench::with(PATIENT, |config| {
        config.login = true;
        config.public_content = true;
    });
    for path in [
        "/ipfs/none",
        "/streams/none/master.m3u8",
        "/routing/v1/providers/none",
    ] {
        let status = public.client.get(path).status;
        assert!(!matches!(status, 401 | 403), "{path}: {status}");
    }
    public.client.get("/api/assets").problem(401);
    public.client.get("/api/assets/none/file").problem(401);
}

#[test]
fn tokens_are_made_shown_without_their_secret_used_and_revoked() {
    let bench = guarded();
    let admin = bearer(&token(&bench, Role::Admin));
    let send = |method: &str, path: &str, as_who: &str, body: Value| {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        bench
            .client
            .send(method, path, &[("Authorization", as_who)], body.as_bytes())
    };
    for (body, words) in [
        (json!({ "name": "", "role": "player" }), "name"),
        (json!({ "name": "a\nb", "role": "player" }), "name"),
        (json!({ "name": "x".repeat(101), "role": "player" }), "name"),
        (json!({ "name": "hall", "role": "owner" }), "owner"),
        (
            json!({ "name": "hall", "role": "player", "board": "pi9" }),
            "pi9",
        ),
        (
            json!({ "name": "hall", "role": "player", "more": 1 }),
            "more",
        ),
    ] {
        let detail = send("POST", "/api/tokens", &admin, body).problem(400);
        assert!(detail.contains(words), "{detail}");
    }
    let wanted = json!({ "name": "hall", "role": "player", "board": "generic-arm64" });
    let made = send("POST", "/api/tokens", &admin, wanted);
    assert_eq!(made.status, 201);
    let made = made.json();
    // A board goes by its own name.
    assert_eq!(
        (&made["board"], &made["used"]),
        (&json!("arm64"), &Value::Null)
    );
    let enrolled = bench.catalog().boards_enrolled().unwrap();
    assert!(enrolled.iter().any(|board| board.id == "arm64"));
    let secret = made["secret"].as_str().unwrap();
    let player = bearer(secret);
    assert_eq!(send("GET", "/api/status", &player, Value::Null).status, 200);

    let listed = send("GET", "/api/tokens", &admin, Value::Null);
    assert!(!listed.text().contains(secret));
    let listed = listed.json();
    let of_player = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["name"] == "hall");
    assert!(of_player.unwrap()["used"].is_string());
    // Neither the database nor the log beside it has the secret.
    for file in bench.files("") {
        let bytes = std::fs::read(bench.data().join(&file)).unwrap_or_default();
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "the secret is in {file}");
    }

    let path = format!("/api/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(send("DELETE", &path, &admin, Value::Null).status, 204);
    send("DELETE", &path, &admin, Value::Null).problem(404);
    send("GET", "/api/status", &player, Value::Null).problem(401);
}

#[test]
fn the_first_admin_gets_a_token_once() {
    let open = |bench: &Bench| {
        let mut config = bench.config();
        config.login = true;
        let server = server::Server::open(config).unwrap();
        server.first_token().map(str::to_owned)
    };
    let mut bench = Bench::new();
    bench.stop();
    let secret = open(&bench).expect("nobody could sign in");
    let kept = bench
        .catalog()
        .token(&secret::hash(&secret))
        .unwrap()
        .unwrap();
    assert_eq!(kept.role, Role::Admin);
    assert_eq!(open(&bench), None);
    // Revoked, and nobody else is one: the next start helps again.
    bench.catalog().remove_token(&kept.id).unwrap();
    assert!(open(&bench).is_some());
}

/// The value of a session cookie that was set, and its attributes.
#[track_caller]
fn cookie(answer: &Answer) -> (String, String) {
    let set = answer.header("set-cookie").expect("a cookie");
    let (pair, attributes) = set.split_once("; ").unwrap();
    (pair.to_owned(), attributes.to_owned())
}

#[test]
fn a_browser_signs_in_and_out() {
    let bench = guarded();
    let client = bench.client;
    let secret = token(&bench, Role::Editor);
    let host = client.0.to_string();
    let here = format!("http://{host}");
    let session = |cookie: &str| client.send("GET", "/api/session", &[("Cookie", cookie)], b"");
    assert_eq!(
        session("a=b").json(),
        json!({ "needed": true, "role": null, "name": null })
    );
    let sign_in = |origin: &str, secret: &str| {
        let body = json!({ "token": secret }).to_string();
        client.send(
            "POST",
            "/api/session",
            &[("Origin", origin)],
            body.as_bytes(),
        )
    };
    sign_in(&here, "kinora_wrong").problem(401);
    sign_in("http://elsewhere.example", &secret).problem(403);
    let answer = sign_in(&here, &secret);
    assert_eq!(answer.status, 200);
    let (pair, attributes) = cookie(&answer);
    assert!(pair.starts_with("kinora_session="), "{pair}");
    assert_eq!(
        attributes,
        "Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
    );
    assert_eq!(
        session(&pair).json(),
        json!({ "needed": true, "role": "editor", "name": "editor" })
    );
    assert_eq!(
        client
            .send("GET", "/api/assets", &[("Cookie", &pair)], b"")
            .status,
        200
    );
    client
        .send("GET", "/api/tokens", &[("Cookie", &pair)], b"")
        .problem(403);

    // A change needs the browser's word that it comes from the page.
    let add = |more: &[(&str, &str)]| {
        let mut headers = vec![("Cookie", pair.as_str())];
        headers.extend_from_slice(more);
        client
            .send("POST", "/api/assets?name=a.mp4", &headers, b"content")
            .status
    };
    for (more, status) in [
        (&[][..], 403),
        (&[("Origin", "https://elsewhere.example")], 403),
        (&[("Origin", "null")], 403),
        (&[("Sec-Fetch-Site", "same-site")], 403),
        (
            &[("Sec-Fetch-Site", "cross-site"), ("Origin", here.as_str())],
            403,
        ),
        (&[("Sec-Fetch-Site", "same-origin")], 201),
        (&[("Origin", here.as_str())], 201),
    ] {
        assert_eq!(add(more), status, "{more:?}");
    }

    // Seen over TLS, whoever ends that, the cookie is for TLS only.
    let tls = client.send(
        "POST",
        "/api/session",
        &[
            ("Host", "media.example"),
            ("Origin", "https://media.example"),
        ],
        json!({ "token": secret }).to_string().as_bytes(),
    );
    let (over_tls, attributes) = cookie(&tls);
    assert!(over_tls.starts_with("__Host-kinora_session="));
    assert!(attributes.ends_with("; Secure"), "{attributes}");

    let out = client.send(
        "DELETE",
        "/api/session",
        &[("Cookie", &pair), ("Origin", &here)],
        b"",
    );
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    client
        .send("GET", "/api/assets", &[("Cookie", &pair)], b"")
        .problem(401);
    // The other browser stays, until its token is revoked.
    let other = || client.send("GET", "/api/assets", &[("Cookie", &over_tls)], b"");
    assert_eq!(other().status, 200);
    bench.catalog().remove_token("a-editor").unwrap();
    other().problem(401);
}

#[test]
fn guessing_tokens_is_slowed_down() {
    let bench = guarded();
    let secret = token(&bench, Role::Editor);
    let here = format!("http://{}", bench.client.0);
    let sign_in = |secret: &str| {
        let body = json!({ "token": secret }).to_string();
        bench.client.send(
            "POST",
            "/api/session",
            &[("Origin", &here)],
            body.as_bytes(),
        )
    };
    // Who knows the token may come as often as they like.
    for _ in 0..30 {
        assert_eq!(sign_in(&secret).status, 200);
    }
    let refused = (0..30).find_map(|_| {
        let answer = sign_in("kinora_guess");
        (answer.status != 401).then_some(answer)
    });
    let refused = refused.expect("no guess was refused");
    refused.problem(429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
}

#[test]
fn a_revoked_token_ends_its_open_connections() {
    let bench = guarded();
    let admin = bearer(&token(&bench, Role::Admin));
    let editor = bearer(&token(&bench, Role::Editor));
    let mut events =
        bench
            .client
            .begin("GET", "/api/events", &[("Authorization", &editor)], Some(0));
    let mut first = [0u8; 12];
    std::io::Read::read_exact(&mut events, &mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let gone = bench.client.send(
        "DELETE",
        "/api/tokens/a-editor",
        &[("Authorization", &admin)],
        b"",
    );
    assert_eq!(gone.status, 204);
    // Reads to the end, which comes because the server closes the connection.
    std::io::Read::read_to_end(&mut events, &mut Vec::new()).unwrap();
}

#[test]
fn who_is_trusted_on_loopback() {
    let open = Bench::new();
    let ask = |bench: &Bench, headers: &[(&str, &str)]| {
        bench.client.send("GET", "/api/assets", headers, b"").status
    };
    assert_eq!(ask(&open, &[]), 200);
    // A name that was pointed here, and a proxy that lets everybody in.
    assert_eq!(ask(&open, &[("Host", "evil.example")]), 421);
    for header in [
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "X-Forwarded-Host",
    ] {
        assert_eq!(ask(&open, &[(header, "203.0.113.7")]), 403, "{header}");
    }
    let session = open.client.get("/api/session").json();
    assert_eq!(
        session,
        json!({ "needed": false, "role": "admin", "name": null })
    );
    // Behind a proxy, or with a public address, loopback is not this machine only.
    let behind = Bench::with(PATIENT, |config| {
        config.proxies = vec!["127.0.0.1".parse().unwrap()]
    });
    assert_eq!(ask(&behind, &[]), 401);
    let public = Bench::with(PATIENT, |config| {
        config.public_url = Some("https://media.example".into());
    });
    assert_eq!(ask(&public, &[]), 401);
    let admin = bearer(&token(&public, Role::Admin));
    assert_eq!(
        ask(
            &public,
            &[("Authorization", &admin), ("Host", "media.example")]
        ),
        200
    );
    let everywhere = Bench::with(PATIENT, |config| config.listen = ([0, 0, 0, 0], 0).into());
    assert_eq!(ask(&everywhere, &[("Host", "localhost")]), 401);
}

#[test]
fn every_kind_of_answer_has_the_headers() {
    let bench = guarded();
    let secret = token(&bench, Role::Admin);
    let admin = bearer(&secret);
    let signed = [
        ("Authorization", admin.as_str()),
        ("Tus-Resumable", "1.0.0"),
    ];
    let added = bench.client.send(
        "POST",
        "/api/assets?name=a.html",
        &signed,
        b"<script>alert(1)</script>",
    );
    let id = added.json()["id"].as_str().unwrap().to_owned();
    let cid = added.json()["cid"].as_str().unwrap().to_owned();
    let etag = bench.client.get("/").header("etag").unwrap().to_owned();
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);
    let rows: &[Row<'_>] = &[
        ("GET", "/", &[], 200),
        ("GET", "/", &[("If-None-Match", &etag)], 304),
        ("HEAD", "/app.js", &[], 200),
        ("POST", "/", &[], 405),
        ("GET", "/nothing", &[], 404),
        ("GET", "/api/assets", &[], 401),
        ("GET", "/api/assets", &signed, 200),
        (
            "POST",
            "/api/assets",
            &[("Origin", "https://evil.example")],
            403,
        ),
        ("PUT", "/api/assets", &signed, 405),
        ("GET", "/api/session", &[], 200),
        ("POST", "/api/session", &[], 400),
        ("OPTIONS", "/api/uploads", &signed, 204),
        ("GET", &format!("/api/assets/{id}/file"), &signed, 307),
        ("GET", &format!("/ipfs/{cid}"), &signed, 200),
        (
            "GET",
            &format!("/ipfs/{cid}"),
            &[("Authorization", &admin), ("Range", "bytes=0-1")],
            206,
        ),
        ("GET", "/ipfs/none", &signed, 400),
        ("GET", "/streams/none/master.m3u8", &signed, 404),
        ("GET", "/api/openapi.json", &[], 200),
        ("DELETE", &format!("/api/assets/{id}"), &signed, 204),
    ];
    for (method, path, headers, status) in rows {
        let answer = bench.client.send(method, path, headers, b"");
        assert_eq!(answer.status, *status, "{method} {path}: {}", answer.text());
        let policy = answer.header("content-security-policy").unwrap_or_default();
        let content = path.starts_with("/ipfs/") && *status < 400;
        let shut = if content {
            "sandbox"
        } else {
            "frame-ancestors 'none'"
        };
        assert!(policy.contains(shut), "{method} {path}: {policy}");
        let scripts = "default-src 'none'";
        assert!(
            content || policy.contains(scripts),
            "{method} {path}: {policy}"
        );
        assert!(
            content || !policy.contains("unsafe"),
            "{method} {path}: {policy}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method} {path}: {name}");
        }
    }
}

/// A form, as OAuth sends it.
fn post_form(bench: &Bench, path: &str, fields: &[(&str, &str)]) -> Answer {
    let form: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", value.replace(':', "%3A").replace(' ', "+")))
        .collect();
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    bench
        .client
        .send("POST", path, &headers, form.join("&").as_bytes())
}

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn poll(bench: &Bench, device_code: &str) -> Answer {
    let fields = [
        ("grant_type", GRANT),
        ("device_code", device_code),
        ("client_id", "test"),
    ];
    post_form(bench, "/api/device/token", &fields)
}

#[track_caller]
fn refused(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error"], error);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn a_screen_gets_its_token_when_an_admin_types_its_code() {
    let bench = guarded();
    let admin = bearer(&token(&bench, Role::Admin));
    let fields = [
        ("client_id", "kinora-player"),
        ("name", "screen in the hall"),
        ("board", "pi4-64"),
    ];
    let asked = post_form(&bench, "/api/device/code", &fields);
    assert_eq!(asked.status, 200, "{}", asked.text());
    let asked = asked.json();
    let text = |name: &str| asked[name].as_str().unwrap().to_owned();
    let (code, device) = (text("user_code"), text("device_code"));
    assert_eq!(asked["expires_in"], 900);
    assert_eq!(asked["interval"], 5);
    let here = format!("http://{}/device", bench.client.0);
    assert_eq!(text("verification_uri"), here);
    assert_eq!(
        text("verification_uri_complete"),
        format!("{here}?code={code}")
    );

    refused(&poll(&bench, &device), "authorization_pending");
    refused(&poll(&bench, &device), "slow_down");
    refused(&poll(&bench, "another"), "invalid_grant");

    let path = format!("/api/device/{}", code.to_lowercase());
    bench.client.get(&path).problem(401);
    let send = |method: &str, path: &str, body: &[u8]| {
        bench
            .client
            .send(method, path, &[("Authorization", &admin)], body)
    };
    let waiting = send("GET", &path, b"").json();
    assert_eq!(waiting["name"], "screen in the hall");
    assert_eq!(waiting["role"], "player");
    assert_eq!(waiting["board"], "pi4-64");
    assert_eq!(waiting["address"], "127.0.0.1");
    send("GET", "/api/device/BCDFGHJK", b"").problem(404);
    assert_eq!(send("POST", &path, br#"{"allow":true}"#).status, 204);
    send("POST", &path, br#"{"allow":false}"#).problem(404);

    // The pause that the device did not keep has passed, as far as the catalog knows.
    let hash = secret::hash(&device);
    let far = 10_000 + now_ms();
    let polled = bench
        .catalog()
        .poll_device(&hash, "id", "hash", 5000, far)
        .unwrap();
    assert!(
        matches!(polled, catalog::Polled::Granted(ref token) if token.board.as_deref() == Some("pi4-64"))
    );
    // Once.
    refused(&poll(&bench, &device), "invalid_grant");
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as i64
}

#[test]
fn a_device_that_is_granted_before_it_asks_gets_a_token_that_works() {
    let bench = guarded();
    let admin = bearer(&token(&bench, Role::Admin));
    let asked = post_form(
        &bench,
        "/api/device/code",
        &[("client_id", "cli"), ("scope", "editor")],
    );
    let asked = asked.json();
    let path = format!("/api/device/{}", asked["user_code"].as_str().unwrap());
    let allow = |yes: bool| {
        let body = json!({ "allow": yes }).to_string();
        let headers = [("Authorization", admin.as_str())];
        bench
            .client
            .send("POST", &path, &headers, body.as_bytes())
            .status
    };
    assert_eq!(allow(true), 204);
    let granted = poll(&bench, asked["device_code"].as_str().unwrap());
    assert_eq!(granted.status, 200, "{}", granted.text());
    assert_eq!(granted.header("cache-control"), Some("no-store"));
    let granted = granted.json();
    assert_eq!(granted["token_type"], "Bearer");
    assert_eq!(granted["scope"], "editor");
    let editor = bearer(granted["access_token"].as_str().unwrap());
    let answer = bench
        .client
        .send("GET", "/api/assets", &[("Authorization", &editor)], b"");
    assert_eq!(answer.status, 200);
}

#[test]
fn devices_that_get_no_token() {
    let bench = guarded();
    let admin = bearer(&token(&bench, Role::Admin));
    let ask = |fields: &[(&str, &str)]| post_form(&bench, "/api/device/code", fields);
    for (fields, error) in [
        (&[][..], "invalid_request"),
        (&[("client_id", "a"), ("client_id", "b")], "invalid_request"),
        (&[("client_id", "a"), ("scope", "owner")], "invalid_scope"),
        (&[("client_id", "a"), ("board", "pi9")], "invalid_request"),
        (&[("client_id", "")], "invalid_request"),
    ] {
        refused(&ask(fields), error);
    }
    let json = [("Content-Type", "application/json")];
    refused(
        &bench.client.send("POST", "/api/device/code", &json, b"{}"),
        "invalid_request",
    );
    let wrong = [
        ("grant_type", "password"),
        ("device_code", "a"),
        ("client_id", "a"),
    ];
    refused(
        &post_form(&bench, "/api/device/token", &wrong),
        "unsupported_grant_type",
    );
    refused(
        &post_form(&bench, "/api/device/token", &[]),
        "invalid_request",
    );

    let denied = ask(&[("client_id", "a")]).json();
    let path = format!("/api/device/{}", denied["user_code"].as_str().unwrap());
    let answer = bench.client.send(
        "POST",
        &path,
        &[("Authorization", &admin)],
        br#"{"allow":false}"#,
    );
    assert_eq!(answer.status, 204);
    let device = denied["device_code"].as_str().unwrap();
    refused(&poll(&bench, device), "access_denied");

    let late = ask(&[("client_id", "a")]).json();
    let hash = secret::hash(late["device_code"].as_str().unwrap());
    let polled = bench
        .catalog()
        .poll_device(&hash, "id", "hash", 5000, now_ms() + 900_001);
    assert_eq!(polled.unwrap(), catalog::Polled::Expired);
    let code = late["user_code"].as_str().unwrap().replace('-', "");
    let after = bench.catalog().device(&code, now_ms() + 900_001).unwrap();
    assert_eq!(after, None);

    // Whoever asks without end is slowed down.
    let refused = (0..30).find(|_| ask(&[("client_id", "a")]).status == 429);
    assert!(refused.is_some(), "thirty codes at once for one address");
}
