//! Every address the server answers, and its description (OpenAPI 3.1).
//!
//! One table of paths; a test holds the description against it in both directions, and another
//! holds the description against `docs/ref/openapi.json`.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use utoipa::OpenApi;

use crate::api::{
    assets, boards, device, events, lives, playlists, remotes, session, status,
    streams as asset_streams, tokens, variants,
};
use crate::app::App;
use crate::auth::access::Describe;
use crate::problem::Problem;
use crate::upload::{post as whole, tus};
use crate::{border, gateway, page, streams};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kinora",
        description = "Videos in, every board's verdict and adaptive streams out. Errors are problem details (RFC 9457).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    modifiers(&Describe),
    paths(
        playlists::list, playlists::get, playlists::put, playlists::remove, playlists::now,
        remotes::list, remotes::add, remotes::get, remotes::retry, remotes::remove,
        tokens::list, tokens::add, tokens::remove, session::get, session::begin, session::end,
        device::code, device::token, device::get, device::decide,
        assets::list, whole::create, assets::get, assets::remove, assets::thumbnail, assets::file,
        asset_streams::want, asset_streams::remove,
        tus::abilities, tus::create, tus::offset, tus::patch, tus::terminate, tus::overridden,
        events::listen, status::get, description, boards::list, boards::this,
        variants::all, variants::change_all, variants::of_asset, variants::change, variants::file,
        boards::enrol, boards::remove,
        lives::list, lives::add, lives::get, lives::remove, streams::top, streams::below, gateway::content, gateway::transport_stream,
        gateway::name, gateway::providers, gateway::record,
    ),
    tags(
        (name = "assets", description = "Uploaded files and what became of them"),
        (name = "variants", description = "What boards play in a file's place, and its making"),
        (name = "uploads", description = "Resumable uploads (tus 1.0)"),
        (name = "streams", description = "Live sources, and playlists by name"),
        (name = "content", description = "Content by CID and by name (IPFS path and trustless gateway)"),
        (name = "boards", description = "What plays where"),
        (name = "playlists", description = "What screens play"),
        (name = "access", description = "Who may do what"),
        (name = "server", description = "The server itself"),
    )
)]
pub(crate) struct Description;

type Route = (&'static str, MethodRouter<Arc<App>>);

fn api() -> Vec<Route> {
    vec![
        ("/api/assets", get(assets::list).post(whole::create)),
        ("/api/assets/{id}", get(assets::get).delete(assets::remove)),
        ("/api/assets/{id}/thumbnail", get(assets::thumbnail)),
        ("/api/assets/{id}/file", get(assets::file)),
        (
            "/api/assets/{id}/stream",
            put(asset_streams::want).delete(asset_streams::remove),
        ),
        (
            "/api/assets/{id}/variants",
            get(variants::of_asset).patch(variants::change),
        ),
        ("/api/assets/{id}/variants/{board}", get(variants::file)),
        (
            "/api/variants",
            get(variants::all).patch(variants::change_all),
        ),
        (
            "/api/boards/{id}",
            put(boards::enrol).delete(boards::remove),
        ),
        ("/api/streams", get(lives::list).post(lives::add)),
        ("/api/streams/{name}", get(lives::get).delete(lives::remove)),
        ("/api/events", get(events::listen)),
        ("/api/status", get(status::get)),
        ("/api/boards", get(boards::list)),
        ("/api/board", get(boards::this)),
        ("/api/playlists", get(playlists::list)),
        (
            "/api/playlists/{name}",
            get(playlists::get)
                .put(playlists::put)
                .delete(playlists::remove),
        ),
        ("/api/playlists/{name}/now", get(playlists::now)),
        ("/api/remotes", get(remotes::list).post(remotes::add)),
        (
            "/api/remotes/{id}",
            get(remotes::get)
                .post(remotes::retry)
                .delete(remotes::remove),
        ),
        ("/api/tokens", get(tokens::list).post(tokens::add)),
        ("/api/tokens/{id}", delete(tokens::remove)),
        (
            "/api/session",
            get(session::get).post(session::begin).delete(session::end),
        ),
        ("/api/device/code", post(device::code)),
        ("/api/device/token", post(device::token)),
        ("/api/device/{code}", get(device::get).post(device::decide)),
        ("/api/openapi.json", get(description)),
        ("/streams/{id}/{file}", get(streams::top)),
        ("/streams/{id}/{rendition}/{file}", get(streams::below)),
        (
            "/ipfs/{*path}",
            get(gateway::content).options(gateway::content),
        ),
        (
            "/ipfs-ts/{*path}",
            get(gateway::transport_stream).options(gateway::transport_stream),
        ),
        ("/ipns/{*path}", get(gateway::name).options(gateway::name)),
        (
            "/routing/v1/providers/{cid}",
            get(gateway::providers).options(gateway::providers),
        ),
        (
            "/routing/v1/ipns/{name}",
            get(gateway::record).options(gateway::record),
        ),
    ]
}

/// The addresses that speak tus.
fn resumable() -> Vec<Route> {
    vec![
        ("/api/uploads", post(tus::create).options(tus::abilities)),
        (
            "/api/uploads/{id}",
            axum::routing::head(tus::offset)
                .patch(tus::patch)
                .delete(tus::terminate)
                .post(tus::overridden)
                .options(tus::abilities),
        ),
    ]
}

/// The whole server as one service.
pub(crate) fn router(app: Arc<App>) -> Router {
    let register = |routes: Vec<Route>| {
        routes
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| {
                router.route(path, methods)
            })
    };
    let resumable = register(resumable()).layer(middleware::from_fn(tus::speak));
    register(api())
        .merge(resumable)
        .fallback(page::serve)
        .method_not_allowed_fallback(wrong_method)
        // Bodies are limited where they are read, by what the disk and the settings allow.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            border::pass,
        ))
        .with_state(app)
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this address does not take this method; the header Allow names those it takes",
    )
}

/// This description.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "server",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(crate) async fn description() -> Response {
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        openapi(),
    )
        .into_response()
}

/// The API's description as JSON, as `/api/openapi.json` answers it and `docs/ref` keeps it.
pub fn openapi() -> String {
    let mut json = Description::openapi().to_pretty_json().unwrap_or_default();
    json.push('\n');
    json
}

/// The paths of every registered route, in the description's form.
pub fn registered() -> Vec<String> {
    let routes = api().into_iter().chain(resumable());
    // The description has no word for "and all that is below".
    routes.map(|(path, _)| path.replace("{*", "{")).collect()
}
