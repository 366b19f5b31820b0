//! H.264 headers, ITU-T H.264 (08/2021).
