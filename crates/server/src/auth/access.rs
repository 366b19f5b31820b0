//! Which role may call which route: one table, asked by one middleware and shown in the API's
//! description.
//!
//! What is not in the table takes an admin, so a route that was forgotten is shut and not open; a
//! test says which. HEAD is as GET, and OPTIONS is for anyone, because browsers ask it without
//! credentials (Fetch standard, section 3.3.5).

use axum::http::Method;
use catalog::Role;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Who has no token too.
    Anyone,
    /// Who may see content: a player, and anyone where the server was told so.
    Content,
    /// Who has this role, or one that may more.
    Role(Role),
}

use Access::{Anyone, Content};
const PLAYER: Access = Access::Role(Role::Player);
const EDITOR: Access = Access::Role(Role::Editor);
const ADMIN: Access = Access::Role(Role::Admin);

#[rustfmt::skip]
const TABLE: &[(&str, &str, Access)] = &[
    ("GET",    "/api/assets",                      EDITOR),
    ("POST",   "/api/assets",                      EDITOR),
    ("GET",    "/api/assets/{id}",                 EDITOR),
    ("DELETE", "/api/assets/{id}",                 EDITOR),
    ("GET",    "/api/assets/{id}/thumbnail",       EDITOR),
    ("GET",    "/api/assets/{id}/file",            PLAYER),
    ("PUT",    "/api/assets/{id}/stream",          EDITOR),
    ("DELETE", "/api/assets/{id}/stream",          EDITOR),
    ("GET",    "/api/assets/{id}/variants",        PLAYER),
    ("PATCH",  "/api/assets/{id}/variants",        EDITOR),
    ("GET",    "/api/assets/{id}/variants/{board}", PLAYER),
    ("GET",    "/api/variants",                    EDITOR),
    ("PATCH",  "/api/variants",                    EDITOR),
    ("PUT",    "/api/boards/{id}",                 EDITOR),
    ("DELETE", "/api/boards/{id}",                 EDITOR),
    ("POST",   "/api/uploads",                     EDITOR),
    ("PATCH",  "/api/uploads/{id}",                EDITOR),
    ("POST",   "/api/uploads/{id}",                EDITOR),
    ("HEAD",   "/api/uploads/{id}",                EDITOR),
    ("DELETE", "/api/uploads/{id}",                EDITOR),
    ("GET",    "/api/streams",                     EDITOR),
    ("POST",   "/api/streams",                     EDITOR),
    ("GET",    "/api/streams/{name}",              EDITOR),
    ("DELETE", "/api/streams/{name}",              EDITOR),
    ("GET",    "/api/events",                      EDITOR),
    ("GET",    "/api/status",                      PLAYER),
    ("GET",    "/api/boards",                      PLAYER),
    ("GET",    "/api/board",                       PLAYER),
    ("GET",    "/api/openapi.json",                Anyone),
    ("GET",    "/api/playlists",                   EDITOR),
    ("GET",    "/api/playlists/{name}",            PLAYER),
    ("PUT",    "/api/playlists/{name}",            EDITOR),
    ("DELETE", "/api/playlists/{name}",            EDITOR),
    ("GET",    "/api/playlists/{name}/now",        PLAYER),
    ("GET",    "/api/remotes",                     EDITOR),
    ("POST",   "/api/remotes",                     EDITOR),
    ("GET",    "/api/remotes/{id}",                EDITOR),
    ("POST",   "/api/remotes/{id}",                EDITOR),
    ("DELETE", "/api/remotes/{id}",                EDITOR),
    ("GET",    "/api/session",                     Anyone),
    ("POST",   "/api/session",                     Anyone),
    ("DELETE", "/api/session",                     Anyone),
    ("POST",   "/api/device/code",                 Anyone),
    ("POST",   "/api/device/token",                Anyone),
    ("GET",    "/api/device/{code}",               ADMIN),
    ("POST",   "/api/device/{code}",               ADMIN),
    ("GET",    "/api/tokens",                      ADMIN),
    ("POST",   "/api/tokens",                      ADMIN),
    ("DELETE", "/api/tokens/{id}",                 ADMIN),
    ("GET",    "/streams/{id}/{file}",             Content),
    ("GET",    "/streams/{id}/{rendition}/{file}", Content),
    ("GET",    "/ipfs/{path}",                     Content),
    ("GET",    "/ipfs-ts/{path}",                  Content),
    ("GET",    "/ipns/{path}",                     Content),
    ("GET",    "/routing/v1/providers/{cid}",      Content),
    ("GET",    "/routing/v1/ipns/{name}",          Content),
];

