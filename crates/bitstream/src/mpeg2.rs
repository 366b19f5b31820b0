//! MPEG-2 video headers, ITU-T H.262 (02/2012): sequence, picture and quantisation matrices.
