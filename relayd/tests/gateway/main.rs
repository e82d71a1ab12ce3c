// SPDX-License-Identifier: Apache-2.0
//! The gateway, over real TLS on loopback.
#![allow(missing_docs, reason = "tests")]

mod answers;
mod asking;
mod authority;
mod curl;
mod disk;
mod enrolment;
mod hardening;
mod harness;
mod hostile;
mod identity;
mod lifecycle;
mod passing;
mod proxied;
mod slow;
mod walk;
mod world;
