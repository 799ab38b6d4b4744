//! The whole pipeline on this machine: servers and services as local processes.
//!
//! `pipeline up` ([`up`]) starts a supervisor in the background ([`supervise`]) and returns when it has everything
//! ready; `pipeline down` ([`down`]) ends it. All of it is below one folder, the [`Root`](operate::local::Root): data,
//! logs, secrets and a [`Manifest`](operate::local::Manifest) that says how it was started, so that the other commands
//! need no options.

pub mod down;
mod error;
mod services;
mod source;
mod spark;
mod stack;
mod stdio;
mod steps;
pub mod supervise;
pub mod up;
