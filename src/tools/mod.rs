//! Commands that reuse the path: what users and tests feed the collector with and look at it through.
//!
//! `decode` and `replay` read captures, `generate` and `demo` make flows of their own, `backend` takes
//! them; `manual` prints pages and shell completions. They may import anything; nothing but main imports them.

pub mod backend;
pub mod capture;
pub mod check;
pub mod dead_letter;
pub mod decode;
pub mod demo;
pub mod doctor;
pub mod generate;
pub mod healthcheck;
pub mod manual;
pub mod replay;
pub mod synthetic;

mod say;
mod sender;
mod stop;
