//! Every address the server answers, and its description (OpenAPI 3.1).
//!
//! One table of paths; a test holds the description against it in both directions, and another
//! holds the description against `docs/ref/openapi.json`.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use utoipa::OpenApi;

use crate::api::{assets, boards, events, status, streams as asset_streams};
use crate::app::App;
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
    paths(
        assets::list, whole::create, assets::get, assets::remove, assets::thumbnail, assets::file,
        asset_streams::want, asset_streams::remove,
        tus::abilities, tus::create, tus::offset, tus::patch, tus::terminate, tus::overridden,
        events::listen, status::get, description, boards::list, boards::this,
        streams::master, streams::rendition, gateway::content, gateway::transport_stream,
    ),
    tags(
        (name = "assets", description = "Uploaded files and what became of them"),
        (name = "uploads", description = "Resumable uploads (tus 1.0)"),
        (name = "streams", description = "Playlists by name"),
        (name = "content", description = "Content by CID (IPFS path gateway)"),
        (name = "boards", description = "What plays where"),
        (name = "server", description = "The server itself"),
    )
)]
struct Description;

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
        ("/api/events", get(events::listen)),
        ("/api/status", get(status::get)),
        ("/api/boards", get(boards::list)),
        ("/api/board", get(boards::this)),
        ("/api/openapi.json", get(description)),
        ("/streams/{id}/master.m3u8", get(streams::master)),
        (
            "/streams/{id}/{rung}/playlist.m3u8",
            get(streams::rendition),
        ),
        (
            "/ipfs/{cid}",
            get(gateway::content).options(gateway::content),
        ),
        (
            "/ipfs-ts/{cid}",
            get(gateway::transport_stream).options(gateway::transport_stream),
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
pub fn registered() -> Vec<&'static str> {
    let routes = api().into_iter().chain(resumable());
    routes.map(|(path, _)| path).collect()
}
