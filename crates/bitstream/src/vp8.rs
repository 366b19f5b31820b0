//! VP8 frame headers, RFC 6386 clauses 9 and 19.
