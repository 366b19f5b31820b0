//! VP9 frame headers, VP9 Bitstream & Decoding Process Specification v0.6, clauses 6 and 7.
