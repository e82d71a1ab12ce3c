// SPDX-License-Identifier: Apache-2.0
//! Free ports on loopback.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::Result;

/// The first port that is handed out.
const FIRST: u32 = 10_000;

/// What the kernel chooses from, for who listens on port 0 and for the near end of connections.
const CHOSEN_BY_KERNEL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A loopback port that nobody listens on now, and that this process did not hand out lately.
///
/// For programs that must know the port of another one before it runs. It is none that the kernel gives to
/// somebody else until that program listens there, or while it is killed and started again.
pub fn free() -> Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = first_of_kernel().unwrap_or(FIRST).saturating_sub(FIRST);
    // Processes that run side by side begin at different places.
    let begin = std::process::id().wrapping_mul(2_654_435_761);
    for _ in 0..count {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(FIRST + number)?;
        // Whoever listens on all addresses has it on this one as well.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    // Where there is none for us alone, one of those that the kernel chooses from has to do.
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The first port of those that the kernel chooses from.
fn first_of_kernel() -> Result<u32> {
    let range = std::fs::read_to_string(CHOSEN_BY_KERNEL)?;
    Ok(range.split_whitespace().next().ok_or("no range of ports")?.parse()?)
}
