//! The handlers of `/api`, one file per subject. Uploads are in `upload`.

pub(crate) mod assets;
pub(crate) mod boards;
pub(crate) mod events;
pub(crate) mod status;
pub(crate) mod streams;