/// Who may call the route with this pattern, in axum's form or the description's.
pub(crate) fn of(method: &Method, pattern: &str) -> Access {
    if method == Method::OPTIONS {
        return Anyone;
    }
    let pattern = pattern.replace("{*", "{");
    let row = |method: &str| {
        let mut rows = TABLE.iter();
        rows.find(|(m, path, _)| *m == method && *path == pattern)
    };
    let row = match row(method.as_str()) {
        None if method == Method::HEAD => row("GET"),
        row => row,
    };
    row.map_or(ADMIN, |(_, _, access)| *access)
}

/// Writes into the description which role each operation takes, and what others are answered.
pub(crate) struct Describe;

impl Modify for Describe {
    fn modify(&self, api: &mut OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token, as `kinora token create` prints it"))
            .build();
        let cookie = ApiKeyValue::with_description(
            super::cookie::PLAIN,
            "A session of the page; over TLS its name begins with `__Host-`",
        );
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        for (path, item) in &mut api.paths.paths {
            for (method, operation) in operations(item) {
                describe(of(&method, path), operation);
            }
        }
    }
}

/// The operations of a path, with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
        (Method::OPTIONS, &mut item.options),
        (Method::HEAD, &mut item.head),
        (Method::PATCH, &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn describe(access: Access, operation: &mut Operation) {
    let role = match access {
        Anyone => return,
        Content => Role::Player,
        Access::Role(role) => role,
    };
    let scopes = [role.as_str()];
    operation.security = Some(vec![
        SecurityRequirement::new("token", scopes),
        SecurityRequirement::new("session", scopes),
    ]);
    let role = role.as_str();
    for (status, description) in [
        (
            "401",
            format!("No token, where tokens are needed; this takes the role {role}"),
        ),
        (
            "403",
            format!("A token that allows less than {role}, or a request from another site"),
        ),
    ] {
        let problem = ContentBuilder::new()
            .schema(Some(RefOr::Ref(Ref::from_schema_name("Problem"))))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", problem)
            .build();
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert(RefOr::T(response));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use utoipa::OpenApi as _;

    #[test]
    fn every_operation_has_a_row_and_every_row_an_operation() {
        let mut api = crate::routes::Description::openapi();
        let described: BTreeSet<(String, String)> = api
            .paths
            .paths
            .iter_mut()
            .flat_map(|(path, item)| {
                let path = path.clone();
                operations(item).map(move |(method, _)| (method.to_string(), path.clone()))
            })
            .filter(|(method, _)| method != "OPTIONS")
            .collect();
        let rows: BTreeSet<(String, String)> = TABLE
            .iter()
            .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        assert_eq!(rows.len(), TABLE.len(), "a row stands twice");
        let missing: Vec<_> = described.difference(&rows).collect();
        assert!(missing.is_empty(), "operations without a row: {missing:?}");
        let dead: Vec<_> = rows.difference(&described).collect();
        assert!(dead.is_empty(), "rows without an operation: {dead:?}");
    }

    #[test]
    fn what_is_not_in_the_table_takes_an_admin() {
        for (method, path, access) in [
            (Method::GET, "/api/assets", EDITOR),
            (Method::HEAD, "/api/assets", EDITOR),
            (Method::HEAD, "/ipfs/{*path}", Content),
            (Method::OPTIONS, "/ipfs/{*path}", Anyone),
            (Method::PUT, "/api/assets", ADMIN),
            (Method::GET, "/api/nothing", ADMIN),
        ] {
            assert_eq!(of(&method, path), access, "{method} {path}");
        }
    }
}
