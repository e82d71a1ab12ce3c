// SPDX-License-Identifier: Apache-2.0
//! The packages, as an operator meets them: installed, configured, upgraded, taken back, removed, purged, on a Debian that
//! runs systemd, by rpm in a root directory, from the archive, and as a container.

mod archive;
mod built;
mod container;
mod debian;
mod machine;
mod rpm;
mod take_over;
