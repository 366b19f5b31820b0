//! Libraries that write to standard error by themselves are told not to, by the only way they offer.
#![allow(unsafe_code)]

/// SVT-AV1 prints its settings at each start of an encoder unless this variable says "errors only".
const SVT_LOG: &str = "SVT_LOG";

/// To be called first of all in `main`. What the user set stays.
pub fn libraries() {
    if std::env::var_os(SVT_LOG).is_none() {
        // SAFETY: the first thing that the process does: no other thread is there that could read or
        // change the environment meanwhile.
        unsafe { std::env::set_var(SVT_LOG, "1") };
    }
}
